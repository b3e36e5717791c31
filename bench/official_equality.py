# SPDX-License-Identifier: Apache-2.0
"""Trunks, text encoders and prompts that the parity vectors leave out: ours against upstream's own code, in torch.

    python -m bench.official_equality UPSTREAM [--cases ev_l rv_l ...] [--json FILE]

UPSTREAM as for bench/official.py. Both sides get the weights that the rule of ../shared/vectors makes of the entries'
names, and the image that it makes of a seed. Ends with 1 if anything is further off than the vectors may be.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from official_upstream import MODELS, let_torchvision_in

from esam3_core.convert.checkpoint import Checkpoint
from esam3_core.convert.ground import Answer, Official
from esam3_core.convert.official import convert
from tests.convert.vectors import FOLDER, TOLERANCES, rule, tensors

SEED, PHRASE = 2027, "a striped red bowl"
POINT, BOX = [0.3, 0.6], [0.55, 0.45, 0.2, 0.35]
MASKS = 5  # of the best queries
TABLES = ("attention_bias_idxs", "attn_mask", "freqs_cis")  # computed by code, in no checkpoint


@dataclass(frozen=True)
class Case:
    """What is compared."""

    text: str
    context: int
    prompt: str  # phrase, or what stands beside it: point, box, negative box


CASES = {
    "ev_s": Case("MobileCLIP-S1", 16, "box"),
    "rv_s": Case("MobileCLIP-S0", 77, "phrase"),
    "tv_s": Case("MobileCLIP2-L", 16, "point"),
    "ev_l": Case("MobileCLIP2-L", 32, "phrase"),
    "rv_l": Case("MobileCLIP-S1", 77, "negative box"),
    "tv_l": Case("MobileCLIP-S0", 32, "box"),
}


def main() -> int:
    """Compare case by case, print a line for each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream", type=Path, help="checkout of EfficientSAM3")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        parser.error(f"the rule that makes weights is not at {FOLDER}")
    sys.path.insert(0, str(arguments.upstream / "sam3"))
    let_torchvision_in(torch)
    rows: list[dict[str, Any]] = []
    for variant in arguments.cases:
        case = CASES[variant]
        off = compare(variant, case)
        rows.append({"variant": variant, **vars(case), **off})
        said = ", ".join(f"{name} {value:.1e}" for name, value in off.items())
        print(f"{variant} {case.text:13} {case.context:3} {case.prompt:12} {said}", flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(any(row[name] > TOLERANCES[name] for row in rows for name in ("pred_logits", "pred_boxes", "masks_all")))


@torch.inference_mode()
def compare(variant: str, case: Case) -> dict[str, float]:
    """Largest differences, by the names of the vectors."""
    theirs, weights = upstream(variant, case)
    ours = answer(weights, case)
    best = theirs["pred_logits"].topk(MASKS).indices
    pairs = {
        "pred_logits": (ours.logits, theirs["pred_logits"]),
        "presence_logit": (ours.presence, theirs["presence_logit"]),
        "pred_boxes": (ours.boxes, theirs["pred_boxes"]),
        "masks_all": (ours.mask_logits(best), theirs["pred_masks"][best]),
    }
    return {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}


def answer(weights: dict[str, torch.Tensor], case: Case) -> Answer:
    """Our side."""
    student = Official(convert(Checkpoint(Path("generated.pt"), weights)).student)
    shown: dict[str, Any] = {}
    if case.prompt == "point":
        shown = {"points": [POINT]}
    elif case.prompt != "phrase":
        shown = {"boxes": [BOX], "box_labels": [int(case.prompt == "box")]}
    return student.ground(rule().image(SEED), PHRASE, **shown)


def upstream(variant: str, case: Case) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Upstream's answer, and the checkpoint that it was given."""
    from sam3.model.sam3_image_processor import Sam3Processor
    from sam3.model_builder import build_efficientsam3_image_model

    trunk, size = MODELS[variant]
    model = build_efficientsam3_image_model(
        device="cpu", backbone_type=trunk, model_name=size, text_encoder_type=case.text,
        text_encoder_context_length=case.context,
    )  # fmt: skip
    names = [name for name in model.state_dict() if not name.endswith(TABLES)]
    weights = tensors({f"detector.{name}": list(model.state_dict()[name].shape) for name in names})
    model.load_state_dict({name: weights[f"detector.{name}"] for name in names}, strict=False)
    model.train()
    model.eval()  # TinyViT keeps attention biases of its first weights otherwise
    processor = Sam3Processor(model, device="cpu")
    state = processor.set_image(torch.from_numpy(np.array(rule().image(SEED))).permute(2, 0, 1))
    state["backbone_out"].update(model.backbone.forward_text([PHRASE], device="cpu"))
    marks = model._get_dummy_prompt()
    if case.prompt == "point":
        marks.append_points(torch.tensor([[POINT]]), torch.tensor([[True]]))
    elif case.prompt != "phrase":
        marks.append_boxes(torch.tensor([[BOX]]), torch.tensor([[case.prompt == "box"]]))
    said = model.forward_grounding(
        backbone_out=state["backbone_out"], find_input=processor.find_stage, geometric_prompt=marks, find_target=None
    )
    return {
        "pred_logits": said["pred_logits"][0, :, 0], "presence_logit": said["presence_logit_dec"].reshape(()),
        "pred_boxes": said["pred_boxes"][0], "pred_masks": said["pred_masks"][0],
    }, weights  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

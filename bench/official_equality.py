# SPDX-License-Identifier: Apache-2.0
"""All nine trunks, three text encoders and contexts, and every kind of prompt: ours against upstream's own code.

    python -m bench.official_equality UPSTREAM [--variants ev_l rv_l ...] [--onnx] [--json FILE]

UPSTREAM as for bench/official.py. Both sides get the weights that the rule of ../shared/vectors makes of the entries'
names, and the image that it makes of a seed. The nine variants stand for the nine pairs of text encoder and context.
`--onnx` also exports the graphs of an image and asks them. Ends with 1 if anything is further off than the vectors
may be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from official_upstream import MODELS, let_torchvision_in

from bench.vectors import detect, exported, opened
from esam3_core.convert.checkpoint import Checkpoint
from esam3_core.convert.ground import Official, resize
from esam3_core.convert.official import convert
from tests.convert.vectors import FOLDER, OF_DEVIATION, TOLERANCES, rule, tensors

SEED, PHRASE = 2027, "a striped red bowl"
PHRASES = (
    PHRASE, "Visual", "the third  of the  RED mugs, which stands behind (and left of) a 12-inch laptop's lid & 2 books",
)  # the last is cut at 16 tokens
BOXES, POINTS = [[0.55, 0.45, 0.2, 0.35], [0.2, 0.7, 0.3, 0.1]], [[0.3, 0.6], [0.81, 0.22]]
LABELS = [1, 0]
MASKS = 5  # of the best queries
FEATURES = "fpn / std"  # differences of the image's maps, in units of the map's standard deviation
TABLES = ("attention_bias_idxs", "attn_mask", "freqs_cis")  # computed by code, in no checkpoint
PROMPTS: dict[str, dict[str, Any]] = {
    "phrase": {},
    "box": {"boxes": BOXES[:1], "box_labels": LABELS[:1]},
    "boxes and points": {"boxes": BOXES, "box_labels": LABELS, "points": POINTS, "point_labels": LABELS},
}
"""What stands beside the phrase: nothing, a box, or a positive and a negative of each kind."""
IN_GRAPHS = ("phrase", "box")  # a bundle takes no points
Said = dict[str, Tensor]
Row = tuple[str, str, dict[str, float]]  # way, prompt, differences


@dataclass(frozen=True)
class Case:
    """A text encoder."""

    text: str
    context: int


CASES = {
    "ev_s": Case("MobileCLIP-S1", 16), "ev_m": Case("MobileCLIP-S1", 32), "ev_l": Case("MobileCLIP2-L", 32),
    "rv_s": Case("MobileCLIP-S0", 77), "rv_m": Case("MobileCLIP2-L", 77), "rv_l": Case("MobileCLIP-S1", 77),
    "tv_s": Case("MobileCLIP2-L", 16), "tv_m": Case("MobileCLIP-S0", 16), "tv_l": Case("MobileCLIP-S0", 32),
}  # fmt: skip


def main() -> int:
    """Compare case by case, print a line for each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream", type=Path, help="checkout of EfficientSAM3")
    parser.add_argument("--variants", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--prompts", nargs="*", choices=PROMPTS, default=list(PROMPTS), help="none: image, text")
    parser.add_argument("--onnx", action="store_true", help="through ONNX Runtime too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        parser.error(f"the rule that makes weights is not at {FOLDER}")
    sys.path.insert(0, str(arguments.upstream / "sam3"))
    let_torchvision_in(torch)
    rows: list[dict[str, Any]] = []
    for variant in arguments.variants:
        case = CASES[variant]
        for way, prompt, off in compare(variant, case, arguments.prompts, arguments.onnx):
            rows.append({"variant": variant, **vars(case), "way": way, "prompt": prompt, **off})
            said = ", ".join(f"{name} {value:.1e}" for name, value in off.items())
            print(f"{variant} {case.text:13} {case.context:2} {way:5} {prompt:16} {said}", flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    allowed = {**TOLERANCES, FEATURES: OF_DEVIATION}
    return int(any(row.get(name, 0.0) > most for row in rows for name, most in allowed.items()))


@contextmanager
def names_of_timm() -> Iterator[None]:
    """Upstream registers its own RepViT under timm's names; afterwards they are timm's again."""
    from timm.models import _registry

    before = dict(_registry._model_entrypoints)
    try:
        yield
    finally:
        _registry._model_entrypoints.update(before)


@torch.inference_mode()
def compare(variant: str, case: Case, prompts: list[str], onnx: bool) -> Iterator[Row]:
    """Way, prompt, and the largest differences by the names of the vectors."""
    theirs, weights = upstream(variant, case, prompts)
    student = Official(convert(Checkpoint(Path("generated.pt"), weights)).student)
    texts = {phrase: student.student.text_encoder(student.tokenize(phrase))[0] for phrase in PHRASES}
    yield "torch", "text alone", {"text_features": furthest(texts, theirs["text"])}
    image = rule().image(SEED)
    seen = student.encode_image(image)
    yield "torch", "image alone", {FEATURES: of_deviation((seen.p4, seen.p8, seen.p16), theirs["image"])}
    for prompt in prompts:
        answer, wanted = student.ground(image, PHRASE, **PROMPTS[prompt]), theirs[prompt]
        said = {
            "pred_logits": answer.logits, "presence_logit": answer.presence, "pred_boxes": answer.boxes,
            "scores": answer.scores, "top5_masks": answer.mask_logits(wanted["top5"]),
        }  # fmt: skip
        yield "torch", prompt, apart(said, wanted)
    if onnx:
        yield from compare_graphs(student, theirs)


def compare_graphs(student: Official, theirs: dict[str, Said]) -> Iterator[Row]:
    """As `compare`, of exported graphs."""
    config, frame = student.student.config, resize(rule().image(SEED), student.student.config.size).numpy()
    with TemporaryDirectory() as scratch:
        graphs = opened(exported(student.student, Path(scratch)))
    texts = {phrase: graphs["text_encoder"](tokens=student.tokenize(phrase).numpy())[0][0] for phrase in PHRASES}
    yield "onnx", "text alone", {"text_features": furthest(texts, theirs["text"])}
    features = graphs["image_encoder"](image=frame)[:3]
    yield "onnx", "image alone", {FEATURES: of_deviation(features[::-1], theirs["image"])}
    for prompt in (prompt for prompt in IN_GRAPHS if prompt in theirs):
        wanted: dict[str, Any] = {"tokens": student.tokenize(PHRASE).numpy(), "top5": theirs[prompt]["top5"]}
        if "boxes" in PROMPTS[prompt]:
            wanted["box_cxcywh"] = np.array(PROMPTS[prompt]["boxes"], np.float32)
        yield "onnx", prompt, apart(detect(config, graphs, features, wanted), theirs[prompt])


def apart(ours: dict[str, Any], theirs: Said) -> dict[str, float]:
    """Largest difference of each array that both have."""
    return {name: furthest({name: value}, theirs) for name, value in ours.items() if name in theirs}


def furthest(ours: dict[str, Any], theirs: Said) -> float:
    """The largest difference of any array."""
    pairs = ((torch.as_tensor(value).flatten(), theirs[name].flatten()) for name, value in ours.items())
    return max(float((ours - wanted).abs().max()) for ours, wanted in pairs)


def of_deviation(ours: Sequence[Any], theirs: Said) -> float:
    """The largest difference of any of the image's maps, finest first, in units of the map's standard deviation."""
    pairs = zip(ours, theirs.values(), strict=True)
    return max(float((torch.as_tensor(own) - wanted).abs().max() / wanted.std()) for own, wanted in pairs)


def upstream(variant: str, case: Case, prompts: list[str]) -> tuple[dict[str, Said], dict[str, Tensor]]:
    """Upstream's answers by prompt, its maps ("image"), its tokens by phrase ("text"), and the checkpoint."""
    from sam3.model.sam3_image_processor import Sam3Processor
    from sam3.model_builder import build_efficientsam3_image_model

    trunk, size = MODELS[variant]
    with names_of_timm():
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
    said = {"text": {phrase: _text(model, phrase)["language_features"][:, 0] for phrase in PHRASES}}
    levels = state["backbone_out"]["backbone_fpn"][:3]
    said["image"] = {f"fpn{number}": level.clone() for number, level in enumerate(levels)}
    state["backbone_out"].update(_text(model, PHRASE))
    for prompt in prompts:
        found = model.forward_grounding(
            backbone_out=state["backbone_out"], find_input=processor.find_stage, find_target=None,
            geometric_prompt=_marks(model, PROMPTS[prompt]),
        )  # fmt: skip
        logits, presence = found["pred_logits"][0, :, 0], found["presence_logit_dec"].reshape(())
        best = logits.topk(MASKS).indices
        said[prompt] = {
            "pred_logits": logits, "presence_logit": presence, "pred_boxes": found["pred_boxes"][0],
            "scores": logits.sigmoid() * presence.sigmoid(), "top5": best, "top5_masks": found["pred_masks"][0][best],
        }  # fmt: skip
    return said, weights


def _text(model: Any, phrase: str) -> dict[str, Tensor]:
    return model.backbone.forward_text([phrase], device="cpu")


def _marks(model: Any, shown: dict[str, Any]) -> Any:
    """Boxes and points as upstream's prompt: [n, 1, 4] or [n, 1, 2], labels [n, 1]."""
    marks = model._get_dummy_prompt()
    if "boxes" in shown:
        marks.append_boxes(torch.tensor(shown["boxes"])[:, None], torch.tensor(shown["box_labels"])[:, None] == 1)
    if "points" in shown:
        marks.append_points(torch.tensor(shown["points"])[:, None], torch.tensor(shown["point_labels"])[:, None] == 1)
    return marks


if __name__ == "__main__":
    sys.exit(main())

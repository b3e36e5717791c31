# SPDX-License-Identifier: Apache-2.0
"""Upstream's side of bench/official.py: EfficientSAM3's own image model on a CPU, in a process of its own.

Reads one JSON request per line from stdin and answers in one line; see `serve`.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = {
    "ev_s": ("efficientvit", "b0"), "ev_m": ("efficientvit", "b1"), "ev_l": ("efficientvit", "b2"),
    "rv_s": ("repvit", "m0_9"), "rv_m": ("repvit", "m1_1"), "rv_l": ("repvit", "m2_3"),
    "tv_s": ("tinyvit", "5m"), "tv_m": ("tinyvit", "11m"), "tv_l": ("tinyvit", "21m"),
}  # fmt: skip
STAGES = {
    "backbone.vision_backbone.trunk": "trunk and head",
    "backbone.vision_backbone": "neck",
    "backbone.language_backbone": "text encoder",
    "geometry_encoder": "geometry encoder",
    "transformer.encoder": "fusion encoder",
    "transformer.decoder": "decoder",
    "segmentation_head": "mask head",
}
"""Module -> what the table calls it; "neck" is what the vision backbone takes beside its trunk."""


class Upstream:
    """The image model, its weights those of a checkpoint or random ones, which `save` writes for ours to import."""

    def __init__(self, repository: Path, variant: str, threads: int, checkpoint: str | None = None) -> None:
        sys.path.insert(0, str(repository / "sam3"))
        import torch

        torch.set_num_threads(threads)
        let_torchvision_in(torch)
        from sam3.model.sam3_image_processor import Sam3Processor
        from sam3.model_builder import build_efficientsam3_image_model

        torch.manual_seed(0)
        trunk, size = MODELS[variant]
        self.model = build_efficientsam3_image_model(
            device="cpu", backbone_type=trunk, model_name=size, text_encoder_type="MobileCLIP-S0",
            text_encoder_context_length=16, checkpoint_path=checkpoint,
        )  # fmt: skip
        for module in self.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and checkpoint is None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.8, 1.6)
        self.model.train()
        self.model.eval()  # TinyViT keeps attention biases of its first weights otherwise
        self.processor = Sam3Processor(self.model, device="cpu", confidence_threshold=0.0)
        self.spent: dict[str, float] = defaultdict(float)
        for name, module in self.model.named_modules():
            if name in STAGES:
                self._watch(module, name)

    def save(self, path: str) -> dict[str, Any]:
        """Write the weights as an official checkpoint."""
        import torch

        state = {f"detector.{name}": value for name, value in self.model.state_dict().items()}
        torch.save({"model": {n: v for n, v in state.items() if not n.endswith("attention_bias_idxs")}}, path)
        return {}

    def run(self, image: str, concepts: list[str], threshold: float) -> dict[str, Any]:
        """Find concepts, one by one as its interface wants it; scores, boxes and time."""
        from PIL import Image

        picture = Image.open(image).convert("RGB")
        self.processor.confidence_threshold = threshold
        self.spent.clear()
        start, worked = time.perf_counter(), time.process_time()
        state = self.processor.set_image(picture)
        found = []
        for concept in concepts:
            self.processor.reset_all_prompts(state)
            state = self.processor.set_text_prompt(concept, state)
            order = state["scores"].argsort(descending=True)
            found.append({
                "scores": state["scores"][order].tolist(), "boxes": state["boxes"][order].tolist(),
                "areas": state["masks"][order].flatten(1).sum(1).tolist(),
            })  # fmt: skip
        seconds, processor = time.perf_counter() - start, time.process_time() - worked
        stages = {STAGES[name]: spent for name, spent in self.spent.items()}
        stages["neck"] -= stages["trunk and head"]
        stages["rest"] = seconds - sum(stages.values())
        return {"seconds": seconds, "processor": processor, "stages": stages, "found": found}

    def _watch(self, module: Any, name: str) -> None:
        inner = module.forward  # hooks would miss the calls that upstream makes to it directly

        def forward(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = inner(*given, **named)
            self.spent[name] += time.perf_counter() - start
            return result

        module.forward = forward


def let_torchvision_in(torch: Any) -> None:
    """torchvision's wheel from PyPI expects a CUDA torch; it is enough to name the operators that it misses."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.esam3_library = library  # lives as long as torch does


def serve(open_side: Callable[[], Any]) -> None:
    """Open a side and call its methods by request until stdin ends; an answer tells the peak memory too, in MB."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    side = open_side()
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        answer = getattr(side, request.pop("do"))(**request)
        peak = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
        print(json.dumps({**answer, "peak": int(peak.split()[1]) / 1e3}), file=answers, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(f"bench/official.py starts this, as: {sys.argv[0]} REPOSITORY VARIANT THREADS [CHECKPOINT]")
    serve(lambda: Upstream(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))

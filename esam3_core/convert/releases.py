# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that EfficientSAM3's authors have released, as their READMEs list them (July 2026)."""

from __future__ import annotations

from dataclasses import dataclass

REPOSITORY = "Simon7108528/EfficientSAM3"

WEIGHTS = {
    "finetuned": "detector fine-tuned on 5 % of SA-1B with SACap captions (stage 3), text encoder MobileCLIP-S0",
    "sam3.1": "image encoder distilled from SAM 3.1 (stage 1), text encoder MobileCLIP-S0",
    "stage1": "image encoder distilled from SAM 3 on 1 % of SA-1B (stage 1), SAM 3's own text encoder",
    "geometry": "as stage1, then fine-tuned with boxes and points",
    "mobileclip_s1": "as stage1, with the text encoder MobileCLIP-S1 of December 2025",
    "mobileclip_s1_finetuned": "as mobileclip_s1, the text encoder then fine-tuned on SA-Co's phrases",
}
"""Kinds of weights, the most useful first."""

LICENCE = (
    "EfficientSAM3 is released under Apache-2.0. Its detector and tracker come from SAM 3, and its other weights were "
    "learned from SAM 3: read Meta's SAM License too, https://github.com/facebookresearch/sam3/blob/main/LICENSE"
)

_TRUNKS = {"ev": "efficientvit", "rv": "repvit", "tv": "tinyvit"}
_MODELS = {
    "ev_s": "efficientvit-b0", "ev_m": "efficientvit-b1", "ev_l": "efficientvit-b2",
    "rv_s": "repvit-m0_9", "rv_m": "repvit-m1_1", "rv_l": "repvit-m2_3",
    "tv_s": "tinyvit_5m", "tv_m": "tinyvit_11m", "tv_l": "tinyvit_21m",
}  # fmt: skip
_FINETUNED_TEXT = {
    "ev_m": "efficientvit_b1", "rv_m": "repvit_m1.1", "tv_m": "tiny_vit_11m"
}  # fmt: skip


@dataclass(frozen=True)
class Release:
    """One file of the repository."""

    variant: str  # one of the nine trunks
    weights: str  # one of WEIGHTS
    file: str  # path within the repository
    repository: str = REPOSITORY

    @property
    def page(self) -> str:
        """Where people find it."""
        return f"https://huggingface.co/{self.repository}"

    @property
    def link(self) -> str:
        """Where the file itself can be downloaded."""
        return f"{self.page}/resolve/main/{self.file}"


def releases(variant: str) -> dict[str, Release]:
    """Kind of weights -> what was released of a variant, the most useful first."""
    trunk, size = _TRUNKS[variant[:2]], variant[-1]
    folder = "stage1_all_converted/efficient_sam3"
    files = {
        "sam3.1": f"stage1_sam3p1/efficient_sam3p1_{trunk}_{size}_mobileclip_s0_ctx16.pt",
        "stage1": f"{folder}_{trunk}_{size}.pt",
        "mobileclip_s1": f"{folder}_{_MODELS[variant]}_mobileclip_s1.pth",
    }
    if size == "m":
        files["finetuned"] = f"efficientsam3_ft/efficientsam3_{trunk}.pt"
        files["geometry"] = f"{folder}_{trunk}_m_geo_ft.pt"
        files["mobileclip_s1_finetuned"] = f"{folder}_{_FINETUNED_TEXT[variant]}_mobileclip_s1_ft.pth"
    return {weights: Release(variant, weights, files[weights]) for weights in WEIGHTS if weights in files}


def choose_release(variant: str, weights: str | None = None) -> Release:
    """The release of a variant; without `weights` the most useful one.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    if variant not in _MODELS:
        raise ValueError(f"nothing was released of {variant!r}: choose one of {', '.join(_MODELS)}")
    known = releases(variant)
    if weights is None:
        return next(iter(known.values()))
    if weights not in known:
        raise ValueError(f"no {weights!r} weights were released of {variant}: choose one of {', '.join(known)}")
    return known[weights]

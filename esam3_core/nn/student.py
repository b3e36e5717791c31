# SPDX-License-Identifier: Apache-2.0
"""The student: image encoder, text encoder, detector and, where it has them, memory, exemplar encoder and refiner."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from esam3_core.config import StudentConfig
from esam3_core.nn.clip_text import ClipTextEncoder
from esam3_core.nn.detector import Detected, Detector
from esam3_core.nn.exemplar import ExemplarEncoder
from esam3_core.nn.memory import Memory
from esam3_core.nn.neck import FPN
from esam3_core.nn.refiner import Refiner
from esam3_core.nn.sam3_detector import Sam3Detector
from esam3_core.nn.sam3_memory import Sam3Memory
from esam3_core.nn.sam3_neck import Sam3Neck
from esam3_core.nn.text import TextEncoder
from esam3_core.nn.trunk import Trunk, follow_upstream

TEXT_ENCODERS = {"sentence": TextEncoder, "clip": ClipTextEncoder}


@dataclass
class Features:
    """What the image encoder gives: sizes with neck fpn, and with neck sam3."""

    p16: Tensor  # [B, d, S/16, S/16]; [B, d, S/14, S/14]
    p8: Tensor  # [B, d/4, S/8, S/8]; [B, d, S/7, S/7]
    p4: Tensor  # [B, d/8, S/4, S/4]; [B, d, 2S/7, 2S/7]

    def take(self, frames: Tensor) -> Features:
        """The features of the frames with these indices, one row each."""
        return Features(self.p16[frames], self.p8[frames], self.p4[frames])


def normalise(frames: Tensor) -> Tensor:
    """uint8 RGB [B, S, S, 3] -> pixels in -1..1, [B, 3, S, S] (SAM 3: mean 0.5, deviation 0.5)."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1.0


class ImageEncoder(nn.Module):
    """Frame -> features: a timm trunk and one of two necks, ours or that of official checkpoints."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.neck: FPN | Sam3Neck
        if config.neck == "sam3":
            self.trunk = Trunk(config.variant, strides=(32,))
            follow_upstream(self.trunk)
            self.neck = Sam3Neck(self.trunk.channels[-1], config.width, config.grid)
        else:
            self.trunk = Trunk(config.variant)
            self.neck = FPN(self.trunk.channels, config.width, config.heads, config.ffn)

    def forward(self, frames: Tensor) -> Features:
        """uint8 RGB frames [B, S, S, 3] -> features."""
        return Features(*self.neck(self.trunk(normalise(frames))))


class Student(nn.Module):
    """Finds every instance of a concept in a frame; with a memory it also follows what it was shown."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        official = config.neck == "sam3"
        self.image_encoder = ImageEncoder(config)
        self.text_encoder = TEXT_ENCODERS[config.text.kind](config.text, config.width)
        # The official detector answers the same calls; only training asks ours for more.
        self.detector: Detector = Sam3Detector(config) if official else Detector(config)  # type: ignore[assignment]
        has_memory = config.memory.kind != "none"
        self.memory = (Sam3Memory(config) if official else Memory(config)) if has_memory else None
        # Official detectors have their own.
        has_encoder = has_memory and not official
        self.exemplar_encoder = ExemplarEncoder(config.width, config.heads, config.ffn) if has_encoder else None
        self.refiner = Refiner() if config.refiner else None

    def detect(self, features: Features, prompt: Tensor, pad: Tensor) -> Detected:
        """Features with one row per (frame, concept) pair, prompts [C, L, d], padding [C, L]."""
        return self.detector(features.p16, features.p8, features.p4, prompt, pad)

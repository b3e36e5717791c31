# SPDX-License-Identifier: Apache-2.0
"""Ask an imported student about one image, in torch: for comparing with upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.nn.sam3_detector import Grounded, Sam3Detector
from esam3_core.nn.student import Features, Student
from esam3_core.nn.text import pad_mask
from esam3_core.runtime.clean import clean
from esam3_core.runtime.exemplars import WORDLESS
from esam3_core.runtime.preprocess import check_image


@dataclass(frozen=True)
class Answer:
    """What a student says of one image and one prompt."""

    logits: Tensor  # [Q] of each query, before presence
    presence: Tensor  # [] logit: the concept is in the image
    boxes: Tensor  # [Q, 4] cxcywh in 0..1
    student: Student
    grounded: Grounded

    @cached_property
    def scores(self) -> Tensor:
        """[Q] in 0..1, sigmoid(logits) x sigmoid(presence)."""
        return self.logits.sigmoid() * self.presence.sigmoid()

    @torch.inference_mode()
    def mask_logits(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Mask logits of some queries, [k, 4g, 4g]; positive inside.

        Args:
            indices: of the queries, k numbers in 0..Q-1.
        """
        chosen = torch.as_tensor(indices, dtype=torch.long)
        queries = self.grounded.decoded.queries[-1][:, chosen]  # [1, k, d]
        return self.student.detector.masks(queries, self.boxes[None, chosen], self.grounded.pixels)[0]


class Official(nn.Module):
    """An imported student with its tokenizer.

    Args:
        student: of neck sam3, in evaluation mode.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        detector: nn.Module = student.detector
        if not isinstance(detector, Sam3Detector):
            raise ValueError("this student has no official detector: import one with esam3_core.convert.official")
        self.student = student
        self.detector = detector
        self.tokenizer = build_clip_tokenizer(student.config.text.context)

    @torch.inference_mode()
    def ground(
        self,
        image: Any,
        concept: str | None = None,
        boxes: Any = None,
        box_labels: Any = None,
        points: Any = None,
        point_labels: Any = None,
    ) -> Answer:
        """Find a concept in an image.

        Args:
            image: uint8 RGB [H, W, 3], an array or a PIL picture.
            concept: noun phrase; None = only boxes and points say what is looked for.
            boxes: [E, 4] cxcywh in 0..1, things of that kind; box_labels: [E], 1 (default) or 0 = not of that kind.
            points: [K, 2] x, y in 0..1; point_labels: [K], as for boxes.

        Raises:
            ImageError: `image` is something else.
            ValueError: there is neither a concept nor a box nor a point, or they have other shapes.
        """
        if concept is None and boxes is None and points is None:
            raise ValueError("nothing to look for: give a concept, boxes or points")
        features = self.encode_image(image)
        tokens = self.tokenize(WORDLESS if concept is None else concept)
        text = self.student.text_encoder(tokens)  # [1, L, d]
        seen, unseen = self.detector.geometry(
            features.p16, *_marks(boxes, box_labels, 4, "boxes"), *_marks(points, point_labels, 2, "points")
        )
        prompt, pad = torch.cat([text, seen], 1), torch.cat([pad_mask(tokens), unseen], 1)
        grounded = self.detector.ground(features.p16, features.p8, features.p4, prompt, pad)
        decoded = grounded.decoded
        return Answer(decoded.logits[-1][0], decoded.presence[-1][0], decoded.boxes[-1][0], self.student, grounded)

    def encode_image(self, image: Any) -> Features:
        """Features of an image uint8 RGB [H, W, 3]."""
        return self.student.image_encoder(self.resize(image))

    def resize(self, image: Any) -> Tensor:
        """An image uint8 RGB [H, W, 3] as the frame [1, S, S, 3] that a student sees."""
        return resize(image, self.student.config.size)

    def tokenize(self, concept: str) -> Tensor:
        """Token ids int64 [1, L] of a noun phrase."""
        return torch.tensor([self.tokenizer.encode(clean(concept)).ids])


def resize(image: Any, side: int) -> Tensor:
    """An image uint8 RGB [H, W, 3] as a frame [1, side, side, 3].

    Upstream's own resizing; the robot's (`resize_antialiased`) differs in two of 10 000 values by one grey level.
    """
    frame = check_image(np.asarray(image))
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
    pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return pixels.permute(0, 2, 3, 1)


def _marks(places: Any, labels: Any, width: int, name: str) -> tuple[Tensor | None, Tensor | None]:
    """Boxes or points with their labels, for one concept: [1, n, width] and [1, n]."""
    if places is None:
        return None, None
    found = torch.as_tensor(np.asarray(places, np.float32))
    found = found[None] if found.ndim == 1 else found
    given = np.ones(len(found)) if labels is None else np.asarray(labels).reshape(-1)
    kinds = torch.as_tensor(given).long()
    if found.shape[1:] != (width,) or len(kinds) != len(found) or not ((kinds == 0) | (kinds == 1)).all():
        raise ValueError(f"{name} must be [n, {width}] in 0..1 with n labels of 0 or 1")
    return found[None], kinds[None]

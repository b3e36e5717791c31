# SPDX-License-Identifier: Apache-2.0
"""A batch's questions as prompt tokens: words, exemplars, or both."""

from __future__ import annotations

import torch
from torch import Tensor

from esam3_core.distill.batches import Batch
from esam3_core.nn.student import Student
from esam3_core.nn.text import pad_mask


def ask(student: Student, p16: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Prompts of C (picture, prompt) pairs, laid out as on the robot (`runtime.exemplars.join`).

    Args:
        p16: [B, d, h, w] of the batch's pictures.

    Returns:
        [C, L, d] and padding bool [C, L]; L is longer by E + 1 where the batch has room for exemplars.
    """
    prompt, pad = student.text_encoder(batch.tokens), pad_mask(batch.tokens)
    if not batch.examples.shape[1]:
        return prompt, pad
    assert student.exemplar_encoder is not None
    named = batch.named[:, None]
    prompt, pad = prompt * named[..., None], pad | ~named
    shown, unused = student.exemplar_encoder(p16[batch.example_frame], batch.examples, batch.example_labels)
    return torch.cat([prompt, shown], 1), torch.cat([pad, unused], 1)

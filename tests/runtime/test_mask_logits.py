# SPDX-License-Identifier: Apache-2.0
"""The logits of a mask that is certain are those of its whole frame, though only the cells around it are looked at."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.object_prompt import CERTAIN, mask_logits


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(8, 200), st.integers(8, 300)),
    st.sampled_from([8, 15, 24, 96]),
    st.integers(0, 2**32 - 1),
)
def test_they_are_those_of_the_whole_frame(size, side, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, bool)
    (top, bottom), (left, right) = (sorted(rng.integers(0, limit + 1, 2)) for limit in size)
    mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.7
    share = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    if 0 < share.max() <= 0.5:
        share /= share.max()
    assert np.allclose(mask_logits(CroppedMask.from_full(mask), side), (2 * share - 1) * CERTAIN, atol=1e-3)


def test_a_mask_thinner_than_half_a_cell_is_not_lost():
    mask = np.zeros((480, 640), bool)
    mask[100:102, 50:200] = True
    logits = mask_logits(CroppedMask.from_full(mask), 96)
    assert (logits > 0).any() and not (logits[:, 40:] > 0).any()

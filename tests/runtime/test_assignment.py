# SPDX-License-Identifier: Apache-2.0
"""The assignment is as good as SciPy's, whatever the likeness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from esam3_core.runtime.assignment import assign

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
LIKENESS = SHAPES.flatmap(
    lambda shape: st.one_of(
        arrays(np.float64, shape, elements=st.floats(0, 1)),
        arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.5, 1.0])),  # many ties, many that must not pair
    )
)


@settings(max_examples=300, deadline=None)
@given(LIKENESS)
def test_no_other_pairs_have_a_greater_total(likeness):
    pairs = assign(likeness)
    best = likeness[linear_sum_assignment(likeness, maximize=True)].sum()
    assert sum(likeness[pair] for pair in pairs) == pytest.approx(best, abs=1e-12)
    assert pairs == sorted(pairs) and all(likeness[pair] > 0 for pair in pairs)
    for taken in zip(*pairs, strict=True):
        assert len(set(taken)) == len(taken)


def test_many_at_once():
    likeness = np.random.default_rng(0).random((40, 60))
    assert sum(likeness[pair] for pair in assign(likeness)) == pytest.approx(
        likeness[linear_sum_assignment(likeness, maximize=True)].sum()
    )


def test_nothing_to_pair():
    assert assign(np.zeros((0, 3))) == assign(np.zeros((3, 0))) == assign(np.zeros((2, 2))) == []


def test_what_two_want_goes_to_the_one_that_has_nothing_else():
    assert assign(np.array([[0.9, 0.8], [0.85, 0.0]])) == [(0, 1), (1, 0)]

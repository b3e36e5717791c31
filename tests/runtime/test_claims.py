# SPDX-License-Identifier: Apache-2.0
"""What a bundle claims to know."""

import pytest

from esam3_core.runtime.claims import beyond_claims


@pytest.mark.parametrize("concept", ["mug", "red mug", "a large red mug"])
def test_a_noun_is_known_with_whatever_stands_before_it(concept: str) -> None:
    assert beyond_claims(["cup", "mug"], [concept]) == ""


def test_what_is_not_claimed_is_named() -> None:
    said = beyond_claims(["cup", "mug"], ["zebra", "cup", "smug"])
    assert said == "this bundle does not claim to know zebra, smug, only cup, mug"


def test_a_bundle_that_claims_nothing_is_not_asked() -> None:
    assert beyond_claims([], ["zebra"]) == ""

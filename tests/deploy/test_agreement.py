# SPDX-License-Identifier: Apache-2.0
"""Two runs agree as far as what they mean agrees, whatever the order of queries; a number that is none agrees never."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.deploy.agreement import agreement, closeness, track_ious
from esam3_core.deploy.gates import LEAST
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.track import Track


def detections(boxes: list[list[float]], logits: list[float], kept: list[int]) -> dict[str, np.ndarray]:
    """Raw outputs of a detector for one concept; mask k is filled with the x of its query."""
    masks = np.stack([np.full((4, 4), boxes[query][0] + np.eye(4)) for query in kept])
    return {
        "boxes": np.array([boxes], np.float32),
        "logits": np.array([logits], np.float32),
        "presence": np.array([4.0], np.float32),
        "kept": np.array([kept]),
        "masks": masks[None].astype(np.float32),
    }


LEFT, RIGHT, NOWHERE = [0.2, 0.5, 0.1, 0.1], [0.8, 0.5, 0.2, 0.1], [0.5, 0.1, 0.9, 0.9]


def track(concept: str, mask: np.ndarray) -> Track:
    return Track(1, concept, 0.9, "tracked", (0, 0, 1, 1), CroppedMask.from_full(mask), 0.0, 0.0)


def square(x: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[5 : 5 + side, x : x + side] = True
    return mask


def test_what_points_elsewhere_is_less_close_and_so_is_what_is_longer() -> None:
    a = np.array([1.0, 2.0, 3.0])
    assert closeness(a, a) == 1
    assert closeness(a, -a) == pytest.approx(-1)
    assert closeness(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 0
    assert closeness(a, 2 * a) == closeness(2 * a, a) == pytest.approx(0.8)
    turned = np.array([3.0, 2.0, 1.0])  # as long as a
    assert closeness(a, turned) == pytest.approx(a @ turned / (a @ a))  # their cosine


@pytest.mark.parametrize("name", ["presence", "iou", "objectness"])
def test_a_single_number_agrees_with_its_like_only(name: str) -> None:
    """One concept, or one track: a cosine would call any two numbers of one sign the same."""

    def one(value: float) -> dict[str, np.ndarray]:
        return {name: np.array([value], np.float32)}

    assert agreement(one(4.0), one(4.0))[name] == 1
    assert agreement(one(4.0), one(4.05))[name] > 0.9999
    assert agreement(one(4.0), one(2.0))[name] < 0.9
    assert agreement(one(0.9), one(0.1))[name] < 0.7
    assert agreement(one(0.001), one(-0.001))[name] > 0.9999  # both say: as likely as not


@pytest.mark.parametrize("scale", [0.5, 1.1])
def test_features_of_another_scale_do_not_pass(scale: float) -> None:
    values = np.random.default_rng(0).normal(size=(1, 8, 4, 4)).astype(np.float32)
    assert agreement({"p16": values}, {"p16": scale * values})["p16"] < LEAST["engine"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_never_agrees(bad: float) -> None:
    """Whichever of the two has it."""
    good, broken = np.ones(3), np.array([1.0, bad, 1.0])
    assert closeness(good, broken) == closeness(broken, good) == closeness(broken, broken) == 0


@pytest.mark.parametrize("name", ["boxes", "logits", "presence", "masks"])
def test_a_number_that_is_none_condemns_a_detector_in_queries_that_show_nothing_too(name: str) -> None:
    good, broken = (detections([LEFT, RIGHT, NOWHERE], [3, 2, -9], [0, 2]) for _ in range(2))
    broken[name].reshape(-1)[-1] = np.nan
    assert agreement(good, broken)[name] == agreement(broken, good)[name] == 0


def test_other_shapes_never_agree_and_zeros_only_with_zeros() -> None:
    assert closeness(np.ones(3), np.ones(4)) == 0
    assert closeness(np.zeros(3), np.zeros(3)) == 1
    assert closeness(np.zeros(3), np.ones(3)) == 0


def test_the_order_of_queries_does_not_matter() -> None:
    ours = detections([LEFT, RIGHT, NOWHERE], [3, 2, -9], [0, 1])
    theirs = detections([NOWHERE, RIGHT, LEFT], [-9, 2, 3], [2, 1])
    assert agreement(ours, theirs) == pytest.approx(dict.fromkeys(ours, 1.0))


def test_queries_that_show_nothing_do_not_matter() -> None:
    ours = detections([LEFT, RIGHT, NOWHERE], [3, 2, -9], [0, 1])
    theirs = detections([LEFT, RIGHT, [0.1, 0.9, 0.3, 0.3]], [3, 2, -7], [0, 1])
    assert agreement(ours, theirs) == pytest.approx(dict.fromkeys(ours, 1.0))


def test_a_box_a_score_or_a_lost_mask_does_matter() -> None:
    ours = detections([LEFT, RIGHT, NOWHERE], [3, 2, -9], [0, 1])
    moved = agreement(ours, detections([LEFT, [0.8, 0.1, 0.2, 0.1], NOWHERE], [3, 2, -9], [0, 1]))
    assert moved["boxes"] < 0.95 and moved["logits"] == pytest.approx(1)
    assert agreement(ours, detections([LEFT, RIGHT, NOWHERE], [3, -2, -9], [0, 1]))["logits"] < 0.5
    assert agreement(ours, detections([LEFT, RIGHT, NOWHERE], [3, 2, -9], [0, 2]))["kept"] == 0.5


def test_which_of_two_equal_queries_is_kept_does_not_matter() -> None:
    ours = detections([LEFT, RIGHT, NOWHERE], [3, 1.02, 1.0], [0, 1])
    swapped = detections([LEFT, RIGHT, NOWHERE], [3, 0.99, 1.0], [0, 2])
    assert agreement(ours, swapped)["kept"] == 1
    surer = detections([LEFT, RIGHT, NOWHERE], [3, 1.5, 1.0], [0, 1])
    assert agreement(surer, swapped)["kept"] == 0.5


def test_where_nothing_counts_the_best_query_is_compared() -> None:
    ours = detections([LEFT, RIGHT, NOWHERE], [-5, -8, -9], [0, 1])
    assert agreement(ours, detections([LEFT, RIGHT, NOWHERE], [5, -8, -9], [0, 1]))["logits"] == pytest.approx(-1)


def test_tracks_agree_as_their_masks_do() -> None:
    ours = [track("cup", square(5)), track("cup", square(30))]
    assert track_ious(ours, list(reversed(ours))) == pytest.approx([1, 1])
    assert track_ious(ours, [ours[0], track("cup", square(35))]) == pytest.approx([1, 50 / 150])
    assert track_ious(ours, ours[:1]) == [1, 0]
    assert track_ious(ours[:1], [track("mug", square(5))]) == [0, 0]
    assert track_ious([], []) == []

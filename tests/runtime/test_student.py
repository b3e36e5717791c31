# SPDX-License-Identifier: Apache-2.0
"""Segmenting stills with the colour student: the right blobs, scores, boxes and masks come out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import esam3_core
from esam3_core.config import RuntimeConfig
from esam3_core.runtime import ConceptError, ImageError
from esam3_core.runtime.detector import drop_duplicates, fall_off
from tests.colour_bundle import COLOURS, disc, draw_blobs

RED_1, RED_2, BLUE = (120, 100, 50), (400, 220, 40), (500, 380, 70)
SCENE = draw_blobs([("red", *RED_1), ("red", *RED_2), ("blue", *BLUE)])


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_every_instance_of_every_concept_is_found(student):
    found = student.segment(SCENE, ["red", "blue", "green"])
    assert [one.concept for one in found] == ["red", "red", "blue"]
    truths = {0: (RED_1, RED_2), 1: (RED_1, RED_2), 2: (BLUE,)}
    for index, one in enumerate(found):
        assert one.mask.shape == (480, 640) and one.mask.dtype == bool
        assert max(iou(one.mask, disc(*truth)) for truth in truths[index]) > 0.93
        assert 0.99 < one.score <= 1


def test_boxes_are_pixels_of_the_image(student):
    x, y, width, height = student.segment(SCENE, ["blue"])[0].box
    assert (x, y, width, height) == pytest.approx((430, 310, 140, 140), abs=12)  # a cell is 10 x 7.5 pixels


def test_best_comes_first_within_a_concept(student):
    dull = tuple(int(0.6 * value + 0.4 * 128) for value in COLOURS["red"])
    image = SCENE.copy()
    image[disc(*RED_1)] = dull
    first, second = student.segment(image, ["red"])
    assert first.score > second.score > 0.5
    assert iou(second.mask, disc(*RED_1)) > 0.8


def test_words_that_mean_nothing_to_the_student_are_found_nowhere(student):
    assert student.segment(SCENE, ["table"]) == []
    assert len(student.segment(SCENE, ["big red ball"])) == 2


def test_concepts_come_back_normalised_and_once(student):
    assert [one.concept for one in student.segment(SCENE, ["Blue ", "blue"])] == ["blue"]


@pytest.mark.parametrize("size", [(720, 1280), (480, 640), (97, 131), (64, 64), (33, 400)])
def test_masks_have_the_size_of_any_camera(student, size):
    height, width = size
    image = draw_blobs([("green", width / 2, height / 2, min(size) / 3)], size)
    (found,) = student.segment(image, ["green"])
    assert found.mask.shape == size
    assert iou(found.mask, disc(width / 2, height / 2, min(size) / 3, size)) > 0.7


def test_one_pixel_is_an_image(student):
    assert student.segment(np.zeros((1, 1, 3), np.uint8), ["red"]) == []


def test_more_concepts_than_one_batch_give_the_same_result(colour_bundle, student):
    names = [*COLOURS, "table", "chair"]
    small = esam3_core.load(colour_bundle, RuntimeConfig(max_concepts=3))
    expected = [(one.concept, one.score, one.crop.roi) for one in student.segment(SCENE, names)]
    assert [(one.concept, one.score, one.crop.roi) for one in small.segment(SCENE, names)] == expected


def test_concepts_may_change_in_number_from_frame_to_frame(student):
    """Some versions of ONNX Runtime reuse a memory plan that no longer fits."""
    for count in (2, 1, 2, 3, 2, 6, 1, 2, 6):
        found = student.segment(SCENE, ["red", "blue", "green", "cyan", "yellow", "magenta"][:count])
        assert [one.concept for one in found] == ["red", "red", "blue"][: count + 1]


class TestThresholds:
    """Each field of DetectorConfig changes what is found."""

    def test_score(self, student):
        assert len(student.segment(SCENE, ["red"])) == 2
        student.detector = replace(student.detector, score_threshold=0.9999)
        assert student.segment(SCENE, ["red"]) == []

    def test_mask(self, student):
        def area(threshold):
            student.detector = replace(student.detector, mask_threshold=threshold)
            return student.segment(SCENE, ["blue"])[0].crop.area

        assert area(0.3) > area(0.5) > area(0.9)

    def test_min_area(self, student):
        student.detector = replace(student.detector, min_area=6000)
        assert [iou(one.mask, disc(*RED_1)) > 0.9 for one in student.segment(SCENE, ["red"])] == [True]

    def test_duplicates(self, student):
        first, second = student.segment(SCENE, ["red"])
        copy = replace(first, score=first.score - 0.1)
        assert drop_duplicates([first, second, copy], 0.6) == [first, second]
        assert drop_duplicates([first, second, copy], 1.0) == [first, second, copy]

    def test_falloff(self, student):
        """A duller blob is less red than the best one, and falls as much further below it."""
        image = SCENE.copy()
        image[disc(*RED_1)] = tuple(int(0.6 * value + 0.4 * 128) for value in COLOURS["red"])
        first, second = student.segment(image, ["red"])
        student.detector = replace(student.detector, falloff=0.3, score_threshold=0.01)
        best, further = student.segment(image, ["red"])
        assert best.score == first.score and further.score < second.score
        student.detector = replace(student.detector, falloff=10.0)
        assert [one.score for one in student.segment(image, ["red"])] == [first.score]


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-30, 30, width=32)), st.floats(0, 10))
def test_falling_off_keeps_the_best_and_the_order_and_raises_nothing(logits, falloff):
    fallen = fall_off(logits, falloff)
    best = np.arange(3), logits.argmax(1)
    assert (fallen[best] == logits[best]).all() and (fallen <= logits).all()
    order = np.argsort(logits, axis=1)
    assert (np.diff(np.take_along_axis(fallen, order, 1)) >= -1e-4).all()
    assert (fall_off(logits, 0.0) == logits).all()


@pytest.mark.parametrize("concepts", [[], [""], ["x" * 10_000], [5], "red", None])
def test_bad_concepts_are_refused(student, concepts):
    with pytest.raises(ConceptError):
        student.segment(SCENE, concepts)


def test_bad_images_are_refused(student):
    with pytest.raises(ImageError, match="scale it to 0"):
        student.segment(SCENE.astype(np.float32), ["red"])


def test_the_image_is_not_changed(student):
    image = SCENE.copy()
    student.segment(image, ["red"])
    assert (image == SCENE).all()


def test_stages_of_the_last_frame_are_timed(student):
    student.segment(SCENE, ["red"])
    assert list(student.timings) == ["text_encoder", "preprocess", "image_encoder", "detector", "postprocess"]
    assert all(ms >= 0 for ms in student.timings.values())
    student.warm_up()
    assert student.timings == {}


def test_concepts_are_those_of_the_bundle_and_a_copy(student):
    student.concepts.append("spoon")
    assert student.concepts == list(COLOURS)


def test_concepts_that_end_in_no_noun_of_the_bundle_are_doubted(student):
    assert student.doubt(["red", "pale red", "reds"]) == ""
    assert student.doubt(["zebra", "red", "hatred"]).startswith("this bundle does not claim to know zebra, hatred, ")
    assert "use one of red, " in student.doubt(["zebra"])


def test_a_bundle_that_lists_no_nouns_was_made_for_any_phrase(student, monkeypatch):
    monkeypatch.setattr(student, "bundle", replace(student.bundle, concepts=()))
    assert student.doubt(["zebra"]) == ""

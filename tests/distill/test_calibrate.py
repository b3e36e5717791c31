# SPDX-License-Identifier: Apache-2.0
"""Calibration: after it, 0.5 is the right threshold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from esam3_core.config import StudentConfig, TextConfig
from esam3_core.distill.calibrate import Calibration, apply_shifts, cg_f1, fit_shifts, scored
from esam3_core.distill.calibration_answers import Answers
from esam3_core.nn.student import Student


def unsure_answers() -> Answers:
    """Right queries at a score of 0.3, wrong ones at 0.1, the concept present in every other picture."""
    logits = np.full((20, 4), -2.2)
    logits[::2, 0] = -0.85
    right = np.zeros((20, 4))
    right[::2, 0] = 1
    return Answers(logits, np.full(20, 3.0), right, truths=np.tile([1, 0], 10))


def test_a_student_that_is_unsure_of_itself_is_made_sure() -> None:
    answers = unsure_answers()
    found = fit_shifts({(1.0, 1.0): answers})
    assert found.cg_f1_before == 0.0
    assert found.cg_f1_after == pytest.approx(1.0)
    assert found.query + 1e-9 > 0.85


def test_a_student_that_finds_nothing_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    hopeless = unsure_answers()
    hopeless.right[:] = 0
    found = fit_shifts({(3.0, 0.0): hopeless, (1.0, 1.0): hopeless})
    assert found == Calibration(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert "calibration changes nothing" in caplog.text


def test_of_equally_good_adjustments_the_smallest_is_taken() -> None:
    found = fit_shifts({(weight, share): unsure_answers() for weight in (3.0, 1.0) for share in (0.0, 1.0)})
    assert found.cg_f1_after == pytest.approx(1.0)
    assert (found.dense, found.correction, found.query, found.presence) == (1.0, 1.0, 1.0, 0.0)


def test_no_more_than_six_denials_in_a_hundred_are_given_up_for_what_is_found() -> None:
    """Fifty pairs of either kind. One more instance could be found at the price of four false answers."""
    answers = Answers(np.full((100, 1), 3.0), np.full(100, 3.0), np.zeros((100, 1)), np.tile([1, 0], 50))
    answers.right[::2] = 1
    answers.logits[1::2] = -4.0
    answers.logits[[0, 1, 3, 5, 7]] = -1.0
    found = fit_shifts({(1.0, 1.0): answers})
    kept = scored(answers, found.query, found.presence)[:, 0]
    assert not kept[[0, 1, 3, 5, 7]].any() and kept[2::2].all()


def test_a_student_with_too_many_false_positives_does_not_stay_as_it_is() -> None:
    """It finds everything, and something in four of fifty pictures that lack it: the best cgF1, but too often."""
    answers = Answers(np.full((100, 1), 3.0), np.full(100, 3.0), np.zeros((100, 1)), np.tile([1, 0], 50))
    answers.right[::2] = 1
    answers.logits[1::2] = -4.0
    answers.logits[:10] = 1.0
    answers.logits[9] = -4.0
    found = fit_shifts({(1.0, 1.0): answers})
    assert found.cg_f1_after < found.cg_f1_before
    assert not scored(answers, found.query, found.presence)[[1, 3, 5, 7]].any()


def test_a_presence_that_denies_everything_is_lifted() -> None:
    answers = unsure_answers()
    answers.logits += 4.0
    answers.logits[answers.right == 0] -= 8.0
    answers.presence[:] = -0.7
    assert fit_shifts({(1.0, 1.0): answers}).cg_f1_after == pytest.approx(1.0)


def test_each_part_of_a_score_counts_for_what_it_is_worth() -> None:
    spoilt = unsure_answers()
    spoilt.logits[:] = -1.0
    found = fit_shifts({(2.0, 0.0): unsure_answers(), (1.0, 1.0): spoilt})
    assert (found.dense, found.correction) == (2.0, 0.0) and found.cg_f1_after == pytest.approx(1.0)


def test_what_is_missed_and_what_is_made_up_both_cost() -> None:
    answers = unsure_answers()
    assert cg_f1(answers, 1.5, 0.0) == pytest.approx(1.0)
    assert cg_f1(answers, 4.0, 0.0) == 0.0  # everything fires: what is found tells nothing
    assert cg_f1(answers, 0.0, 0.0) == 0.0
    answers.logits[0, 1] = answers.logits[0, 0]
    f1 = 20 / 21  # ten instances are right, and there is one wrong mask
    assert cg_f1(answers, 1.5, 0.0) == pytest.approx(f1)
    answers.logits[1, 0] = answers.logits[0, 0]
    assert cg_f1(answers, 1.5, 0.0) == pytest.approx(f1 * (10 * 9 / np.sqrt(11 * 10 * 10 * 9)))


def test_three_wrong_masks_in_one_absent_concept_count_as_one_wrong_answer() -> None:
    one, three = unsure_answers(), unsure_answers()
    one.logits[1, 0] = three.logits[1, :3] = 0.0
    assert cg_f1(one, 1.5, 0.0) == pytest.approx(cg_f1(three, 1.5, 0.0))


def test_an_instance_counts_as_much_in_a_full_picture_as_in_an_empty_one() -> None:
    """One F1 over all instances, as the official rule has it: of 13 in ten pictures nine are found."""
    answers = unsure_answers()
    answers.truths[0] = 4
    answers.right[0, 0] = 0
    assert cg_f1(answers, 1.5, 0.0) == pytest.approx(2 * 9 / (10 + 13))


def test_a_further_instance_may_have_to_be_surer_than_the_first() -> None:
    """The best query of a pair says whether the concept is there; in half of them the second best is wrong, though it
    is as sure as the best one of another pair."""
    answers = unsure_answers()
    answers.logits[::4, 0] = 2.0
    answers.logits[::4, 1] = -0.5  # wrong, and above what is right elsewhere
    assert max(cg_f1(answers, q / 4, 0.0) for q in range(-8, 13)) < 1
    found = fit_shifts({(1.0, 1.0): answers})
    assert found.cg_f1_after == pytest.approx(1.0) and found.falloff > 0


def test_a_mask_counts_for_the_ious_at_which_it_is_right() -> None:
    answers = unsure_answers()
    answers.right *= 0.7
    assert cg_f1(answers, 1.5, 0.0) == pytest.approx(0.7)


def test_shifts_end_up_in_the_students_logits() -> None:
    torch.manual_seed(0)
    text = TextConfig(vocab_size=64, width=16, layers=1, heads=2, ffn=16, embedding=8)
    config = StudentConfig(
        variant="ev_s", size=64, width=32, heads=4, ffn=32, queries=4, masks=2, pixel_width=8, text=text
    )
    student = Student(config).eval()
    frames = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    tokens = torch.tensor([[2, 5, 3] + [0] * 13])

    def ask() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            out = student.detect(student.image_encoder(frames), student.text_encoder(tokens), tokens == 0)
        return out.decoded.logits[-1], out.decoded.presence[-1]

    logits, presence = ask()
    apply_shifts(student, Calibration(2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert not torch.allclose(ask()[0], logits)
    apply_shifts(student, Calibration(0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    torch.testing.assert_close(ask()[0], logits)
    apply_shifts(student, Calibration(1.0, 1.0, 1.25, 0.5, 0.5, 0.0, 1.0))
    shifted_logits, shifted_presence = ask()
    torch.testing.assert_close(shifted_logits, logits + 1.25)
    torch.testing.assert_close(shifted_presence, presence + 0.5)

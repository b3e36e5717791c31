# SPDX-License-Identifier: Apache-2.0
"""`esam3 eval` end to end, with a student that knows colours and data in the real formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import esam3_core
from esam3_core.cli import main
from esam3_core.data.real import RealFolder
from esam3_core.data.sample import Label, Sample
from esam3_core.data.scenes import SceneShards
from esam3_core.metrics.evaluate import chosen, detect, evaluate, pairs_of
from esam3_core.metrics.pairs import ATTRIBUTE, HARD_NEGATIVE, NOUN, of_kind
from esam3_core.metrics.questions import Question, real_questions, scene_questions
from esam3_core.metrics.report import summarise, to_markdown
from esam3_core.metrics.sheet import best_and_worst, quality
from esam3_core.runtime.student import Student
from tests.colour_bundle import COLOURS, write_colour_bundle
from tests.drawn_data import Thing, draw_things, scatter, write_real_folder, write_shard

PICTURES = [scatter(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_bundle(tmp_path_factory.mktemp("bundle") / "colours")


@pytest.fixture(scope="module")
def student(bundle: Path) -> Student:
    return esam3_core.load(bundle)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_folder(tmp_path_factory.mktemp("real") / "drawn", PICTURES, phrase="colour")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("scenes") / "shard-000.tar", PICTURES).parent


def test_a_student_that_knows_is_told_so(student: Student, real: Path) -> None:
    pairs = evaluate(student, RealFolder(real), lambda sample: real_questions(sample, COLOURS))
    overall = summarise(pairs, 0.5, bundle="colours", data="drawn")["overall"]
    assert overall["positives"] == 18 and overall["negatives"] > 6
    assert overall["cg_f1_50"] > 0.95
    assert overall["matched_iou"] > 0.8
    assert overall["false_positive_rate"] == 0


def test_a_student_that_confuses_is_told_so(student: Student, real: Path) -> None:
    """The same student asked with every answer shifted by one colour."""
    samples = RealFolder(real)
    names = sorted(COLOURS)
    other = dict(zip(names, names[1:] + names[:1], strict=True))

    def ask(sample: Sample) -> list[Question]:
        return [Question(other[q.phrase], q.kind, q.hits) for q in real_questions(sample, COLOURS)]

    overall = summarise(evaluate(student, samples, ask), 0.5, bundle="colours", data="drawn")["overall"]
    assert overall["recall_50"] == 0
    assert overall["false_positive_rate"] > 0.3
    assert not overall["cg_f1"] > 0


def test_scenes_are_asked_for_what_is_there_and_what_only_seems_to_be(scenes: Path) -> None:
    sample = SceneShards(scenes)[0]
    questions = scene_questions(sample)
    asked = {q.phrase: q for q in questions}
    assert {q.kind for q in questions} == {NOUN, ATTRIBUTE, HARD_NEGATIVE}
    assert set(sample.absent) == {q.phrase for q in questions if q.kind == HARD_NEGATIVE}
    for noun in {thing.noun for thing in PICTURES[0]}:
        assert asked[noun].hits == tuple(i for i, thing in enumerate(PICTURES[0]) if thing.noun == noun)
    assert sum(not q.hits and q.kind == NOUN for q in questions) == 3
    assert all(q.hits for q in questions if q.kind == ATTRIBUTE)
    assert questions == scene_questions(sample)


def test_an_absent_noun_is_not_one_that_a_person_might_use(scenes: Path) -> None:
    """A ball may be called an orange, a box a book."""
    for sample in (SceneShards(scenes)[i] for i in range(len(PICTURES))):
        here = {q.phrase for q in scene_questions(sample) if q.kind == NOUN and q.hits}
        absent = {q.phrase for q in scene_questions(sample) if q.kind == NOUN and not q.hits}
        assert not ("ball" in here and "orange" in absent)
        assert not ("box" in here and "book" in absent)


def test_scenes_measure_by_kind(student: Student, scenes: Path) -> None:
    pairs = evaluate(student, SceneShards(scenes), scene_questions, limit=3)
    assert {pair.key for pair in pairs} == {f"shard-000-{i:04d}" for i in (0, 2, 4)}
    # "red ball" is found wherever something red is, so also on hard negatives where only a red box is.
    summary = summarise(pairs, 0.5, bundle="colours", data="drawn")
    assert set(summary["kinds"]) == {NOUN, ATTRIBUTE, HARD_NEGATIVE}
    assert summary["kinds"][ATTRIBUTE]["recall_50"] > 0.9
    assert all(pair.truths == 0 for pair in of_kind(pairs, HARD_NEGATIVE))


def test_every_score_counts_whatever_the_students_own_threshold(student: Student, real: Path) -> None:
    sample = RealFolder(real)[0]
    before = student.detector
    assert len(detect(student, sample, COLOURS)) >= len(student.segment(sample.image, COLOURS))
    assert student.detector is before


def test_where_nothing_is_known_a_detection_is_neither_right_nor_wrong(student: Student) -> None:
    things = [Thing("ball", "red", 40, 60, 18), Thing("ball", "red", 120, 60, 18)]
    masks = np.stack([things[0].mask()])
    labels = [Label(frozenset({"red"}))]
    question = [Question("red", NOUN, (0,))]
    known = Sample(draw_things(things), masks, labels)
    unsure = Sample(draw_things(things), masks, labels, ignored=things[1].mask())
    for sample, count in ((known, 2), (unsure, 1)):
        pair = pairs_of(sample, question, detect(student, sample, ["red"]))[0]
        assert pair.found(0.5) == count
        assert pair.matched(0.5).min() > 0.8


def test_a_limit_spreads_over_the_folder() -> None:
    assert chosen(10, 0) == list(range(10))
    assert chosen(10, 3) == [0, 3, 6]
    assert chosen(2, 3) == [0, 1]


def test_best_and_worst_answers_are_told_apart(student: Student, real: Path) -> None:
    samples = RealFolder(real)
    pairs = evaluate(student, samples, lambda sample: real_questions(sample, ["red", "green", "blue"]))
    pairs += evaluate(student, samples, lambda sample: [Question("cyan", NOUN, (0,))], limit=1)
    best, worst = best_and_worst(pairs, 0.5, 2)
    assert quality(best[0], 0.5) > 0.5
    assert worst[0].phrase == "cyan" and quality(worst[0], 0.5) < 0.5


def test_the_command_writes_tables_json_plots_and_sheets(
    bundle: Path, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status = main(
        ["eval", str(bundle), "--real", str(real), "--split", "all", "--limit", "4", "--json", str(out / "eval.json"),
         "--markdown", str(out / "eval.md"), "--plots", str(out / "plots")]
    )  # fmt: skip
    assert status == 0
    table = (out / "eval.md").read_text()
    assert table in capsys.readouterr().out
    assert "| **all** |" in table and "| red |" in table
    summary = json.loads((out / "eval.json").read_text())
    assert summary["pictures"] == 4 and summary["bundle"] == "colours"
    assert summary["overall"]["cg_f1_50"] > 0.9
    assert summary["kinds"][NOUN]["ap_50"] > 0.9
    for name in ("calibration", "threshold", "concepts", "best", "worst"):
        assert cv2.imread(str(out / "plots" / f"{name}.png")) is not None


def test_a_clip_is_measured_by_frame_and_by_track(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="writing the clip needs ffmpeg: pip install imageio-ffmpeg")
    from esam3_core.runtime.video import VideoWriter

    balls = [Thing("ball", "red", 40 + 4 * i, 60, 18) for i in range(12)]
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for ball in balls:
            writer.write(draw_things([ball]))
    frames = np.array([4, 8])
    bits = np.packbits(np.stack([balls[i].mask().ravel() for i in frames]), axis=1)
    np.savez(tmp_path / "masks.npz", frames=frames, shape=balls[0].mask().shape, bits=bits)
    command = ["eval", str(bundle), "--clip", str(tmp_path / "clip.mp4"), "--json", str(tmp_path / "clip.json")]
    assert main([*command, "--masks", str(tmp_path / "masks.npz"), "--concept", "red"]) == 0
    scores = json.loads((tmp_path / "clip.json").read_text())
    assert scores["best"]["frames"] == 2 and scores["tracks"] == 1
    assert min(scores[name]["j"] for name in ("best", "union", "tracked")) > 0.8
    assert "tracker" in capsys.readouterr().out
    assert main(command) == 2
    assert "--masks and --concept" in capsys.readouterr().err
    np.savez(tmp_path / "wrong.npz", frames=frames)
    assert main([*command, "--masks", str(tmp_path / "wrong.npz"), "--concept", "red"]) == 2
    assert "lacks bits, shape" in capsys.readouterr().err


def test_bad_input_names_the_remedy(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(bundle), "--scenes", str(tmp_path)]) == 2
    assert "esam3 scenes render" in capsys.readouterr().err
    assert main(["eval", str(bundle), "--real", str(tmp_path)]) == 2
    assert "right folder" in capsys.readouterr().err


def test_pictures_that_say_nothing_are_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_real_folder(tmp_path / "nouns", PICTURES[:1], phrase="noun")
    assert main(["eval", str(bundle), "--real", str(folder), "--split", "all"]) == 2
    assert "says anything" in capsys.readouterr().err


def test_a_table_shows_a_dash_for_what_is_not_known(student: Student, real: Path) -> None:
    pairs = evaluate(student, RealFolder(real), lambda sample: real_questions(sample, COLOURS), limit=1)
    positive = [pair for pair in pairs if pair.truths]
    row = to_markdown(summarise(positive, 0.5, bundle="colours", data="drawn")).splitlines()[4]
    assert row.startswith("| **all** | 3 | 0 | - |")


def test_metrics_need_no_torch() -> None:
    code = "import sys, esam3_core.metrics.commands, esam3_core.metrics.sheet, esam3_core.metrics.clip, "
    code += "esam3_core.metrics.plots; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

# SPDX-License-Identifier: Apache-2.0
"""Gates run every graph on what it sees in real frames; what is broken fails and is named."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from esam3_core import cli
from esam3_core.deploy import gates
from esam3_core.deploy.frames import PER_PICTURE, VIEW, frames
from esam3_core.deploy.gates import REFERENCE, Clip, Finding, judge, record, run_graph
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.loop import Loop
from esam3_core.deploy.verdict import as_json, as_markdown, failure
from esam3_core.deploy.verify import check_engine, check_loop, verify
from esam3_core.deploy.watched import Feeds
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, OnnxEngine
from esam3_core.runtime.errors import Esam3Error
from esam3_core.runtime.student import Student

SIX = {"image_encoder", "text_encoder", "detector", "propagator", "memorizer", "exemplar_encoder"}


@pytest.fixture(scope="module")
def feeds(colours: Bundle, clip: Clip) -> dict:
    return record(colours, clip)


def broken(graph: Path, output: str, to: Path) -> Path:
    """A graph whose output has the opposite sign."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.output[:] = ["right" if name == output else name for name in node.output]
        node.input[:] = ["right" if name == output else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Neg", ["right"], [output]))
    onnx.save(model, to)
    return to


def test_our_own_pictures_give_as_many_frames_as_are_wanted() -> None:
    shown = list(frames(None, 5))
    assert [round(stamp * 15) for stamp, _ in shown] == [0, 1, 2, 3, 4]
    assert all(image.shape == (*VIEW, 3) and image.std() > 20 for _, image in shown)
    assert (shown[0][1] != shown[4][1]).any()


def test_the_loop_sees_no_cut_to_another_scene() -> None:
    """A memory has to choose then between objects it never saw, by digits that one grey level changes."""
    shown = [image.astype(np.int16) for _, image in frames(None, PER_PICTURE + 1)]
    steps = [float(np.abs(b - a).mean()) for a, b in pairwise(shown)]
    assert Clip().frames <= PER_PICTURE and 3 * max(steps[: Clip().frames - 1]) < steps[-1]


def test_every_graph_is_recorded_exemplars_included(colours: Bundle, feeds: dict) -> None:
    assert set(feeds) == SIX
    assert len(feeds["image_encoder"]) == 2
    assert set(feeds["propagator"][0]) == set(run_graph_inputs(colours, "propagator"))


def run_graph_inputs(bundle: Bundle, graph: str) -> list[str]:
    return [port.name for port in onnx.load(bundle.graphs[graph]).graph.input]


@pytest.mark.parametrize("graph", sorted(SIX))
def test_a_graph_agrees_with_itself(graph: str, colours: Bundle, feeds: dict) -> None:
    run = run_graph(colours.graphs[graph])
    found = judge("engine", graph, run, run, feeds[graph])
    assert found and all(finding.passed and finding.worst == pytest.approx(1) for finding in found)


def test_a_broken_engine_fails_its_gate_and_is_named(colours: Bundle, feeds: dict, tmp_path: Path) -> None:
    graph = colours.graphs["memorizer"]
    check_engine(OnnxEngine(graph, REFERENCE), "memorizer", graph, feeds["memorizer"])
    wrong = OnnxEngine(broken(graph, "memory", tmp_path / "memorizer.onnx"), REFERENCE)
    with pytest.raises(Esam3Error, match=r"gate engine failed: memorizer, output memory: -1\.0"):
        check_engine(wrong, "memorizer", graph, feeds["memorizer"])


def test_a_reference_that_says_no_number_proves_nothing(colours: Bundle, feeds: dict) -> None:
    """Also where the run that fails comes last."""
    run = run_graph(colours.graphs["memorizer"])
    first, last = feeds["memorizer"][:2]

    def torn(feed: Feeds) -> dict:
        return {name: value * (np.nan if feed is last else 1) for name, value in run(feed).items()}

    (finding,) = judge("onnx", "memorizer", torn, run, [first, last])
    assert finding.worst == 0 and not finding.passed


@pytest.mark.parametrize(("graph", "output", "told"), [
    ("propagator", "masks", r"\d+ of \d+ masks are shown by only one of the two, from frame \d+ on"),
    ("memorizer", "memory", "0 of 22 masks .* agree to 0.96"),  # the detector would hide it if it always ran
])  # fmt: skip
def test_the_loop_finds_what_only_shows_over_time(
    graph: str, output: str, told: str, colours: Bundle, clip: Clip, tmp_path: Path
) -> None:
    wrong = broken(colours.graphs[graph], output, tmp_path / f"{graph}.onnx")

    def replace(path: Path, engine: Engine) -> Engine:
        return OnnxEngine(wrong, REFERENCE) if path.stem == graph else engine

    loop = Loop(colours, clip)
    same, other = loop.judge(), loop.judge(watch=replace)
    assert same.mean == 1 and same.note.startswith("0 of ")
    assert not other.passed and other.note in failure(other)
    assert re.match(told, other.note)
    steady = re.search(r"the reference agrees to ([\d.]+) with itself where every pixel is up to 1 off", other.note)
    assert steady is not None and float(steady[1]) > other.mean


def test_a_score_on_either_side_of_the_threshold_is_no_fault(colours: Bundle, clip: Clip, tmp_path: Path) -> None:
    """The other detector says a little less; with the threshold in between, it bears nothing."""
    model = onnx.load(colours.graphs["detector"])
    for node in model.graph.node:
        node.output[:] = ["full" if name == "logits" else name for name in node.output]
        node.input[:] = ["full" if name == "logits" else name for name in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.05), "little"))
    model.graph.node.append(onnx.helper.make_node("Sub", ["full", "little"], ["logits"]))
    onnx.save(model, tmp_path / "detector.onnx")
    less = OnnxEngine(tmp_path / "detector.onnx", REFERENCE)
    image = next(image for _, image in frames(clip.source, 1))
    scores = [found.score for found in Student(colours, REFERENCE).segment(image, list(clip.concepts))]
    between = dataclasses.replace(colours, tracker=dataclasses.replace(colours.tracker, new_score=float(min(scores))))
    found = Loop(between, clip).judge(watch=lambda path, engine: less if path.stem == "detector" else engine)
    assert found.passed and found.note.endswith("with new_score -0.02 for both")


def test_engines_that_were_built_have_to_pass_the_loop_together(
    colours: Bundle, clip: Clip, tmp_path: Path
) -> None:
    engines = {graph: OnnxEngine(path, REFERENCE) for graph, path in colours.graphs.items()}
    assert check_loop(colours, clip, engines).mean == 1
    wrong = OnnxEngine(broken(colours.graphs["propagator"], "masks", tmp_path / "propagator.onnx"), REFERENCE)
    with pytest.raises(Esam3Error, match=r"gate loop failed: all, output masks: .*verify .* --search.*stay in use"):
        check_loop(colours, clip, {**engines, "propagator": wrong})


def test_a_clip_that_shows_nothing_proves_nothing(colours: Bundle, clip: Clip) -> None:
    with pytest.raises(ValueError, match="nothing was tracked in the clip: give another --source"):
        Loop(colours, Clip(clip.source, ("cyan",), clip.frames)).judge()


@pytest.mark.parametrize(("gate", "worst", "mean", "passed"), [
    ("onnx", 0.99991, 1, True), ("onnx", 0.9998, 1, False), ("typed", 0.9991, 1, True), ("engine", 0.998, 1, False),
    ("loop", 0.5, 0.97, True), ("loop", 0.5, 0.96, False),
])  # fmt: skip
def test_the_bars_are_those_of_the_design(gate: str, worst: float, mean: float, passed: bool) -> None:
    finding = Finding(gate, "detector", "masks", worst, mean, 3)
    assert finding.passed == passed
    assert f"gate {gate} failed: detector, output masks" in failure(finding)


def test_verify_runs_what_can_be_run_and_says_what_cannot(colours: Bundle, clip: Clip) -> None:
    verdict = verify(colours, "fp16", clip, say=lambda _: None)
    assert not verdict.failed
    assert {one.graph for one in verdict.findings if one.gate == "typed"} == SIX
    assert [one.gate for one in verdict.findings].count("loop") == 1
    assert "no torch student can be made" in verdict.skipped["onnx"]  # nobody trained it
    page, values = as_markdown(verdict), as_json(verdict)
    assert "every gate passed" in page and "| typed | propagator | masks |" in page
    assert values["passed"] and values["machine"]["cores"] and json.loads(json.dumps(values)) == values


def test_the_command_fails_and_names_graph_and_output(
    own_colours: Bundle, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gates.LEAST, "loop", 1.01)
    words = ["verify", str(own_colours.folder), "--source", str(clip.source), "--concept", "red", "--frames", "8"]
    assert cli.main([*words, "--report", str(tmp_path / "report")]) == 1
    assert "gate loop failed: all, output masks" in capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "verify.json").read_text())["passed"] is False
    assert "FAILED" in (tmp_path / "report" / "verify.md").read_text()


def test_a_source_without_a_concept_is_refused(clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "tabletop", "--source", str(clip.source)]) == 2
    assert "say what it shows: --concept cup" in capsys.readouterr().err


def test_a_truncated_graph_is_named_with_a_remedy(own_colours: Bundle) -> None:
    from esam3_core.runtime.errors import BundleError

    graph = own_colours.graphs["detector"]
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(BundleError, match=r"detector\.onnx is not a whole ONNX graph .*copy the bundle again"):
        read_graph(graph)

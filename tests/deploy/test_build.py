# SPDX-License-Identifier: Apache-2.0
"""A build that is killed, refused or out of room leaves every engine that was there; it goes on where it stopped.

TensorRT-RTX builds the engines here, as it needs no GPU; nobody runs them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper

from esam3_core import cli
from esam3_core.deploy import machine
from esam3_core.deploy.build import Judges, Target, build_missing, find_board, prepare_folder
from esam3_core.deploy.build_process import run_builder
from esam3_core.deploy.tensorrt_api import BuildOptions
from esam3_core.deploy.typed_graphs import TypedFile
from esam3_core.runtime import EngineError
from esam3_core.runtime.bundle import Bundle, file_digest
from esam3_core.runtime.cuda import Gpu
from esam3_core.runtime.engine_folder import engines_folder, find_engine, read_listing
from esam3_core.runtime.errors import Esam3Error

ORIN, VERSION = Gpu("Orin", "8.7", "12.6", 8 << 30), "10.3.0"
OPTIONS = BuildOptions(level=0)


def small_model(kind: str) -> ModelProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


GRAPHS = {
    graph: TypedFile(small_model(kind), "fp16", (), 1) for graph, kind in (("detector", "Relu"), ("propagator", "Abs"))
}


class Builds:
    """Builds two small graphs as engines of a bundle, for an Orin."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.folder = engines_folder(bundle.folder, ORIN, VERSION)
        self.said: list[str] = []

    def __call__(
        self,
        make: Callable[..., None] | None = None,
        accept: Callable[..., None] = lambda *_: None,
        prove: Callable[..., None] = lambda _: None,
        again: bool = False,
    ) -> None:
        prepare_folder(self.folder, 1)
        target = Target(self.folder, ORIN, VERSION, OPTIONS)
        judges = Judges(accept, prove)
        build_missing(self.bundle, GRAPHS, target, make or self.make, judges, again, self.said.append)

    def make(self, graph: str, model: ModelProto, draft: Path) -> None:
        run_builder("check", model, draft, OPTIONS, None, graph, self.said.append)

    def usable(self) -> dict[str, bytes]:
        """What a robot would load now."""
        found = {}
        for graph in GRAPHS:
            try:
                path = self.bundle.graphs[graph]
                found[graph] = find_engine(path, file_digest(path), ORIN, VERSION).read_bytes()
            except EngineError:
                continue
        return found


@pytest.fixture
def builds(own_colours: Bundle) -> Builds:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is for Linux on x86-64: pip install '.[check]'")
    return Builds(own_colours)


def die(name: str, graph: str, model: ModelProto, draft: Path) -> None:
    """Half an engine is written when the power goes."""
    draft.write_bytes(b"half an engine")
    if graph == name:
        raise KeyboardInterrupt
    draft.write_bytes(graph.encode())


def test_engines_are_built_listed_and_found_and_not_built_twice(builds: Builds) -> None:
    builds()
    assert set(builds.usable()) == set(GRAPHS)
    assert {path.suffix for path in builds.folder.iterdir()} == {".engine", ".json"}
    before = builds.usable()
    builds()
    assert builds.said[-2:] == ["detector: already built", "propagator: already built"]
    assert builds.usable() == before


def test_a_killed_build_goes_on_where_it_stopped(builds: Builds) -> None:
    with pytest.raises(KeyboardInterrupt):
        builds(partial(die, "propagator"))
    assert builds.usable() == {}  # a part of the engines is of no use
    (builds.folder / "propagator.draft").write_bytes(b"left by a power cut")
    builds()
    assert builds.said[-2] == "detector: already built"
    assert set(builds.usable()) == set(GRAPHS) and not list(builds.folder.glob("*.draft"))


def test_building_again_keeps_the_old_engine_until_the_new_one_is_accepted(builds: Builds) -> None:
    builds(partial(die, ""))
    before = builds.usable()

    def refuse(graph: str, draft: Path) -> None:
        assert draft.is_file()
        raise EngineError(f"gate engine failed: {graph}")

    with pytest.raises(EngineError, match="gate engine failed: detector"):
        builds(accept=refuse, again=True)
    assert builds.usable() == before and not list(builds.folder.glob("*.draft"))


def test_engines_are_used_only_once_a_tracker_with_all_of_them_is_proven(builds: Builds) -> None:
    builds(partial(die, ""))
    before, seen = builds.usable(), []

    def refuse(engines: dict[str, Path]) -> None:
        seen.append({graph: path.read_bytes() for graph, path in engines.items()})
        raise Esam3Error("gate loop failed: all, output masks")

    with pytest.raises(Esam3Error, match="gate loop failed"):
        builds(prove=refuse, again=True)
    assert set(seen[0]) == set(GRAPHS) and seen[0] != before and builds.usable() == before
    builds(prove=refuse)  # what is in use was proven: there is nothing to do
    assert len(seen) == 1 and builds.usable() == before
    assert len(list(builds.folder.glob("*.engine"))) == len(GRAPHS)  # what failed is gone


def test_what_was_built_before_a_failed_proof_is_not_built_again(builds: Builds) -> None:
    def refuse(_: object) -> None:
        raise Esam3Error("gate loop failed: all, output masks")

    with pytest.raises(Esam3Error):
        builds(partial(die, ""), prove=refuse)
    assert builds.usable() == {}
    builds(prove=lambda engines: None)
    assert builds.said[-2:] == ["detector: already built", "propagator: already built"]
    assert builds.usable() == {"detector": b"detector", "propagator": b"propagator"}


def test_an_engine_that_was_damaged_or_is_of_another_precision_is_built_again(builds: Builds) -> None:
    builds(partial(die, ""))
    listed = read_listing(builds.folder)
    (builds.folder / listed["detector"].file).write_bytes(b"rust")
    builds(partial(die, ""))
    assert builds.usable()["detector"] == b"detector"
    assert builds.said[-1] == "propagator: already built"


def test_a_full_disk_is_a_sentence_and_old_engines_stay(builds: Builds, tmp_path: Path) -> None:
    builds(partial(die, ""))
    before = builds.usable()
    full = tmp_path / "full"

    def make(graph: str, model: ModelProto, draft: Path) -> None:
        full.symlink_to("/dev/full")  # writing to it fails as on a full disk
        run_builder("check", model, full, OPTIONS, None, graph, builds.said.append)

    with pytest.raises(EngineError, match=r"detector: the engine cannot be written \(.*No space left.*make room"):
        builds(make, again=True)
    assert builds.usable() == before


def test_too_little_room_is_said_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"MB left and engines may need .* make room, then run the same command again"):
        prepare_folder(tmp_path / "engines", 1 << 60)


def test_a_bundle_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"no engines can be written to .* copy the bundle to your own folder"):
        prepare_folder(tmp_path / "file" / "engines", 1)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("kill -9 $$", "propagator: the builder was killed, most likely because the board ran out of memory"),
        ("kill -11 $$", r"propagator: TensorRT crashed \(SIGSEGV\)"),
        ("echo nonsense; echo Bus error >&2; exit 3", "propagator: the builder failed: Bus error"),
        ('echo \'{"error": "no kernel for it"}\'; exit 2', "propagator: no kernel for it"),
    ],
)
def test_how_a_builder_ended_is_said(
    script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, out = tmp_path / "python", tmp_path / "engine"
    program.write_text(f"#!/bin/sh\necho half > {out}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(EngineError, match=sentence):
        run_builder("check", small_model("Relu"), out, OPTIONS, None, "propagator", lambda _: None)
    assert not out.exists()


def test_a_graph_that_tensorrt_refuses_is_named(builds: Builds, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"detector: TensorRT 1\..* cannot parse it: .*Banana"):
        run_builder("check", small_model("Banana"), tmp_path / "out", OPTIONS, None, "detector", builds.said.append)
    assert not (tmp_path / "out").exists()


def test_a_truncated_graph_stops_the_command_with_a_remedy(
    own_colours: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = own_colours.graphs["memorizer"]
    graph.write_bytes(graph.read_bytes()[:-40])
    assert cli.main(["build", str(own_colours.folder), "--check"]) == 2
    assert "memorizer.onnx" in capsys.readouterr().err


def test_without_a_gpu_building_is_refused_and_checking_is_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["build", "tabletop"])
    if status == 0:
        pytest.skip("this machine has a GPU and TensorRT")
    said = capsys.readouterr().err
    assert "--check" in said or "no NVIDIA driver" in said


@pytest.mark.parametrize(
    ("model", "board"),
    [
        ("NVIDIA Jetson Orin Nano Developer Kit", "orin-nano"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "agx-orin"),
        ("NVIDIA Orin NX Developer Kit", "orin-nx"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "thor"),
        ("NVIDIA Jetson Something New", "orin-nano"),
        ("", "dgpu"),
    ],
)
def test_the_board_is_known_by_its_name(
    model: str, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_text(model)
    monkeypatch.setattr(machine, "MODEL", tmp_path / "model")
    assert find_board() == board

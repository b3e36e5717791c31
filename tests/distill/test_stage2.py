# SPDX-License-Identifier: Apache-2.0
"""Stage 2: clips are encoded once, batches depend on their number, and the loop remembers as the robot does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from esam3_core.config import MemoryConfig, StudentConfig
from esam3_core.config_fit import TeacherConfig
from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.distill.fit import Fit
from esam3_core.distill.release import release, with_memory
from esam3_core.distill.stage2 import Stage2
from esam3_core.distill.stage2_loop import travel
from esam3_core.distill.stage2_losses import memory_losses
from esam3_core.distill.stage3 import start_from
from esam3_core.nn.student import Student
from tests.data.trees import write_davis, write_sav
from tests.distill.teachers import MEMORY, write_run
from tests.drawn_data import Thing, scatter, write_real_folder, write_shard


@pytest.fixture(scope="module")
def config(tiny_config: StudentConfig, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage2Config:
    """Four steps of a tiny memory on clips made of drawn pictures."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("stage2")
    large = [[Thing("ball", "red", 80, 60, 40)], [Thing("box", "blue", 80, 60, 40)]]
    write_real_folder(home / "real", [*large, *(scatter(seed) for seed in range(10, 16))])
    start = write_run(home / "start", tiny_config, tiny_text, memory=False)
    return Stage2Config(
        student=dataclasses.replace(tiny_config, memory=MEMORY),
        start=str(start),
        sources=(ClipSourceConfig(str(home / "real"), "stills", clips=6, frames=5),),
        cache=str(home / "cache"),
        size=64,
        tracks=4,
        objects=2,
        frames=3,
        frames_last=5,
        grow=0.5,
        away=1.0,
        steps=4,
        warmup=1,
        decay=2,
        checkpoint_every=3600.0,
    )


@pytest.fixture(scope="module")
def stage(config: Stage2Config) -> Stage2:
    stage = Stage2(config)
    assert len(stage.caches) == 1
    return stage


def test_a_run_trains_the_memory_and_nothing_else(config: Stage2Config, tmp_path: Path) -> None:
    stage = Stage2(config)
    before = {name: value.clone() for name, value in stage.student.state_dict().items()}
    fit = Fit(config, tmp_path / "run", stage)
    fit.run()
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["student"]
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("memory.attention") for name in changed)
    assert any(name.startswith("memory.perceiver") for name in changed)
    assert all(name.startswith("memory.") for name in changed)
    assert fit.bad_steps == 0
    assert (tmp_path / "run" / "samples.png").stat().st_size > 0


def test_an_interrupted_run_ends_as_an_undisturbed_one(config: Stage2Config, tmp_path: Path) -> None:
    Fit(config, tmp_path / "whole", Stage2(config)).run()
    half = Fit(config, tmp_path / "half", Stage2(config))
    half.train_step(half.stage.batches(0).batch(0))
    half.train_step(half.stage.batches(0).batch(1))
    half.save()
    Fit(config, tmp_path / "half", Stage2(config)).run()
    whole, resumed = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "half"))
    for name, value in whole["average"].items():
        torch.testing.assert_close(resumed["average"][name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_forgetting_activations_changes_no_gradient(stage: Stage2) -> None:
    stage.parameters()
    stage.train_mode(0)
    gradients = []
    for forget in (False, True):
        stage.memory.zero_grad()
        batch = stage.batches(0).batch(0)
        sum(memory_losses(travel(stage.memory, batch, forget), batch).values()).backward()  # type: ignore[union-attr]
        gradients.append({n: p.grad.clone() for n, p in stage.memory.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_a_teacher_adds_its_word(
    config: Stage2Config, tiny_config: StudentConfig, tiny_text: Path, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "teacher", tiny_config, tiny_text)
    taught = dataclasses.replace(config, teacher=TeacherConfig("student", str(folder)), cache=str(tmp_path / "cache"))
    stage = Stage2(taught)
    stage.train_mode(0)
    batch = stage.batches(0).batch(0)
    assert batch.taught is not None
    assert batch.taught.known.any()
    total, terms = stage.loss(batch)
    assert terms["taught"] > 0
    total.backward()
    assert all(p.grad is not None for p in stage.helpers.parameters())


def test_clips_are_encoded_once(config: Stage2Config, stage: Stage2) -> None:
    cache = stage.caches[0]
    stamps = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    assert len(stamps) == 6
    cache.path(3).unlink()
    again = Stage2(config).caches[0]
    assert again.folder == cache.folder
    kept = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    assert [path for path in stamps if stamps[path] != kept[path]] == [cache.path(3)]


@pytest.mark.parametrize("kind", ["sav", "davis", "scenes"])
def test_other_clips_are_read_where_somebody_looked(kind: str, config: Stage2Config, tmp_path: Path) -> None:
    folder = tmp_path / kind
    if kind == "sav":
        write_sav(folder, "sav_000001", 9)  # annotated every fourth frame
    elif kind == "davis":
        write_davis(folder)
        (folder / "ImageSets/2017/val.txt").rename(folder / "ImageSets/2017/train.txt")
    else:
        write_shard(folder / "train-000.tar", [scatter(seed) for seed in range(3)])
    source = ClipSourceConfig(str(folder), kind, clips=1, frames=0)
    (cache,) = Stage2(dataclasses.replace(config, sources=(source,), cache=str(tmp_path / "cache"))).caches
    frames, objects = cache.sizes[0]
    assert frames == {"sav": 3, "davis": 6, "scenes": 3}[kind]
    assert objects >= 1
    assert cache.visible(0)[0].max() > 0


def test_another_encoder_gets_its_own_cache(config: Stage2Config, stage: Stage2) -> None:
    other = Stage2(config)
    with torch.no_grad():
        next(other.student.image_encoder.parameters()).add_(1)
    assert other.caches[0].folder != stage.caches[0].folder


def test_the_cache_gives_what_the_encoder_says(stage: Stage2, config: Stage2Config) -> None:
    cache = stage.caches[0]
    read = cache.read(1, [2, 0])
    with safe_open(cache.path(1), "pt") as file:
        whole = file.get_tensor("p16")
    torch.testing.assert_close(read.p16, whole[[2, 0]])
    assert read.masks.shape[2:] == (config.size, config.size)
    assert (cache.visible(1)[[2, 0]] == read.masks.sum((2, 3))).all()


def test_a_damaged_file_is_named(config: Stage2Config, tmp_path: Path) -> None:
    stage = Stage2(dataclasses.replace(config, cache=str(tmp_path)))
    path = stage.caches[0].path(0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="delete it and start again"):
        Stage2(dataclasses.replace(config, cache=str(tmp_path))).caches  # noqa: B018


def test_a_batch_depends_on_its_number_alone(stage: Stage2) -> None:
    first, second = stage.batches(0).batch(7), stage.batches(5).batch(7)
    for name in ("p16", "masks", "visible", "given", "points", "labels", "written"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert not torch.equal(first.masks, stage.batches(0).batch(8).masks)


def test_clips_grow_and_tracks_get_fewer(stage: Stage2) -> None:
    short, long = stage.batches(0).batch(1), stage.batches(0).batch(2)
    assert short.masks.shape[:2] == (3, 4)
    assert long.masks.shape[:2] == (5, 2)


def test_every_track_is_shown_in_its_first_frame(stage: Stage2) -> None:
    for number in range(8):
        batch = stage.batches(0).batch(number)
        assert batch.visible[0].all()
        assert batch.known[0].all()
        pointed = (batch.labels >= 0).any(1)
        assert torch.equal(pointed, ~batch.given[0])
        assert not (batch.given & ~batch.visible).any()
        assert (batch.masks.amax((2, 3)) > 0)[batch.visible].all()


def test_the_camera_looks_away(stage: Stage2) -> None:
    """Then the frame is another one, and the object is known to be hidden."""
    batches = [stage.batches(0).batch(number) for number in range(6)]
    hidden = sum(int((~b.visible & b.known).sum()) for b in batches)
    assert hidden > 0
    assert all(float(b.masks[~b.visible].sum()) == 0 for b in batches)


def test_an_unknown_frame_asks_nothing(stage: Stage2) -> None:
    batch = stage.batches(0).batch(0)
    batch.known[:] = False
    with torch.no_grad():
        terms = memory_losses(travel(stage.memory, batch), batch)
    assert all(float(value) == 0 for name, value in terms.items() if name != "again")


def test_a_bundle_takes_its_memory_from_a_second_run(
    config: Stage2Config, tiny_config: StudentConfig, tmp_path: Path
) -> None:
    Fit(dataclasses.replace(config, steps=1), tmp_path / "memory", Stage2(config)).run()
    kept = torch.load(tmp_path / "memory" / "last.pt", weights_only=True)["average"]
    plain = Student(tiny_config)
    start_from(plain, Path(config.start))
    both, told = with_memory(plain, tmp_path / "memory")
    assert told["steps"] == 1
    assert both.config.memory == MEMORY
    for name, value in both.state_dict().items():
        expected = kept if name.startswith("memory.") else plain.state_dict()
        assert name.startswith("exemplar_encoder.") or torch.equal(value, expected[name]), name
    with torch.no_grad():
        next(plain.image_encoder.parameters()).add_(1)
    with pytest.raises(ValueError, match="another image encoder"):
        with_memory(plain, tmp_path / "memory")
    with pytest.raises(FileNotFoundError, match="distill stage2"):
        with_memory(plain, tmp_path)


def test_a_memory_can_go_on_with_another_encoder(
    config: Stage2Config, tiny_config: StudentConfig, tiny_text: Path, tmp_path: Path
) -> None:
    other = write_run(tmp_path / "run", tiny_config, tiny_text)
    stored = torch.load(other / "last.pt", weights_only=True)
    theirs = stored["average"]
    coarse = torch.full((1, MEMORY.token_width), 3.0)
    torch.save(stored | {"helpers": {"coarse.weight": coarse}}, other / "last.pt")
    stage = Stage2(dataclasses.replace(config, memory_start=str(other)))
    assert torch.equal(stage.helpers["coarse"].weight, coarse)
    for name, value in stage.student.state_dict().items():
        if name.startswith("memory."):
            assert torch.equal(value, theirs[name])
    wider = dataclasses.replace(config.student, memory=dataclasses.replace(MEMORY, ring=3))
    with pytest.raises(ValueError, match="other sizes"):
        Stage2(dataclasses.replace(config, student=wider, memory_start=str(other)))
    with pytest.raises(FileNotFoundError, match="memory_start"):
        Stage2(dataclasses.replace(config, memory_start=str(tmp_path)))


def test_a_run_of_stage_3_with_a_memory_of_other_sizes_is_still_a_start(
    config: Stage2Config, tiny_config: StudentConfig, tmp_path: Path
) -> None:
    """It has never trained that memory, and another version may have other sizes."""
    old = Student(dataclasses.replace(tiny_config, memory=dataclasses.replace(MEMORY, ring=5, latents_2d=9)))
    torch.save({"average": old.state_dict(), "step": 3}, tmp_path / "last.pt")
    student = Student(config.student)
    start_from(student, tmp_path)
    assert torch.equal(student.state_dict()["memory.narrow.weight"], old.state_dict()["memory.narrow.weight"])
    wrong = Student(dataclasses.replace(config.student, queries=4, decoder_layers=1))
    with pytest.raises(ValueError, match="another student section"):
        start_from(Student(config.student), _saved(wrong, tmp_path / "wrong"))


def _saved(student: Student, folder: Path) -> Path:
    folder.mkdir()
    torch.save({"average": student.state_dict(), "step": 0}, folder / "last.pt")
    return folder


def test_a_memory_that_learnt_nothing_is_not_released(
    tiny_config: StudentConfig, tiny_text: Path, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", tiny_config, tiny_text)
    with pytest.raises(ValueError, match="add --memory"):
        release(folder, tmp_path / "bundle", "none")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"start": ""}, "set start"),
        ({"sources": ()}, "name some under sources"),
        ({"student": StudentConfig(variant="ev_s", size=64, memory=MemoryConfig())}, r"memory\.kind"),
    ],
)
def test_runs_that_cannot_work_are_refused(change: dict[str, object], remedy: str, config: Stage2Config) -> None:
    with pytest.raises(ValueError, match=remedy):
        Stage2(dataclasses.replace(config, **change)).caches  # type: ignore[arg-type]  # noqa: B018


def test_a_start_without_memory_leaves_it_new(stage: Stage2, tiny_config: StudentConfig, config: Stage2Config) -> None:
    started = torch.load(Path(config.start) / "last.pt", weights_only=True)["average"]
    assert not any(name.startswith("memory.") for name in started)
    for name in ("image_encoder.neck.lateral16.0.weight", "detector.decoder.layers.0.mlp.layers.0.weight"):
        assert torch.equal(stage.student.state_dict()[name], started[name])
    assert isinstance(stage.student, Student)

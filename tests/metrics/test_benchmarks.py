# SPDX-License-Identifier: Apache-2.0
"""`esam3 eval` on SA-Co, COCO, DAVIS, LVOS and rendered clips, with a student that knows and follows colours."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esam3_core
from esam3_core.cli import main
from esam3_core.data.coco import CocoPictures
from esam3_core.data.davis import DavisSequences
from esam3_core.data.pictures import write_indices
from esam3_core.data.saco import SacoPairs
from esam3_core.metrics.objects import inner_frames, mean_scores, measure_clip
from esam3_core.metrics.pairs import NOUN, Pair
from esam3_core.metrics.prompted import Shown, measure_prompted, show
from esam3_core.metrics.saco import judged, local_f1, most_favourable, saco_scores
from esam3_core.metrics.saco_video import volume_iou
from esam3_core.runtime.masks import CroppedMask
from tests.colour_memory import write_memory_bundle
from tests.data.trees import (
    BLUE,
    GREEN,
    RED,
    coco_file,
    jpg,
    moved,
    rle,
    saco_file,
    write_davis,
    write_lvos,
    write_sav_val,
    write_veval,
)
from tests.drawn_data import SIZE, Thing, write_real_folder, write_shard


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_memory_bundle(tmp_path_factory.mktemp("bundle") / "colours")


def evaluate(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    out = tmp_path / "out" / "eval.json"
    assert main(["eval", *map(str, arguments), "--json", str(out), "--markdown", str(out.with_suffix(".md"))]) == 0
    summary: dict[str, Any] = json.loads(out.read_text())
    table = out.with_suffix(".md").read_text()
    assert "| --- | ---: |" in table and "Made by `esam3 " in table
    return summary


@pytest.fixture
def gold(tmp_path: Path) -> list[Path]:
    (tmp_path / "a.jpg").write_bytes(jpg([RED, BLUE]))
    (tmp_path / "b.jpg").write_bytes(jpg([GREEN]))
    pairs = [(1, "a.jpg", "red", [RED.mask()], True), (2, "a.jpg", "green", [], True),
             (3, "b.jpg", "green", [GREEN.mask()], True), (4, "b.jpg", "blue", [], True),
             (5, "b.jpg", "x" * 300, [], True)]  # fmt: skip
    wrong = [(n, name, phrase, [], whole) for n, name, phrase, _, whole in pairs]
    return [saco_file(tmp_path / "a.json", wrong), saco_file(tmp_path / "b.json", pairs)]


def test_saco_with_a_bundle(bundle: Path, gold: list[Path], tmp_path: Path) -> None:
    summary = evaluate(tmp_path, bundle, "--saco", *gold, "--pictures", tmp_path)
    assert summary["il_mcc"] == pytest.approx(1, abs=1e-5) and summary["cg_f1_50"] > 0.99
    assert (summary["positives"], summary["negatives"]) == (2, 3)
    made_of = summary["made_of"]
    assert set(made_of["data_sha256"]) == {"a.json", "b.json"} and len(made_of["bundle_sha256"]) == 16
    # One annotator says that nothing is there: everything found is then wrong.
    assert evaluate(tmp_path, bundle, "--saco", gold[0], "--pictures", tmp_path)["false_positive_rate"] == 0.4


def test_saco_with_stored_predictions(gold: list[Path], tmp_path: Path) -> None:
    items = [{"image_id": 1, "score": 0.9, "segmentation": rle(RED.mask()), "category_id": 1},
             {"image_id": 3, "score": 0.4, "segmentation": rle(GREEN.mask()), "category_id": 1}]  # fmt: skip
    (tmp_path / "found.json").write_text(json.dumps(items))
    summary = evaluate(tmp_path, "--saco", gold[1], "--pictures", tmp_path, "--predictions", tmp_path / "found.json")
    assert summary["pm_f1"] == pytest.approx(2 / 3, abs=1e-3) and summary["made_of"]["bundle_sha256"] is None


def test_a_wrong_prediction_is_refused(gold: list[Path], tmp_path: Path) -> None:
    pair = SacoPairs(gold, tmp_path).pairs[0]
    torn = rle(RED.mask())
    torn["counts"] = torn["counts"][:-3]
    with pytest.raises(ValueError, match="wrong RLE"):
        judged(pair, [{"score": 1.0, "segmentation": torn}])


def test_the_most_favourable_annotator_counts() -> None:
    def pair(scores: list[float], ious: list[list[float]], truths: int) -> Pair:
        return Pair("a", "cup", NOUN, np.array(scores), np.array(ious).reshape(len(scores), truths))

    loose, close, nothing = pair([0.9], [[0.6]], 1), pair([0.9], [[0.92]], 1), pair([0.9], [], 0)
    assert most_favourable([nothing, loose, close], 0.5) is close
    silent, missed = pair([0.3], [], 0), pair([0.3], [[0.9]], 1)
    assert most_favourable([missed, silent], 0.5) is silent and most_favourable([silent, missed], 0.5) is silent
    assert local_f1(silent, 0.5) is None and local_f1(missed, 0.5) == local_f1(nothing, 0.5) == 0
    # Above a negative, only presence counts: pmF1 does not see what was found there (upstream's altered rule does).
    assert saco_scores([close, nothing, silent]).pm_f1 == saco_scores([close, silent]).pm_f1


def test_veval_with_a_bundle_and_with_its_own_truth(bundle: Path, tmp_path: Path) -> None:
    path = write_veval(tmp_path)
    data = json.loads(path.read_text())
    for item in (*data["annotations"], *data["video_np_pairs"]):
        item["noun_phrase"] = {7: "red", 8: "blue", 9: "green"}[item["category_id"]]
    path.write_text(json.dumps(data))
    summary = evaluate(tmp_path, bundle, "--veval", path, "--pictures", tmp_path)
    assert summary["concepts"]["il_mcc"] == pytest.approx(1, abs=1e-5) and summary["tracks"]["hota"] > 0.6
    truth = [{**item, "score": 0.9} for item in data["annotations"]]
    (tmp_path / "found.json").write_text(json.dumps(truth))
    summary = evaluate(tmp_path, "--veval", path, "--pictures", tmp_path, "--predictions", tmp_path / "found.json")
    assert summary["tracks"]["hota"] == 1 and summary["concepts"]["cg_f1"] == pytest.approx(1, abs=1e-3)
    truth[0]["video_id"] = 99
    (tmp_path / "found.json").write_text(json.dumps(truth))
    command = ["eval", "--veval", str(path), "--pictures", str(tmp_path), "--predictions", str(tmp_path / "found.json")]
    assert main(command) == 0  # other videos were not asked about


def test_masklets_overlap_in_space_and_time() -> None:
    red, blue = rle(RED.mask()), rle(BLUE.mask())
    assert volume_iou([red, None], [red, None]) == 1
    assert volume_iou([red, red], [red, None]) == 0.5
    assert volume_iou([red, None], [None, red]) == volume_iou([red], [blue]) == 0
    assert volume_iou([None], [None]) == 1


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpg([RED, BLUE]))
    items = [{"image_id": 5, "category_id": c, "segmentation": rle(t.mask())} for c, t in ((1, RED), (2, BLUE))]
    return coco_file(tmp_path / "instances.json", [{"id": 5, "file_name": "a.jpg"}], items, ["sports ball", "book"])


def test_prompted_objects(bundle: Path, coco: Path, tmp_path: Path) -> None:
    summary = evaluate(tmp_path, bundle, "--coco", coco, "--pictures", tmp_path, "--prompt", "box", "--prompt", "point")
    for kind in ("box", "point"):
        assert summary[kind]["miou"] > 0.75 and summary[kind]["instances"] == 2 and summary[kind]["large"] is None
    real = write_real_folder(tmp_path / "real", [[RED, BLUE]])
    assert evaluate(tmp_path, bundle, "--real", real, "--split", "all", "--prompt", "box")["box"]["miou"] > 0.75


def test_any_callable_can_be_prompted(coco: Path, tmp_path: Path) -> None:
    """Here one that fills the box: a square is its own box, a disc is not."""

    def fill(image: np.ndarray, prompts: list[Shown]) -> list[CroppedMask]:
        crops = []
        for prompt in prompts:
            assert prompt.box is not None
            x, y, width, height = (int(side) for side in prompt.box)
            crops.append(CroppedMask(np.ones((height, width), bool), x, y, image.shape[:2]))
        return crops

    scores = measure_prompted(fill, CocoPictures(coco, tmp_path), "box")
    assert scores.miou == pytest.approx((1 + RED.mask().sum() / 37**2) / 2) and 0.5 <= scores.share_75 <= 1


def test_a_point_lies_well_inside() -> None:
    ring = RED.mask() - Thing("ball", "red", RED.x, RED.y, 9).mask()
    for mask in (RED.mask(), BLUE.mask(), ring, np.ones(SIZE, np.uint8)):
        point = show(mask, "point").point
        assert point is not None and mask[int(point[1]), int(point[0])] == 1
    assert show(RED.mask(), "point").point == pytest.approx((RED.x + 0.5, RED.y + 0.5), abs=1)
    with pytest.raises(ValueError, match="box or point"):
        show(ring, "text")


def test_davis_with_a_bundle(bundle: Path, tmp_path: Path) -> None:
    summary = evaluate(tmp_path, bundle, "--davis", write_davis(tmp_path / "davis"), "--limit", 1)
    assert set(summary["objects"]) == {"bear_1", "bear_2"}
    assert summary["overall"]["j"] > 0.7


def test_an_object_whose_first_mask_is_refused_is_lost(bundle: Path, tmp_path: Path) -> None:
    root = write_davis(tmp_path / "davis", ["bear"])
    first = RED.mask() + 2 * BLUE.mask()
    write_indices(root / "Annotations/480p/bear/00000.png", first[::2, ::2])  # of another size
    scores = evaluate(tmp_path, bundle, "--davis", root)
    assert scores["overall"]["j"] == 0


def test_davis_with_stored_results(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "davis")
    for name in ("bear", "dogs"):
        for index in range(6):
            truth = moved(RED, 2 * index).mask() + 2 * BLUE.mask()
            truth[-3:] = 0
            write_indices(tmp_path / "found" / name / f"{index:05d}.png", truth)
    summary = evaluate(tmp_path, "--davis", root, "--results", tmp_path / "found")
    assert summary["overall"]["j_and_f"] == 1 and len(summary["objects"]) == 4
    (tmp_path / "found/bear/00003.png").unlink()
    assert main(["eval", "--davis", str(root), "--results", str(tmp_path / "found")]) == 2


def test_the_first_and_the_last_frame_do_not_count(tmp_path: Path) -> None:
    clip = DavisSequences(write_davis(tmp_path))[0]
    right = {i: clip.masks(i) for i in range(1, 5)}
    scores = measure_clip(clip, right.items(), inner_frames(clip))
    assert mean_scores(list(scores.values())).j_and_f == 1
    half = measure_clip(clip, {1: right[1], 2: right[2]}.items(), inner_frames(clip))
    assert half[1].j == 0.5 and half[1].j_decay == 1 and half[1].spread == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"masks were given for \[7\]"):
        measure_clip(clip, [(1, {7: right[1][1]})], inner_frames(clip))


def test_lvos_measures_each_object_in_its_span(tmp_path: Path) -> None:
    root = write_lvos(tmp_path / "lvos")
    for index in (5, 10, 15):
        truth = moved(RED, 2 * index).mask() + 2 * BLUE.mask() * (index > 5)
        truth[-3:] = 0
        write_indices(tmp_path / "found" / "AbC123" / f"{index + 1:08d}.png", truth)
    summary = evaluate(tmp_path, "--lvos", root, "--results", tmp_path / "found")
    assert summary["overall"]["j"] == 1  # the second object's first frame is number 6, so that one does not count


def test_lvos_objects_that_come_later_are_followed(tmp_path: Path, bundle: Path) -> None:
    summary = evaluate(tmp_path, bundle, "--lvos", write_lvos(tmp_path / "lvos"))
    assert set(summary["objects"]) == {"AbC123_1", "AbC123_2"}
    assert all(one["j"] > 0.7 for one in summary["objects"].values())


def test_sav_with_a_bundle(bundle: Path, tmp_path: Path) -> None:
    summary = evaluate(tmp_path, bundle, "--sav", write_sav_val(tmp_path / "sav_val"))
    assert set(summary["objects"]) == {"vid_000", "vid_001"} and summary["overall"]["j"] > 0.7


def test_sav_with_stored_results_in_folders_and_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_sav_val(tmp_path / "sav_val")
    official = root / "Annotations_6fps"
    for index in range(0, 21, 4):
        write_indices(tmp_path / "packed/vid" / f"{index:05d}.png", moved(RED, index).mask() + 2 * BLUE.mask())
    for found in (official, tmp_path / "packed"):
        summary = evaluate(tmp_path, "--sav", root, "--results", found)
        assert set(summary["objects"]) == {"vid_000", "vid_001"} and summary["overall"]["j_and_f"] == 1
    command = ["eval", "--sav", str(root), "--results", str(tmp_path / "found")]
    shutil.copytree(official, tmp_path / "found")
    (tmp_path / "found/vid/001/00008.png").unlink()
    assert main(command) == 2 and "001/00008.png is missing" in capsys.readouterr().err
    (tmp_path / "found/vid/001").rename(tmp_path / "found/vid/7")
    assert main(command) == 2 and "has folders 7, but vid has objects 000, 001" in capsys.readouterr().err


def test_rendered_clips(bundle: Path, tmp_path: Path) -> None:
    things = [[Thing("ball", "red", 40 + 5 * i, 60, 18), Thing("box", "blue", 120, 60, 18)] for i in range(6)]
    path = write_shard(tmp_path / "clips" / "held_out-00000.tar", things)
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            if member.name.endswith(".json"):
                record = json.loads(data) | {"frame": int(member.name.split("-")[-1].split(".")[0])}
                for item, colour in zip(record["instances"], ("red", "blue"), strict=True):
                    item["phrases"] = [colour]
                data = json.dumps(record | {"absent": ["green"]}).encode()
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    summary = evaluate(tmp_path, bundle, "--scene-clips", path.parent)
    scores = summary["all"]
    assert scores["clips"] == 1 and scores["concepts"]["il_mcc"] == pytest.approx(1, abs=1e-5)
    assert scores["tracks"]["hota"] > 0.6 and scores["links"]["id_switches"] == 0 and scores["masks"]["j_and_f"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--saco", "a.json"], "name a bundle"),
        (["colours", "--coco", "c.json", "--limit", "-3"], "--limit is -3"),
        (["colours", "--davis", "d", "--results", "r"], "not both"),
        (["colours", "--coco", "c.json"], "--coco needs --pictures"),
        (["colours", "--clip", "c.mp4", "--concept", "cup"], "--clip needs --masks and --concept"),
        (["colours", "--real", "r", "--prompt", "box", "--plots", "p"], "have no say with --prompt"),
        (["colours", "--real", "r", "--prompt", "box", "--threshold", "0"], "have no say with --prompt"),
        (["colours", "--clip", "c.mp4", "--limit", "3"], "--limit has no say with --clip"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "option", "fitting"),
    [
        ("--saco", "--threshold", "--scenes, --real, --clip and --scene-clips"),
        ("--veval", "--threshold", "--scenes, --real, --clip and --scene-clips"),
        ("--coco", "--predictions", "--saco and --veval"),
        ("--saco", "--results", "--davis, --lvos and --sav"),
        ("--scenes", "--masks", "--clip"),
        ("--scenes", "--concept", "--clip"),
        ("--davis", "--threshold", "--scenes, --real, --clip and --scene-clips"),
        ("--davis", "--plots", "--scenes and --real"),
        ("--scene-clips", "--split", "--real"),
        ("--real", "--pictures", "--saco, --veval, --coco and --lvis"),
        ("--scenes", "--prompt", "--coco, --lvis and --real"),
    ],
)
def test_an_option_without_a_say_is_refused(
    data: str, option: str, fitting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"--threshold": "0", "--limit": "3", "--split": "all", "--prompt": "box"}.get(option, "x")
    assert main(["eval", "colours", data, "x", option, value]) == 2
    assert capsys.readouterr().err == f"esam3: {option} has no say with {data}, only with {fitting}: leave it out\n"


def test_a_bundle_without_memory_says_so(
    tmp_path: Path, coco: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.colour_bundle import write_colour_bundle

    plain = write_colour_bundle(tmp_path / "plain")
    assert main(["eval", str(plain), "--coco", str(coco), "--pictures", str(tmp_path)]) == 2
    assert "memory" in capsys.readouterr().err
    assert not esam3_core.load(plain).bundle.has_memory

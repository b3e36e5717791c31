# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: every wrapping is taken off, nothing is run, and a wrong file is named with what to do."""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from esam3_core.convert.checkpoint import official_names, open_checkpoint
from esam3_core.runtime.errors import CheckpointError

TENSORS = {
    "detector.backbone.vision_backbone.convs.0.conv_1x1.weight": torch.arange(6.0).reshape(2, 3),
    "detector.transformer.decoder.norm.bias": torch.ones(4),
    "tracker.no_mem_embed": torch.zeros(1, 1, 8),
}


def opened(path: Path) -> dict[str, torch.Tensor]:
    return open_checkpoint(path).tensors


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], value) for name, value in TENSORS.items())


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in TENSORS.items()}


def without_detector() -> dict[str, torch.Tensor]:
    return {name.removeprefix("detector."): value for name, value in TENSORS.items()}


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"model": TENSORS},
        {"state_dict": TENSORS},
        {"model": {"state_dict": TENSORS}, "epoch": 3},
        {"model": prefixed("module.")},
        {"model": prefixed("_orig_mod.")},
        {"state_dict": prefixed("model.")},
        {"model": without_detector()},
        {"model": {f"module.{name}": value for name, value in without_detector().items()}},
        {
            "model": TENSORS,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
            "epoch": 7,
        },
    ],
    ids=["flat", "model", "state_dict", "nested", "module", "compiled", "lightning", "bare", "bare module", "trainer"],
)
def test_every_wrapping_is_taken_off(content: dict, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    assert same(opened(path))


def test_old_pickles_and_safetensors_are_read(tmp_path: Path) -> None:
    torch.save({"model": TENSORS}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "new.safetensors")
    assert same(opened(tmp_path / "old.pth"))
    assert same(opened(tmp_path / "new.safetensors"))


def test_a_student_trunk_and_an_interactive_predictor_get_their_official_names() -> None:
    one = torch.zeros(1)
    names = official_names({
        "detector.backbone.vision_backbone.trunk.model.student_trunk.head.0.weight": one,
        "inst_interactive_predictor.model.sam_mask_decoder.iou_token.weight": one,
        "tracker.model.interactive_obj_ptr_proj.weight": one,
    })
    assert list(names) == [
        "detector.backbone.vision_backbone.trunk.model.head.0.weight",
        "tracker.sam_mask_decoder.iou_token.weight",
        "tracker.model.interactive_obj_ptr_proj.weight",
    ]


def test_one_name_for_two_values_is_an_error() -> None:
    twice = {"module.tracker.x": torch.zeros(1), "tracker.x": torch.zeros(1)}
    assert list(official_names(twice)) == ["tracker.x"]
    with pytest.raises(CheckpointError, match=r"tracker\.x twice, with different values"):
        official_names({**twice, "tracker.x": torch.ones(1)})


def test_notes_are_kept_and_what_is_beside_the_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": TENSORS, "meta": {"text_context_length": 16}, "epoch": 3, "optimizer": {}}, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.notes == {"text_context_length": 16}
    assert checkpoint.beside == ("epoch", "optimizer")


class Evil:
    """Runs a command when it is unpickled by somebody careless."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    torch.save({"model": TENSORS, "extra": Evil(trace)}, path)
    with pytest.raises(CheckpointError, match=r"holds Python objects .*could run code.*state_dict alone"):
        open_checkpoint(path)
    assert not trace.exists()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def whole(path: Path) -> bytes:
    torch.save({"model": {**TENSORS, "filler": torch.randn(20_000)}}, path)
    return path.read_bytes()


WRONG = {
    "empty": (b"", "is empty: download it again"),
    "zeros": (b"\0" * 5000, "5000 bytes of nothing"),
    "page": (b"\n<!DOCTYPE html><html><head><title>Hugging Face", "is a web page.*take the download link"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 413000000\n",
        "is a Git LFS pointer to 413,000,000 bytes.*git lfs pull",
    ),
    "answer": (b"Entry not found", "a text that begins with 'Entry not found'"),
    "index": (b'{"metadata": {}, "weight_map": {"a": "model-00001.safetensors"}}', "several parts"),
    "gzip": (gzip.compress(b"x" * 100), "is a gzip archive, not a checkpoint: unpack"),
    "picture": (b"\x89PNG\r\n\x1a\n" + b"\1" * 50, "is a PNG picture"),
    "keras": (b"\x89HDF\r\n\x1a\n" + b"\1" * 50, "is an HDF5 file"),
    "noise": (bytes(range(129, 255)) * 40, "no checkpoint, and nothing else that we know"),
    "cut header": ((2000).to_bytes(8, "little") + b'{"a": {"dtype": "F32", "sha', "cut short.*within its header"),
    "pickle": (pickle.dumps({"a": 1}), "no PyTorch checkpoint"),
    "cut pickle": (pickle.dumps(list(range(1000)))[:500], "cut short|damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_named_with_what_to_do(kind: str, tmp_path: Path) -> None:
    data, said = WRONG[kind]
    path = write(tmp_path / "checkpoint.pt", data)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_says_so(share: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({**TENSORS, "filler": torch.randn(20_000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    write(path, data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"cut short.*download it again"):
        open_checkpoint(path)


def test_a_truncated_safetensors_says_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path)
    data = path.read_bytes()
    write(path, data[:-10])
    with pytest.raises(CheckpointError, match=f"it has {len(data) - 10} of {len(data)} bytes"):
        open_checkpoint(path)


def test_archives_and_programs_are_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"zip archive with readme\.txt in it.*unpack"):
        open_checkpoint(tmp_path / "a.zip")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.zip", "a.zip")
    with pytest.raises(CheckpointError, match="is a tar archive"):
        open_checkpoint(tmp_path / "a.tar")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        open_checkpoint(tmp_path / "script.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(CheckpointError, match=r"zip archive with a\.npy"):
        open_checkpoint(tmp_path / "arrays.npz")
    with pytest.raises(CheckpointError, match="is an ONNX graph"):
        open_checkpoint(write(tmp_path / "a.onnx", b"\x08\x0a\x12\x07pytorch"))


def test_folders_say_which_file_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist.*esam3 fetch"):
        open_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="a folder without checkpoints"):
        open_checkpoint(tmp_path)
    write(tmp_path / "model.pt", b"x")
    with pytest.raises(CheckpointError, match=r"give one of its files, model\.pt"):
        open_checkpoint(tmp_path)
    write(tmp_path / "student.yaml", b"x")
    with pytest.raises(CheckpointError, match="a bundle already"):
        open_checkpoint(tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""What a file is that does not hold weights, in a sentence with a remedy."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from esam3_core.runtime.errors import CheckpointError

HEAD = 4096  # bytes looked at
AGAIN = "download it again (`esam3 fetch` checks what it gets)"
LINK = "the link leads to a page about the file: take the download link (with /resolve/ in it), or `esam3 fetch`"
LFS = b"version https://git-lfs.github.com/spec/"
MAGIC = (
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"GGUF", "a GGUF file", "give the PyTorch checkpoint that it was made from"),
    (b"\x89HDF", "an HDF5 file (Keras)", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
    (b"\x93NUMPY", "a NumPy array", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
    (b"\xff\xd8\xff", "a JPEG picture", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
    (b"\x89PNG", "a PNG picture", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
    (b"%PDF", "a PDF document", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
    (b"\x7fELF", "a program", "give a PyTorch checkpoint (.pt, .pth or .safetensors)"),
)
SUFFIXES = {
    ".onnx": "an ONNX graph: give the PyTorch checkpoint that it was made from, or run a bundle of esam3",
    ".engine": "a TensorRT engine: give the PyTorch checkpoint that it was made from",
    ".plan": "a TensorRT engine: give the PyTorch checkpoint that it was made from",
    ".tflite": "a TensorFlow Lite model: give the PyTorch checkpoint that it was made from",
    ".mlmodel": "a Core ML model: give the PyTorch checkpoint that it was made from",
}


def check_file(path: Path) -> str:
    """Look at a file's first bytes; returns "zip" (torch since 1.6), "pickle" (torch before) or "safetensors".

    Raises:
        CheckpointError: it is something else or is cut short; the message says what it is and what to do.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is {_folder(path)}")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: download a checkpoint with `esam3 fetch`, or check the path")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\0"):
        what = "empty" if not size else f"{size} bytes of nothing, a download that never ran"
        raise CheckpointError(f"{path} is {what}: {AGAIN}")
    for magic, what, remedy in MAGIC:
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {what}, not a checkpoint: {remedy}")
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{path} is a tar archive, not a checkpoint: unpack it first")
    if path.suffix.lower() in SUFFIXES:
        raise CheckpointError(f"{path} is {SUFFIXES[path.suffix.lower()]}")
    if head.startswith(b"PK"):
        return _check_zip(path, size)
    if head[:1] == b"\x80":
        return "pickle"
    if head[8:9] == b"{":
        return _check_safetensors(path, head, size)
    raise CheckpointError(f"{path} is {_text(head, size)}")


def _folder(path: Path) -> str:
    if (path / "student.yaml").exists():
        return "a bundle already: run it with --bundle"
    inside = sorted(p.name for p in path.iterdir() if p.suffix in (".pt", ".pth", ".safetensors"))
    if inside:
        return f"a folder: give one of its files, {', '.join(inside[:5])}"
    return "a folder without checkpoints: give a file (.pt, .pth or .safetensors)"


def _check_zip(path: Path, size: int) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path} is cut short or damaged ({size} bytes): {AGAIN}") from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path} is a TorchScript program: give the checkpoint that it was made from")
    if any(name.endswith("data.pkl") for name in names):
        return "zip"
    raise CheckpointError(
        f"{path} is a zip archive with {', '.join(names[:3]) or 'nothing'} in it, not a checkpoint: unpack it first"
    )


def _check_safetensors(path: Path, head: bytes, size: int) -> str:
    length = int.from_bytes(head[:8], "little")
    with path.open("rb") as file:
        file.seek(8)
        header = file.read(length) if length < size else b""
    try:
        entries = json.loads(header)
    except ValueError as error:
        raise CheckpointError(f"{path} is cut short or damaged within its header ({size} bytes): {AGAIN}") from error
    offsets = (entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__")
    needed = 8 + length + max(offsets, default=0)
    if size < needed:
        raise CheckpointError(f"{path} is cut short: it has {size} of {needed} bytes; {AGAIN}")
    return "safetensors"


def _text(head: bytes, size: int) -> str:
    """What a file is that starts like none of the known formats."""
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return f"a web page, not a checkpoint: {LINK}"
    if head.startswith(LFS):
        bytes_ = re.search(rb"^size (\d+)", head, re.MULTILINE)
        real = f" to {int(bytes_[1]):,} bytes" if bytes_ else ""
        return f"a Git LFS pointer{real}, not the file itself: run `git lfs pull` in that repository, or {AGAIN}"
    if b"weight_map" in head and start.startswith(b"{"):
        return "the list of a checkpoint in several parts: give a checkpoint in one file"
    try:
        line = head.decode().strip().splitlines()[0]
    except (UnicodeDecodeError, IndexError):
        return f"no checkpoint, and nothing else that we know ({size} bytes): {AGAIN}"
    if not line.isprintable():
        return f"no checkpoint, and nothing else that we know ({size} bytes): {AGAIN}"
    return f"a text that begins with {line[:60]!r}, not a checkpoint: {AGAIN}"

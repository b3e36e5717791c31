# SPDX-License-Identifier: Apache-2.0
"""What a table was made of: the command, and hashes of the bundle and of what it was measured on."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LENGTH = 16  # hexadecimal digits that are shown


def provenance(words: Sequence[str], bundle: Path | None, data: Iterable[Path]) -> dict[str, Any]:
    """For JSON, and for the foot of a table.

    Args:
        words: what was typed behind `esam3`.
        bundle: its folder; None where somebody else's results are measured.
        data: annotation files (hashed whole), or folders (their files' names and sizes are hashed).
    """
    import esam3_core

    return {
        "command": shlex.join(["esam3", *words]),
        "version": esam3_core.__version__,
        "bundle_sha256": None if bundle is None else hash_files(bundle),
        "data_sha256": {path.name: hash_listing(path) if path.is_dir() else hash_file(path) for path in data},
    }


def hash_file(path: Path) -> str:
    """SHA-256 of a file, its first LENGTH digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:LENGTH]


def hash_files(folder: Path) -> str:
    """SHA-256 over names and contents of the files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.is_file():
            digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()[:LENGTH]


def hash_listing(folder: Path) -> str:
    """SHA-256 over names and sizes of all files below a folder: what a hash of gigabytes would say, at once."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:LENGTH]


def foot(made_of: dict[str, Any]) -> str:
    """One line of Markdown."""
    hashes = [f"{name} {value}" for name, value in made_of["data_sha256"].items()]
    if made_of["bundle_sha256"]:
        hashes.insert(0, f"bundle {made_of['bundle_sha256']}")
    return f"Made by `{made_of['command']}` (esam3 {made_of['version']}; SHA-256: {', '.join(hashes)}).\n"

# SPDX-License-Identifier: Apache-2.0
"""Places to write to, looked at before the work begins whose result they are for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from esam3_core.runtime.errors import OutputError


def check_outputs(
    files: Iterable[Path | None] = (), folders: Iterable[Path | None] = (), sources: Iterable[Path] = ()
) -> None:
    """Refuse files and folders that could not be written; None is one that is not wanted. Nothing is made or changed.

    Folders that are missing are no fault: they are made when there is something to write.

    Args:
        sources: what the results are made of: they are not written over.

    Raises:
        OutputError: one cannot be written; the message names it.
    """
    sources = list(sources)
    for file in files:
        if file is not None:
            _check_file(file)
            if file.exists() and any(source.exists() and source.samefile(file) for source in sources):
                raise OutputError(f"{file} is what is read, and would be lost: name another file to write")
    for folder in folders:
        if folder is not None:
            _check_folder(folder, folder)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file to write")
    if not path.exists():
        _check_folder(path.parent, path)
    elif not os.access(path, os.W_OK):
        raise OutputError(f"{path} may not be written: name another file, or change its permissions")


def _check_folder(folder: Path, wanted: Path) -> None:
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if wanted.is_file():
        raise OutputError(f"{wanted} is a file: name a folder to write into")
    if not nearest.is_dir():
        raise OutputError(f"{wanted} cannot be written, because {nearest} is a file: choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(
            f"{wanted} cannot be written, because nothing may be written in {nearest}: choose another place, or change "
            "its permissions"
        )

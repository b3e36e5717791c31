# SPDX-License-Identifier: Apache-2.0
"""A file that is written whole or not at all, also where several processes write into one folder."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A file to write; it takes the place of `path` when the block ends, and goes away if the block fails.

    No other process, on whatever machine, has a draft of that name. Who may read it is for the umask to say: the files
    of `tempfile` are for their owner alone.
    """
    own = path.with_name(f"{path.stem}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield own
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)  # a full disk must not stay full of half a file

# SPDX-License-Identifier: Apache-2.0
"""One sentence instead of a traceback where the entries of an annotation file are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lacking(file: object) -> Iterator[None]:
    """Within it, a field that an entry of a file lacks becomes a ValueError that names the file."""
    try:
        yield
    except (KeyError, TypeError) as error:
        said = f"an entry lacks {error}" if isinstance(error, KeyError) else f"an entry is no record: {error}"
        raise ValueError(f"{file} is not as it should be ({said}): is it the right file?") from error

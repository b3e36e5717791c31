# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints from the Hugging Face hub: with progress, resumed after a break, checked, kept in its cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from esam3_core.convert.releases import Release
from esam3_core.runtime.errors import CheckpointError

BLOCK = 1 << 22  # bytes
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(release: Release, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Download a checkpoint, or find it where an earlier download left it; an interrupted download goes on.

    Args:
        endpoint: address of the hub; None = huggingface.co, or what HF_ENDPOINT says.
        cache: folder; None = the hub's own (HF_HOME).

    Raises:
        CheckpointError: there is no connection, the repository wants its terms to be accepted, the file has moved or
            arrived damaged; the message says what to do.
    """
    by_hand = f"download {release.link} on another machine and run `esam3 import FILE --out FOLDER`"
    try:
        path = Path(hf_hub_download(release.repository, release.file, endpoint=endpoint, cache_dir=cache))
    except GatedRepoError as error:
        raise CheckpointError(
            f"{release.page} wants you to accept its terms: do so there, then run `hf auth login` and try again"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        raise CheckpointError(
            f"no connection to the Hugging Face hub, and {Path(release.file).name} was not downloaded before: {by_hand}"
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        raise CheckpointError(
            f"{release.file} is no longer in {release.page}: look there for its new name, download it and run "
            "`esam3 import FILE --out FOLDER`"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"the download broke off ({_first_line(error)}): run the command again to go on, or {by_hand}"
        ) from error
    _check(path, release)
    return path


def hub_licence(release: Release, endpoint: str | None = None) -> str | None:
    """The licence that the repository's card names; None = it names none, or there is no connection."""
    try:
        card = HfApi(endpoint=endpoint).model_info(release.repository, timeout=10).card_data
    except Exception:  # of whatever library the hub talks through: the download that follows says what is wrong
        return None
    return str(card.license) if card is not None and card.license else None


def _check(path: Path, release: Release) -> None:
    """Compare a file with its sha256, which is its name in the cache."""
    stored = path.resolve()
    if not SHA256.fullmatch(stored.name):
        return  # small files go by another checksum, of git
    digest = hashlib.sha256()
    with stored.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != stored.name:
        stored.unlink()
        path.unlink(missing_ok=True)
        raise CheckpointError(f"{release.file} arrived damaged (wrong checksum) and was removed: run the command again")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

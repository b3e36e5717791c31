# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints: which there are, and how they are downloaded, resumed, checked and refused."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from esam3_core.convert.fetch import fetch, hub_licence
from esam3_core.convert.releases import LICENCE, WEIGHTS, choose_release, releases
from esam3_core.runtime.errors import CheckpointError
from tests.convert.hub import Hub, serve

NINE = ("ev_s", "ev_m", "ev_l", "rv_s", "rv_m", "rv_l", "tv_s", "tv_m", "tv_l")
RELEASE = choose_release("tv_m")
CONTENT = bytes(range(256)) * 2000


@pytest.fixture()
def hub() -> Iterator[Hub]:
    with serve(Hub({RELEASE.file: CONTENT})) as running:
        yield running


def test_every_variant_has_releases_and_its_most_useful_one() -> None:
    assert choose_release("tv_m").file == "efficientsam3_ft/efficientsam3_tinyvit.pt"
    assert choose_release("ev_s").file == "stage1_sam3p1/efficient_sam3p1_efficientvit_s_mobileclip_s0_ctx16.pt"
    assert choose_release("rv_l", "stage1").file == "stage1_all_converted/efficient_sam3_repvit_l.pt"
    assert choose_release("rv_m", "mobileclip_s1").file == (
        "stage1_all_converted/efficient_sam3_repvit-m1_1_mobileclip_s1.pth"
    )
    files = [release.file for variant in NINE for release in releases(variant).values()]
    assert len(files) == len(set(files)) == 3 * 9 + 3 * 3
    assert all(release.weights in WEIGHTS for variant in NINE for release in releases(variant).values())


def test_what_was_not_released_is_refused_with_what_was() -> None:
    with pytest.raises(ValueError, match=r"no 'finetuned' weights were released of tv_s: choose one of sam3\.1"):
        choose_release("tv_s", "finetuned")
    with pytest.raises(ValueError, match="nothing was released of 'en_s': choose one of ev_s"):
        choose_release("en_s")


def test_a_checkpoint_is_downloaded_once(hub: Hub, tmp_path: Path) -> None:
    path = fetch(RELEASE, hub.endpoint, tmp_path)
    assert path.name == "efficientsam3_tinyvit.pt"
    assert path.read_bytes() == CONTENT
    assert fetch(RELEASE, hub.endpoint, tmp_path) == path
    assert len(hub.ranges) == 1


def test_what_is_there_is_found_without_a_connection(hub: Hub, tmp_path: Path) -> None:
    path = fetch(RELEASE, hub.endpoint, tmp_path)
    assert fetch(RELEASE, nowhere(), tmp_path) == path


def test_a_broken_download_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path) -> None:
    hub.files[RELEASE.file], hub.cut_after = CONTENT * 45, 15_000_000  # the hub's library writes 10 MB at once
    assert fetch(RELEASE, hub.endpoint, tmp_path).read_bytes() == CONTENT * 45
    assert hub.ranges[0] == ""
    resumed = re.match(r"bytes=(\d+)-", hub.ranges[-1])
    assert resumed and 0 < int(resumed[1]) <= 15_000_000


def test_a_damaged_file_is_removed(hub: Hub, tmp_path: Path) -> None:
    hub.checksum = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(CheckpointError, match=r"arrived damaged .* was removed: run the command again"):
        fetch(RELEASE, hub.endpoint, tmp_path)
    assert not list(tmp_path.rglob("*.pt"))
    hub.checksum = ""
    assert fetch(RELEASE, hub.endpoint, tmp_path).read_bytes() == CONTENT


def test_a_gated_repository_says_where_to_accept_its_terms(hub: Hub, tmp_path: Path) -> None:
    hub.gated = True
    with pytest.raises(CheckpointError, match=r"Simon7108528/EfficientSAM3 wants you to accept its terms"):
        fetch(RELEASE, hub.endpoint, tmp_path)


def test_a_file_that_has_moved_says_where_to_look(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no longer in https://huggingface\.co/.*esam3 import FILE"):
        fetch(choose_release("tv_s"), hub.endpoint, tmp_path)


def test_without_a_connection_the_link_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts
    with pytest.raises(CheckpointError, match="no connection to the Hugging Face hub") as caught:
        fetch(RELEASE, nowhere(), tmp_path)
    assert RELEASE.link in str(caught.value)


def test_the_command_shows_what_it_gets_and_hands_it_to_the_import(hub: Hub, tmp_path: Path) -> None:
    """The file of this hub is none; with a real one the import goes on."""
    hub.files[RELEASE.file] = b"<html>not a checkpoint</html>"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "esam3_core", "fetch", "tv_m", "--out", str(tmp_path / "tv_m")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "licence on the hub: apache-2.0" in done.stdout and "SAM License" in done.stdout
    assert re.search(r"efficientsam3_tinyvit\.pt is a web page", done.stderr)
    assert not (tmp_path / "tv_m").exists()


def test_the_licence_is_the_hubs_own_word(hub: Hub) -> None:
    assert hub_licence(RELEASE, hub.endpoint) == "apache-2.0"
    assert hub_licence(RELEASE, nowhere()) is None
    assert "SAM License" in LICENCE


def nowhere() -> str:
    """The address of a port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"

# SPDX-License-Identifier: Apache-2.0
"""The demo's video and its strip of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from esam3_core.runtime.video import VideoWriter
from esam3_ros.collector import Shot
from esam3_ros.conversions import Array

COLUMNS, ROWS = 3, 2  # of the strip
WIDTH = 640  # pixels of one picture in the strip
QUALITY = 95  # of the JPEGs in which pictures wait
MARGIN = 6  # pixels
CAPTION = 30  # pixels


class Album:
    """Keeps the pictures of a run; they are written at the end, because encoding a video would slow the nodes."""

    def __init__(self) -> None:
        self._pictures: list[tuple[float, str, Array]] = []  # stamp, what is seen, JPEG

    def add(self, shot: Shot) -> None:
        """Keep the overlay of one frame."""
        bgr = cv2.cvtColor(shot.picture, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        self._pictures.append((shot.stamp, _summary(shot), jpeg))

    def save(self, folder: Path, rate: float) -> None:
        """Write demo.mp4 (H.264, at `rate` frames/s) and demo.png; nothing without pictures."""
        if not self._pictures:
            return
        with VideoWriter(folder / "demo.mp4", rate) as video:
            for _, _, jpeg in self._pictures:
                video.write(_decode(jpeg))
        cv2.imwrite(str(folder / "demo.png"), cv2.cvtColor(self.strip(), cv2.COLOR_RGB2BGR))

    def strip(self) -> Array:
        """Pictures from the whole run, in reading order, each with its time and how many tracks are in it."""
        count = COLUMNS * ROWS
        # The first second is left out where it can be: tracks are only being confirmed.
        first = min(15, len(self._pictures) // 10)
        chosen = np.linspace(first, len(self._pictures) - 1, count).round().astype(int)
        start = self._pictures[0][0]
        tiles = [
            _tile(_decode(jpeg), f"{stamp - start:.1f} s   {summary}")
            for stamp, summary, jpeg in (self._pictures[i] for i in chosen)
        ]
        rows = [np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
        return np.vstack(rows)


def _summary(shot: Shot) -> str:
    hidden = sum(track.state == "occluded" for track in shot.tracks)
    return f"{len(shot.tracks) - hidden} seen" + (f", {hidden} hidden" if hidden else "")


def _decode(jpeg: Array) -> Array:
    picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert picture is not None  # we made the JPEG
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _tile(picture: Array, caption: str) -> Array:
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    small = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    tile = np.full((height + CAPTION + MARGIN, WIDTH + MARGIN, 3), 255, np.uint8)
    tile[CAPTION:-MARGIN, :-MARGIN] = small
    cv2.putText(tile, caption, (8, CAPTION - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
    return tile

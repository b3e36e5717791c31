# SPDX-License-Identifier: Apache-2.0
"""The images that were processed last, for those who show something on one of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from esam3_core.runtime import ImageError
from esam3_ros.conversions import Array
from esam3_ros.pairing import Stamp

HISTORY = 15  # images


@dataclass(frozen=True)
class Recent:
    """A processed image."""

    exact: Stamp  # of its header
    stamp: float  # s, as the tracker was told
    picture: Array  # uint8 RGB [H, W, 3]


class RecentImages:
    """The last HISTORY images of one stream, by their exact stamps."""

    def __init__(self) -> None:
        self._images: deque[Recent] = deque(maxlen=HISTORY)

    def add(self, exact: Stamp, stamp: float, picture: Array) -> None:
        """Keep an image; the oldest one goes, and all go if the stream starts anew: an earlier stamp, another size."""
        if self._images:
            last = self._images[-1]
            if stamp < last.stamp or picture.shape[:2] != last.picture.shape[:2]:
                self.clear()
        self._images.append(Recent(exact, stamp, picture))

    def find(self, stamp: Any) -> Recent:
        """The image of a builtin_interfaces/Time; the newest one for zero.

        Raises:
            ImageError: it is not there; the message says which are.
        """
        if not self._images:
            raise ImageError("no image was processed yet: activate the node, and check that images come")
        wanted = stamp.sec, stamp.nanosec
        if wanted == (0, 0):
            return self._images[-1]
        for image in reversed(self._images):
            if image.exact == wanted:
                return image
        first, last = (f"{second}.{nano:09d}" for second, nano in (self._images[0].exact, self._images[-1].exact))
        raise ImageError(
            f"no image of stamp {stamp.sec}.{stamp.nanosec:09d} is among the last {len(self._images)} processed ones, "
            f"{first} to {last}: give the stamp of a TrackArray, soon after it came, or zero for the newest image"
        )

    def clear(self) -> None:
        """Forget all."""
        self._images.clear()

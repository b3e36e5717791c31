# SPDX-License-Identifier: Apache-2.0
"""One rendered frame and its ground truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Instance:
    """One named object in a frame; `id` is its pixel value in `SceneFrame.ids` and stays through the clip.

    box is (x, y, width, height) in pixels round the visible pixels; area counts them; visible is area / the pixels
    that the object covers when everything else is taken away (0..1, the frame's edge does not count as occlusion).
    """

    id: int
    kind: str
    phrases: list[str]
    box: tuple[int, int, int, int]
    visible: float
    area: int


@dataclass(frozen=True)
class SceneFrame:
    """image uint8 [H, W, 3] RGB; depth float32 [H, W] metres along the view axis; ids uint16 [H, W], 0 = no object.

    intrinsics: fx, fy, cx, cy in pixels. stamp: seconds since the world began. absent: phrases that look right but are
    true of nothing in the frame.
    """

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    ids: NDArray[np.uint16]
    intrinsics: dict[str, float]
    instances: list[Instance]
    stamp: float
    absent: list[str] = field(default_factory=list)

    def truth(self) -> dict[str, Any]:
        """What a shard's JSON says of this frame's content."""
        return {
            "stamp": round(self.stamp, 4),
            "size": list(self.image.shape[:2]),
            "intrinsics": self.intrinsics,
            "instances": [asdict(i) for i in self.instances],
            "absent": self.absent,
        }

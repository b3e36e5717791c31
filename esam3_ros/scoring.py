# SPDX-License-Identifier: Apache-2.0
"""How well tracks agree with the truth: that of a simulated camera, or masks that somebody drew on a video."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from esam3_core.runtime import CroppedMask, SourceError, Track, iou_matrix
from esam3_ros.conversions import Array

VISIBLE = 0.3  # share of an instance that must be seen for it to count
SAME = 0.5  # IoU from which a track is taken to be on an instance


class Scorer:
    """Collects frames and scores them.

    In every frame, the truth of a concept are the instances whose phrases contain it and of which at least VISIBLE is
    seen. The visible tracks of that concept are assigned to them one to one, so that the sum of mask IoUs is greatest.

    mean_iou: the IoU of every truth instance with its track, 0 for an instance without one, averaged over the instances
        of a frame and then over the frames that have any. None without such a frame.
    id_switches: how often the track on an instance (IoU of SAME or more) has another id than the last one on it.
    false_tracks: visible tracks per frame that are on no instance of their concept (hardly seen ones included).
    scored_frames: frames whose truth is known.
    """

    def __init__(self, concepts: Sequence[str]) -> None:
        self._concepts = tuple(concepts)
        self._frame_ious: list[float] = []
        self._frames = 0
        self._false = 0
        self._instances = 0
        self._last_track: dict[tuple[str, int], int] = {}
        self.id_switches = 0

    def add(self, tracks: Sequence[Track], ids: Array, instances: Sequence[Mapping[str, Any]]) -> None:
        """One frame: its tracks, the instance ids [H, W] and what is known of the instances."""
        ious: list[float] = []
        for concept in self._concepts:
            named = [instance for instance in instances if concept in instance["phrases"]]
            visible = [track for track in tracks if track.concept == concept and track.state != "occluded"]
            ious += self._match(concept, visible, ids, named)
        self._frames += 1
        self._instances += len(ious)
        if ious:
            self._frame_ious.append(float(np.mean(ious)))

    def result(self) -> dict[str, Any]:
        """The scores of all frames so far."""
        frames = max(1, self._frames)
        return {
            "mean_iou": round(float(np.mean(self._frame_ious)), 4) if self._frame_ious else None,
            "id_switches": self.id_switches,
            "false_tracks": round(self._false / frames, 3),
            "true_instances": round(self._instances / frames, 3),
            "scored_frames": self._frames,
        }

    def _match(
        self, concept: str, tracks: Sequence[Track], ids: Array, named: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        truths = [CroppedMask.from_full(ids == instance["id"]) for instance in named]
        overlaps = iou_matrix(truths, [track.crop for track in tracks])  # [instances, tracks]
        best = overlaps.max(axis=0, initial=0.0)
        self._false += int((best < SAME).sum())
        counted = [row for row, instance in enumerate(named) if instance["visible"] >= VISIBLE]
        ious = dict.fromkeys(counted, 0.0)
        rows, columns = linear_sum_assignment(overlaps[counted], maximize=True)
        for row, column in zip(rows, columns, strict=True):
            ious[counted[row]] = float(overlaps[counted[row], column])
            if ious[counted[row]] >= SAME:
                self._follow(concept, int(named[counted[row]]["id"]), tracks[column].id)
        return list(ious.values())

    def _follow(self, concept: str, instance: int, track: int) -> None:
        last = self._last_track.get((concept, instance), track)
        self.id_switches += last != track
        self._last_track[concept, instance] = track


class MaskFile:
    """True masks of one object on some frames of a video.

    The .npz file holds `frames` [n] (indices from 0), `shape` (H, W), and `bits` [n, ...]: `numpy.packbits` of each
    flattened mask.
    """

    def __init__(self, path: Path) -> None:
        """Raises SourceError if the file is missing or holds something else."""
        try:
            with np.load(path) as held:
                frames, shape, bits = held["frames"], held["shape"], held["bits"]
            self._height, self._width = (int(side) for side in shape)
            self._bits = dict(zip(frames.tolist(), bits, strict=True))
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise SourceError(
                f"{path} holds no masks ({error}): give an .npz file with `frames`, `shape` and `bits`"
            ) from error

    def ids(self, frame: int) -> Array | None:
        """uint16 [H, W], 1 = the object, 0 = not; None where nobody drew it."""
        if frame not in self._bits:
            return None
        count = self._height * self._width
        return np.unpackbits(self._bits[frame], count=count).reshape(self._height, self._width).astype(np.uint16)

    @staticmethod
    def instances(concepts: Sequence[str]) -> list[dict[str, Any]]:
        """What a `Scorer` wants to know: the object goes by any of the concepts."""
        return [{"id": 1, "phrases": list(concepts), "visible": 1.0}]


def distinct_tracks(frames: Sequence[Collection[Track]]) -> list[dict[str, Any]]:
    """Every track that was seen: id, concept, frames in which it was visible, and mean score."""
    seen: dict[int, list[Track]] = {}
    for tracks in frames:
        for track in tracks:
            if track.state != "occluded":
                seen.setdefault(track.id, []).append(track)
    return [
        {
            "id": number,
            "concept": tracks[0].concept,
            "frames": len(tracks),
            "score": round(float(np.mean([track.score for track in tracks])), 3),
        }
        for number, tracks in sorted(seen.items())
    ]

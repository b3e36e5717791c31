# SPDX-License-Identifier: Apache-2.0
"""Tracks and detections drawn on their image."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.track import Box, Detection, Track

Colour = tuple[int, int, int]

FILL = 0.4  # opacity of a mask
GOLDEN = 0.618034  # of the hue circle: consecutive ids get hues far apart
FIRST_HUE = 0.56  # a blue; the next ones are orange, green, pink
FONT = cv2.FONT_HERSHEY_SIMPLEX
DARK, LIGHT = (20, 20, 20), (255, 255, 255)


def draw(image: Image, found: Sequence[Track | Detection]) -> Image:
    """A copy of an RGB image uint8 [H, W, 3] with masks, outlines and labels.

    Tracks are coloured by id, detections by their place in the list. An occluded track shows as a dashed box.
    """
    picture = image.copy()
    unit = max(1.0, min(image.shape[:2]) / 480)
    colours = [track_colour(one.id if isinstance(one, Track) else index + 1) for index, one in enumerate(found)]
    for one, colour in zip(found, colours, strict=True):
        _fill(picture, one.crop, colour)
    for one, colour in zip(found, colours, strict=True):
        if isinstance(one, Track) and one.state == "occluded":
            _dashed_box(picture, one.box, colour, unit)
        else:
            _outline(picture, one.crop, colour, unit)
    taken: list[Box] = []
    for one, colour in zip(found, colours, strict=True):
        taken.append(_label(picture, label_of(one), one.box, colour, unit, taken))
    return picture


def track_colour(track_id: int) -> Colour:
    """The RGB colour of an id: the same in every frame and run."""
    step = track_id - 1
    red, green, blue = colorsys.hsv_to_rgb((FIRST_HUE + step * GOLDEN) % 1, 0.85 - 0.2 * (step % 2), 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def label_of(one: Track | Detection) -> str:
    """What the label says: "cup 3 0.92" for a track, "cup 0.92" for a detection."""
    if isinstance(one, Detection):
        return f"{one.concept} {one.score:.2f}"
    return f"{one.concept} {one.id} " + ("hidden" if one.state == "occluded" else f"{one.score:.2f}")


def _fill(picture: Image, crop: CroppedMask, colour: Colour) -> None:
    x, y, width, height = crop.roi
    if not crop.area:
        return
    part = picture[y : y + height, x : x + width]
    tinted = cv2.addWeighted(part, 1 - FILL, np.full_like(part, colour), FILL, 0)
    cv2.copyTo(tinted, crop.bits.view(np.uint8), part)


def _outline(picture: Image, crop: CroppedMask, colour: Colour, unit: float) -> None:
    if not crop.area:
        return
    # A frame of zeros around the crop closes the outline where the mask touches its border.
    padded = np.pad(crop.bits, 1).view(np.uint8)
    contours, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(crop.x - 1, crop.y - 1))
    # The steps of pixels are smoothed away: it looks better and draws several times faster.
    smooth = [cv2.approxPolyDP(contour, 0.5 * unit, True) for contour in contours]
    for thickness, shade in ((3.0, DARK), (1.6, colour)):
        cv2.drawContours(picture, smooth, -1, shade, max(1, round(thickness * unit)), cv2.LINE_AA)


def _dashed_box(picture: Image, box: Box, colour: Colour, unit: float) -> None:
    x, y, width, height = box
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
    dash = 7 * unit
    for start, end in itertools.pairwise(corners):
        a, b = np.array(start), np.array(end)
        length = float(np.hypot(*(b - a)))
        for begin in np.arange(0, length, 2 * dash):
            points = [a + (b - a) * min(at, length) / length for at in (begin, begin + dash)]
            p, q = (tuple(np.round(point).astype(int).tolist()) for point in points)
            cv2.line(picture, p, q, colour, max(1, round(1.6 * unit)), cv2.LINE_AA)


def _label(picture: Image, text: str, box: Box, colour: Colour, unit: float, taken: Sequence[Box]) -> Box:
    """Write a label at the top of `box`, clear of those already `taken`; returns its rectangle."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    scale, thickness, margin = 0.5 * unit, max(1, round(1.2 * unit)), round(4 * unit)
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    outer_width, outer_height = width + 2 * margin, height + baseline // 2 + 2 * margin
    x = int(min(max(box[0], 0), max(0, picture.shape[1] - outer_width)))
    y = int(max(box[1] - outer_height, 0))
    while any(_touch((x, y, outer_width, outer_height), other) for other in taken):
        y += outer_height + 1
        if y + outer_height > picture.shape[0]:
            y = int(max(box[1] - outer_height, 0))
            break
    cv2.rectangle(picture, (x, y), (x + outer_width, y + outer_height), colour, cv2.FILLED)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    origin = (x + margin, y + margin + height)
    cv2.putText(picture, text, origin, FONT, scale, DARK if bright else LIGHT, thickness, cv2.LINE_AA)
    return x, y, outer_width, outer_height


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]

# SPDX-License-Identifier: Apache-2.0
"""What a real camera adds to a rendered picture: shaded corners, exposure, vignette, blur, noise, compression."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray


def corner_shading(depth: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Ambient occlusion guessed from depth [H, W] in metres: a factor [H, W], darker where things meet."""
    h, w = depth.shape
    small = np.minimum(depth[::2, ::2], 6.0).astype(np.float32)
    dark = np.zeros(small.shape, np.float32)
    for radius, reach in ((2, 0.02), (6, 0.05)):
        pixels = max(round(radius * w / 384), 1)
        for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
            one, other = (small - _moved(small, s * dx * pixels, s * dy * pixels) for s in (1, -1))
            near = (np.abs(one) < 3 * reach) & (np.abs(other) < 3 * reach)  # a far background is not a corner
            dark += np.clip((one + other) * (0.5 / reach), 0, 1) * near
    shade = 1 - strength * np.clip(0.5 * dark, 0, 1)
    soft = cv2.resize(cv2.GaussianBlur(shade, (0, 0), 1.5), (w, h), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft, np.float32)


def _moved(field: NDArray[np.float32], dx: int, dy: int) -> NDArray[np.float32]:
    return np.roll(field, (dy, dx), (0, 1))


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """White noise, the same in every process: frames take crops of it, ten times faster than fresh noise."""
    return np.random.default_rng(7).standard_normal((1024, 1024, 3), np.float32)


class Sensor:
    """The flaws of one camera; drawn once per world, noise anew for each frame."""

    def __init__(self, rng: np.random.Generator, imperfect: bool, width: int) -> None:
        self._rng = rng
        self._on = imperfect
        self.shading = rng.uniform(0.25, 0.5)
        self._exposure = rng.uniform(0.33, 0.56)  # mean brightness that the camera aims at
        self._balance = np.exp(rng.normal(0, 0.025, 3)).astype(np.float32)
        self._gamma = rng.uniform(0.88, 1.12)
        self._saturation = rng.uniform(0.8, 1.1)
        self._contrast = rng.uniform(0.0, 0.35)
        self._vignette = rng.uniform(0.0, 0.3) if rng.random() < 0.6 else 0.0
        self._blur = rng.uniform(0.3, 0.9) * width / 384 if rng.random() < 0.5 else 0.0
        self._focus = (
            rng.uniform(1.5, 4.0) * width / 384 if rng.random() < 0.35 else 0.0
        )  # blur of what is far out of focus
        self._noise = rng.uniform(0, 0.012) if rng.random() < 0.7 else rng.uniform(0.012, 0.035)
        self._quality = int(rng.integers(45, 90)) if rng.random() < 0.3 else 0

    def develop(self, picture: NDArray[np.float32], depth: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A rendered picture, float32 [H, W, 3] in 0..1, with its depth [H, W], metres -> uint8 as from a camera."""
        if not self._on:
            return np.clip(picture * 255, 0, 255).astype(np.uint8)
        h, w = picture.shape[:2]
        if self._focus:
            sharp = float(np.median(depth[h // 3 : h * 5 // 6, w // 4 : w * 3 // 4]))
            off = cv2.GaussianBlur(
                np.clip(np.abs(1 / depth - 1 / sharp) * sharp * 2.2 - 0.5, 0, 1), (0, 0), self._focus
            )[..., None]
            picture = picture * (1 - off) + cv2.GaussianBlur(picture, (0, 0), self._focus) * off
        bright = float(np.sqrt(np.mean(np.square(picture[::4, ::4]))))
        gain = float(np.clip(self._exposure / max(bright, 0.02), 0.75, 2.2))
        if self._vignette:
            ys, xs = np.linspace(-1, 1, h, dtype=np.float32), np.linspace(-1, 1, w, dtype=np.float32)
            picture = picture * (1 - self._vignette * 0.5 * (ys[:, None] ** 2 + xs[None] ** 2))[..., None]
        index = np.clip(picture * 1023, 0, 1023).astype(np.uint16)
        x = np.stack([self._tones(gain * b)[index[..., c]] for c, b in enumerate(self._balance)], -1)
        grey = x.mean(-1, keepdims=True)
        x = grey + self._saturation * (x - grey)
        if self._blur:
            x = cv2.GaussianBlur(x, (0, 0), self._blur)
        if self._noise:
            y, x0 = (int(self._rng.integers(max(1024 - n, 1))) for n in (h, w))
            grain = np.resize(_grain()[y : y + h, x0 : x0 + w], (h, w, 3))
            x += grain * (self._noise * (0.5 + np.sqrt(np.clip(grey, 0, 1))))
        out = np.clip(x * 255, 0, 255).astype(np.uint8)
        if self._quality:
            ok, code = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self._quality])
            if ok:
                out = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
        return np.ascontiguousarray(out)

    def _tones(self, gain: float) -> NDArray[np.float32]:
        """Exposure, a soft shoulder instead of blown whites, gamma and contrast as a table over 1024 levels."""
        x = np.linspace(0, 1, 1024) * gain
        high = np.maximum(x - 0.7, 0)
        x = np.power(x - high + 0.3 * high / (high + 0.3), self._gamma)
        return (x + self._contrast * (x - 0.5) * (1 - np.abs(2 * np.clip(x, 0, 1) - 1))).astype(np.float32)

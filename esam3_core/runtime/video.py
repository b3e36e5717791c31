# SPDX-License-Identifier: Apache-2.0
"""Writing videos that play in browsers."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from esam3_core.runtime.errors import OutputError, SourceError
from esam3_core.runtime.outputs import check_outputs
from esam3_core.runtime.preprocess import Image

QUALITY = 21  # x264's constant rate factor: 18 looks perfect, 28 does not


class VideoWriter:
    """An MP4 (H.264, yuv420p). Use it in a `with` block: only a closed file can be played."""

    def __init__(self, path: Path, rate: float) -> None:
        """Write to `path` at `rate` frames/s; the first frame sets the size.

        Raises:
            SourceError: the name does not end in .mp4, or imageio-ffmpeg is not installed.
            OutputError: it cannot be written.
        """
        if path.suffix.lower() != ".mp4":
            raise SourceError(f"{path}: a video is written as MP4, let its name end in .mp4")
        try:
            import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise SourceError("writing a video needs ffmpeg: pip install imageio-ffmpeg") from error
        check_outputs([path])  # ffmpeg says so after its last frame, and to nobody
        self._path = path
        self._rate = rate
        self._size: tuple[int, int] | None = None  # width, height
        self._pipe: Generator[None, bytes | None, None] | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: Image) -> None:
        """Append a frame uint8 RGB [H, W, 3]; one of another size than the first is resized.

        Raises:
            OutputError: ffmpeg could not go on, as when the disk is full.
        """
        if self._pipe is None:
            self._open(image)
        assert self._pipe is not None
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        try:
            self._pipe.send(np.ascontiguousarray(image).tobytes())
        except OSError as error:
            self._pipe = None
            raise self._broken() from error

    def close(self) -> None:
        """Finish the file; without a frame there is none.

        Raises:
            OutputError: it did not become whole, as when the disk is full.
        """
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
            if not _is_whole(self._path):
                raise self._broken()

    def _broken(self) -> OutputError:
        return OutputError(
            f"{self._path} could not be written to its end and will not play: is the disk full? Make room, or name a "
            "file on another disk"
        )

    def _open(self, image: Image) -> None:
        import imageio_ffmpeg

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._size = image.shape[1], image.shape[0]
        self._pipe = imageio_ffmpeg.write_frames(
            str(self._path),
            self._size,
            fps=self._rate,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            ffmpeg_log_level="error",
            # Browsers want yuv420p, which wants even sides, and the index at the start of the file.
            output_params=["-crf", str(QUALITY), "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart"],
        )
        self._pipe.send(None)


def _is_whole(path: Path) -> bool:
    """Whether the index is where it is put last of all: behind the file's first box."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.read(8)
        file.seek(int.from_bytes(first[:4], "big"))
        return file.read(8)[4:] == b"moov"

# SPDX-License-Identifier: Apache-2.0
"""A loaded student: finds concepts in images, makes trackers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import DetectorConfig, RuntimeConfig, TrackerConfig
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.detector import FEATURES, read_detections, run_detector
from esam3_core.runtime.engines import load_engine
from esam3_core.runtime.errors import ConceptError
from esam3_core.runtime.preprocess import Image, check_image, resize_frame
from esam3_core.runtime.stages import Stages
from esam3_core.runtime.text import Prompt, TextEncoder, normalise_all
from esam3_core.runtime.track import Detection
from esam3_core.runtime.tracker import Tracker
from esam3_core.runtime.upsample import upsample_mask

DETECTOR_INPUTS = (*FEATURES, "prompt", "prompt_pad")
DETECTOR_OUTPUTS = ("boxes", "logits", "presence", "kept", "masks")


class Student:
    """Everything needed to find concepts in frames.

    `detector` holds the thresholds; replace it at any time, the next frame uses it.
    """

    def __init__(self, bundle: Bundle, config: RuntimeConfig | None = None) -> None:
        """Load the engines of a checked bundle.

        Raises:
            EngineError: a graph cannot run here.
            BundleError: the tokenizer cannot be read.
        """
        self.bundle = bundle
        self.config = config or RuntimeConfig()
        self.detector: DetectorConfig = bundle.detector
        self.stages = Stages()
        self._image_encoder = load_engine(bundle.graphs["image_encoder"], self.config, ["image"], FEATURES)
        self._detector = load_engine(bundle.graphs["detector"], self.config, DETECTOR_INPUTS, DETECTOR_OUTPUTS)
        text_encoder = load_engine(bundle.graphs["text_encoder"], self.config, ["tokens"], ["prompt"])
        context = bundle.student.text.context
        self._text = TextEncoder(text_encoder, bundle.tokenizer, context, self.config.text_cache)

    @classmethod
    def load(cls, bundle: str | Path, config: RuntimeConfig | None = None) -> Student:
        """Load a bundle by name or path; see `esam3_core.load`."""
        return cls(Bundle.load(bundle), config)

    @property
    def concepts(self) -> list[str]:
        """The nouns this bundle claims to know; others may work, nobody measured them."""
        return list(self.bundle.concepts)

    @property
    def timings(self) -> dict[str, float]:
        """Stage -> ms of the last frame."""
        return self.stages.last()

    def segment(self, image: Image, concepts: Iterable[str]) -> list[Detection]:
        """Find every instance of every concept in one image.

        Args:
            image: uint8 RGB [H, W, 3].
            concepts: noun phrases, at least one; more than `max_concepts` take several detector runs.

        Returns:
            Detections, concept by concept in the given order, best first.

        Raises:
            ImageError: `image` is something else; the message says how to convert it.
            ConceptError: a concept is empty, too long or not text.
        """
        check_image(image)
        names = normalise_all(concepts)
        if not names:
            raise ConceptError("no concept to look for: give at least one, such as ['cup']")
        self.stages.start_frame()
        return self.detect(image, self.encode_concepts(names))

    def track(self, concepts: Iterable[str] = (), config: TrackerConfig | None = None) -> Tracker:
        """A tracker of concepts; the bundle's tracker settings unless `config` is given.

        Raises:
            ConceptError: a concept is not valid, or there are more than `max_concepts`.
        """
        return Tracker(self, concepts, config or self.bundle.tracker)

    def encode_concepts(self, concepts: tuple[str, ...]) -> Prompt:
        """The prompt of normalised concepts, C >= 1; known ones cost nothing."""
        with self.stages.measure("text_encoder"):
            return self._text.encode(concepts)

    def detect(self, image: Image, prompt: Prompt) -> list[Detection]:
        """Detections of a checked image, concept by concept, best first."""
        features = self._encode_image(image)
        with self.stages.measure("detector"):
            raws = run_detector(self._detector, features, prompt, self.config.max_concepts)
        with self.stages.measure("postprocess"):
            found: list[Detection] = []
            remaining = prompt.concepts
            for raw in raws:
                batch, remaining = remaining[: len(raw["presence"])], remaining[len(raw["presence"]) :]
                found += read_detections(raw, batch, self.detector, image.shape[:2])
        return found

    def warm_up(self, concepts: Iterable[str] = ()) -> None:
        """Run one frame, so that the first real one is as fast as the rest."""
        size = self.bundle.student.size
        names = normalise_all(concepts) or ("object",)
        self.detect(np.zeros((size, size, 3), np.uint8), self.encode_concepts(names))
        # The black frame holds nothing, but OpenCV also sets itself up at its first use.
        upsample_mask(np.ones((size // 4, size // 4), np.float32), 0.0, (size, size))
        self.stages.start_frame()

    def _encode_image(self, image: Image) -> dict[str, Any]:
        with self.stages.measure("preprocess"):
            resized = resize_frame(image, self.bundle.student.size)[None]  # [1, S, S, 3]
        with self.stages.measure("image_encoder"):
            return self._image_encoder.run({"image": resized}, keep=FEATURES)

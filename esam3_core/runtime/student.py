# SPDX-License-Identifier: Apache-2.0
"""A loaded student: finds concepts in images, makes trackers; it owns the engines, trackers only use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import DetectorConfig, RuntimeConfig, TrackerConfig
from esam3_core.runtime.bundle import NEAR_GRAPH, REFINER_GRAPH, Bundle
from esam3_core.runtime.detector import FEATURES, read_detections, run_detector
from esam3_core.runtime.engines import Graph, OnnxEngine, load_engine, load_engines
from esam3_core.runtime.errors import ConceptError, PromptError
from esam3_core.runtime.exemplars import WORDLESS, Exemplar, ExemplarEncoder, Shown, group, join
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory_engines import (
    MEMORIZER_INPUTS,
    MEMORIZER_OUTPUTS,
    NEAR_INPUTS,
    POINTER_INPUTS,
    PROPAGATOR_INPUTS,
    PROPAGATOR_OUTPUTS,
    UNNECKED,
    MemoryEngines,
)
from esam3_core.runtime.preprocess import Image, check_image, resize_frame
from esam3_core.runtime.refiner import REFINER_INPUTS, REFINER_OUTPUTS, Refiner
from esam3_core.runtime.rosters import wants_memory, warm_up_memory
from esam3_core.runtime.stages import Stages
from esam3_core.runtime.text import Prompt, TextEncoder, normalise_all
from esam3_core.runtime.track import Detection
from esam3_core.runtime.tracker import Tracker
from esam3_core.runtime.upsample import upsample_mask

OFFICIAL_ON_CPU = 2  # concepts at a time: four take 0.5 GB more, for 2 % of the time
DETECTOR_INPUTS = (*FEATURES, "prompt", "prompt_pad")
DETECTOR_OUTPUTS = ("boxes", "logits", "presence", "kept", "masks")


class Student:
    """Everything needed to find concepts in frames, and to follow them.

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
        official = bundle.student.neck == "sam3"  # these have a text encoder as large as the rest, and prompts are kept
        self._batch = self.config.max_concepts
        needed = (
            Graph(bundle.graphs["image_encoder"], ["image"], FEATURES),
            Graph(bundle.graphs["detector"], DETECTOR_INPUTS, DETECTOR_OUTPUTS),
            Graph(bundle.graphs["text_encoder"], ["tokens"], ["prompt"], seldom=official),
        )
        self._image_encoder, self._detector, text_encoder = load_engines(needed, self.config)
        if official and isinstance(self._detector, OnnxEngine) and self._detector.device[0] == "cpu":
            self._batch = min(self._batch, OFFICIAL_ON_CPU)
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

    def doubt(self, concepts: Iterable[str]) -> str:
        """Why what is found for some of these normalised concepts means little; empty if the bundle claims all.

        It claims what ends in one of its nouns, as "red mug" and "mugs" do; without any it was made for every phrase.
        """
        nouns = self.bundle.concepts
        ends = tuple(f" {form}" for noun in nouns for form in (noun, f"{noun}s", f"{noun}es", f"{noun[:-2]}ves"))
        unknown = [name for name in concepts if not f" {name}".endswith(ends)]
        if not nouns or not unknown:
            return ""
        return (
            f"this bundle does not claim to know {', '.join(unknown)}, what it finds for that means little: use one of "
            f"{', '.join(nouns)}, or another bundle"
        )

    @property
    def timings(self) -> dict[str, float]:
        """Stage -> ms of the last frame."""
        return self.stages.last()

    @cached_property
    def memory(self) -> MemoryEngines:
        """The engines of memory; loaded when first asked for.

        Raises:
            BundleError: the bundle has no memory.
            EngineError: a graph cannot run here.
        """
        config, graphs = self.bundle.student, self.bundle.graphs
        needed = [
            Graph(self.bundle.graph("propagator"), PROPAGATOR_INPUTS, PROPAGATOR_OUTPUTS),
            Graph(self.bundle.graph("memorizer"), MEMORIZER_INPUTS, MEMORIZER_OUTPUTS),
        ]
        has_near = NEAR_GRAPH in graphs
        if has_near:
            needed.append(Graph(graphs[NEAR_GRAPH], NEAR_INPUTS, PROPAGATOR_OUTPUTS))
        if "memory_neck" in graphs:
            needed.append(Graph(graphs["memory_neck"], [UNNECKED], FEATURES))
            needed.append(Graph(graphs["pointer_encoder"], POINTER_INPUTS, ["pointer"]))
        propagator, memorizer, *more = load_engines(needed, self.config)
        near = more.pop(0) if has_near else None
        return MemoryEngines(
            propagator, memorizer, config.memory.points, 4 * config.grid, self.stages, near, *more
        )

    def segment(
        self, image: Image, concepts: Iterable[str] = (), exemplars: Iterable[Exemplar] = ()
    ) -> list[Detection]:
        """Find every instance of every concept in one image.

        Args:
            image: uint8 RGB [H, W, 3].
            concepts: noun phrases; more than `max_concepts` take several detector runs.
            exemplars: boxes on this image that show a concept, beside its name or instead of one.

        Returns:
            Detections, concept by concept in the given order, best first. A concept that was only shown is called
            "exemplar".

        Raises:
            ImageError: `image` is something else; the message says how to convert it.
            ConceptError: a concept is empty, too long or not text, or it is unclear which one an exemplar shows.
            PromptError: an exemplar's box cannot be on the image, or there is nothing to look for.
            BundleError: exemplars are given to a bundle that has no exemplar encoder.
        """
        check_image(image)
        names = normalise_all(concepts)
        groups = group(exemplars, names)
        if not names and not groups:
            raise ConceptError("no concept to look for: give at least one, such as ['cup'], or an Exemplar")
        self.stages.start_frame()
        prompt = self.encode_concepts(names) if names else None
        features = self.encode_image(image)
        if groups or prompt is None:
            shown = self.encode_exemplars(features, groups, names, image.shape[:2])
            prompt = self.encode_concepts((*names, *(name for name in shown if name not in names)), shown)
        return self.refine_detections(image, self.detect(features, prompt, image.shape[:2]))

    def track(self, concepts: Iterable[str] = (), config: TrackerConfig | None = None) -> Tracker:
        """A tracker of concepts; the bundle's tracker settings unless `config` is given.

        Raises:
            ConceptError: a concept is not valid, or there are more than `max_concepts`.
            BundleError: `config` asks for memory, and the bundle has none.
        """
        return Tracker(self, concepts, config or self.bundle.tracker)

    def encode_concepts(self, concepts: tuple[str, ...], shown: Mapping[str, Shown] | None = None) -> Prompt:
        """The prompt of normalised concepts, C >= 1, some of them `shown` by exemplars; known ones cost nothing."""
        given = dict(shown or {})
        wordless = [concept for concept in concepts if concept in given and not given[concept].named]
        words = {concept: concept for concept in concepts} | dict.fromkeys(wordless, WORDLESS)
        if self.bundle.student.neck == "sam3":
            given |= {concept: replace(given[concept], named=True) for concept in wordless}
        with self.stages.measure("text_encoder"):
            prompt = replace(self._text.encode(tuple(words.values())), concepts=concepts)
        length = self._prompt_length(bool(given))
        return join(prompt, given, length) if length > prompt.tokens.shape[1] else prompt

    def encode_exemplars(
        self,
        features: Mapping[str, Any],
        groups: Mapping[str, list[Exemplar]],
        names: Iterable[str],
        size: tuple[int, int],
    ) -> dict[str, Shown]:
        """What exemplars on a frame of `size` (H, W), by concept, tell the detector; `names` count beside them.

        Raises:
            PromptError: a concept without a name has no positive exemplar, or a box cannot be on the frame.
            BundleError: the bundle has no exemplar encoder.
        """
        shown: dict[str, Shown] = {}
        for concept, exemplars in groups.items():
            named = concept in names
            if not named and not any(exemplar.positive for exemplar in exemplars):
                raise PromptError(f"{concept!r} is shown by negative exemplars only: add a positive one, or name it")
            with self.stages.measure("exemplar_encoder"):
                shown[concept] = Shown(self._exemplars.encode(features["p16"], exemplars, size), named)
        return shown

    def encode_image(self, image: Image) -> dict[str, Any]:
        """Features of a checked image, as handles for the other engines."""
        with self.stages.measure("preprocess"):
            config = self.bundle.student
            resized = resize_frame(image, config.size, config.antialias)[None]  # [1, S, S, 3]
        with self.stages.measure("image_encoder"):
            return self._image_encoder.run({"image": resized}, keep=tuple(self._image_encoder.outputs))

    def detect(
        self, features: Mapping[str, Any], prompt: Prompt, size: tuple[int, int], share: float = 1.0
    ) -> list[Detection]:
        """Detections in an encoded frame of `size` (H, W), concept by concept, best first.

        Args:
            share: 0..1, of the score threshold, from which detections count.
        """
        with self.stages.measure("detector"):
            raws = run_detector(self._detector, features, prompt, self._batch)
        config = replace(self.detector, score_threshold=share * self.detector.score_threshold)
        with self.stages.measure("postprocess"):
            found: list[Detection] = []
            remaining = prompt.concepts
            for raw in raws:
                batch, remaining = remaining[: len(raw["presence"])], remaining[len(raw["presence"]) :]
                found += read_detections(raw, batch, config, size)
        return found

    def refine(self, image: Image, masks: Sequence[CroppedMask]) -> list[CroppedMask]:
        """Masks of a checked image as they are shown: refined, where the bundle can and `detector.refine` is set."""
        if self._refiner is None or not self.detector.refine:
            return list(masks)
        return self._refiner.refine(image, masks)

    def refine_detections(self, image: Image, found: Sequence[Detection]) -> list[Detection]:
        """Detections in a checked image with their masks as they are shown; see `refine`."""
        refined = self.refine(image, [one.crop for one in found])
        return [replace(one, crop=crop) for one, crop in zip(found, refined, strict=True)]

    def warm_up(self, concepts: Iterable[str] = (), tracker: TrackerConfig | None = None) -> None:
        """Run one frame, with the memory that `tracker` wants, so that the first real one is as fast as the rest."""
        size = self.bundle.student.size
        names = normalise_all(concepts) or ("object",)
        features = self.encode_image(np.zeros((size, size, 3), np.uint8))
        self.detect(features, self.encode_concepts(names), (size, size))
        if tracker is not None and wants_memory(self, tracker):
            warm_up_memory(self, features)
        # The black frame holds nothing, but OpenCV also sets itself up at its first use.
        whole = upsample_mask(np.ones((size // 4, size // 4), np.float32), 0.0, (size, size))
        self.refine(np.zeros((size, size, 3), np.uint8), [whole])
        self.stages.start_frame()

    @cached_property
    def _refiner(self) -> Refiner | None:
        if REFINER_GRAPH not in self.bundle.graphs:
            return None
        engine = load_engine(self.bundle.graphs[REFINER_GRAPH], self.config, REFINER_INPUTS, REFINER_OUTPUTS)
        return Refiner(engine, self.stages)

    @cached_property
    def _exemplars(self) -> ExemplarEncoder:
        path = self.bundle.graph("exemplar_encoder")
        engine = load_engine(path, self.config, ("p16", "boxes", "labels"), ("prompt", "pad"))
        return ExemplarEncoder(engine, self.bundle.student.memory.exemplars)

    def _prompt_length(self, shown: bool) -> int:
        """Tokens of a prompt: what the detector's graph was made for, or as many as there can be."""
        fixed = self._detector.inputs["prompt"][1]
        context = self.bundle.student.text.context
        return fixed if isinstance(fixed, int) else context + (self._exemplars.room + 1 if shown else 0)

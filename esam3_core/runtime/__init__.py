# SPDX-License-Identifier: Apache-2.0
"""What runs on the robot: numpy, OpenCV and an engine backend; never torch, never ROS."""

from esam3_core.runtime.bundle import Bundle, find_bundle, known_bundles
from esam3_core.runtime.errors import (
    BundleError,
    ConceptError,
    EngineError,
    Esam3Error,
    ImageError,
    MemoryFileError,
    PromptError,
    SourceError,
)
from esam3_core.runtime.exemplars import Exemplar
from esam3_core.runtime.masks import CroppedMask, decode_rle, encode_rle, iou_matrix, pack, unpack
from esam3_core.runtime.preprocess import check_image, resize_frame
from esam3_core.runtime.student import Student
from esam3_core.runtime.text import normalise, normalise_all
from esam3_core.runtime.track import Detection, Track
from esam3_core.runtime.tracker import Tracker

__all__ = [
    "Bundle",
    "BundleError",
    "ConceptError",
    "CroppedMask",
    "Detection",
    "EngineError",
    "Esam3Error",
    "Exemplar",
    "ImageError",
    "MemoryFileError",
    "PromptError",
    "SourceError",
    "Student",
    "Track",
    "Tracker",
    "check_image",
    "decode_rle",
    "encode_rle",
    "find_bundle",
    "iou_matrix",
    "known_bundles",
    "normalise",
    "normalise_all",
    "pack",
    "resize_frame",
    "unpack",
]

# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cure; each message is one sentence or two and names the remedy."""

from __future__ import annotations


class Esam3Error(ValueError):
    """Base of every error that esam3 raises on bad input."""


class BundleError(Esam3Error):
    """A bundle is missing, broken or of another version."""


class EngineError(Esam3Error):
    """A graph cannot run here."""


class ImageError(Esam3Error):
    """An image is not uint8 RGB [H, W, 3]."""


class ConceptError(Esam3Error):
    """A concept is not a short noun phrase."""


class SourceError(Esam3Error):
    """A video, folder, camera or bag cannot be read."""


class OutputError(Esam3Error):
    """A place to write to cannot be written."""


class PromptError(Esam3Error):
    """A box, point or mask that shows an object cannot be used."""


class MemoryFileError(Esam3Error):
    """A memory file cannot be written, or cannot be used here."""


class CheckpointError(Esam3Error):
    """A file holds no checkpoint of EfficientSAM3 or SAM 3, or not all of it."""

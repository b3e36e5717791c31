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

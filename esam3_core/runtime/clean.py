# SPDX-License-Identifier: Apache-2.0
"""Broken text made whole, by CLIP's rules: what every official text encoder was trained behind."""

from __future__ import annotations

import html


def clean(text: str) -> str:
    """Text in lower case with single spaces, without HTML entities, wrongly decoded letters and curly quotes."""
    if not text.isascii() or not text.isprintable() or "&" in text:
        import ftfy  # here, because it takes 50 ms and plain words do not need it

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()

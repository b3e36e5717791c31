# SPDX-License-Identifier: Apache-2.0
"""How to install what a part of esam3 needs."""

from __future__ import annotations


def how_to_install(extra: str = "") -> str:
    """The command that installs esam3 with an extra of pyproject.toml; "" = what every installation has.

    esam3 is installed from its checkout; no package index has it.
    """
    return f"pip install '.[{extra}]' in the checkout of esam3" if extra else "pip install . in the checkout of esam3"

# SPDX-License-Identifier: Apache-2.0
"""The files of this repository and what they import, read without running them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full dotted names of everything a file imports, also inside functions."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top_level(path: Path) -> set[str]:
    """Names of the packages a file imports: "numpy.typing" -> "numpy"."""
    return {name.split(".")[0] for name in imported(path)}


def third_party(path: Path) -> set[str]:
    return top_level(path) - {"esam3_core", "esam3_ros", "tests", *sys.stdlib_module_names}


def tracked() -> list[Path]:
    """Files of the repository, new ones included; where there is no git, the Python files that we ship."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]
    return [path for folder in ("esam3_core", "esam3_ros", "tests") for path in modules(folder)]


def has_function(path: Path, name: str) -> bool:
    body = ast.parse(path.read_text()).body
    return any(isinstance(item, ast.FunctionDef) and item.name == name for item in body)

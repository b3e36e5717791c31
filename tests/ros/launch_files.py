# SPDX-License-Identifier: Apache-2.0
"""Launch files, read without `launch`."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

LAUNCH_FILES = sorted((Path(__file__).resolve().parents[2] / "launch").glob("*.launch.py"))


@dataclass(frozen=True)
class Argument:
    """A DeclareLaunchArgument; `default` is None if there is none or it is no plain text."""

    description: str
    default: str | None
    top_level: bool  # declared in generate_launch_description itself, where --show-args sees it


def declared_arguments(path: Path) -> dict[str, Argument]:
    """Name -> argument, of every DeclareLaunchArgument in a launch file."""
    tree = ast.parse(path.read_text())
    (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("generate_"))
    visible = {id(node) for node in ast.walk(main)}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            text = {name: value.value for name, value in given.items() if isinstance(value, ast.Constant)}
            found[node.args[0].value] = Argument(
                text.get("description", ""), text.get("default_value"), id(node) in visible
            )
    return found

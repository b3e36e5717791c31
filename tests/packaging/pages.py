# SPDX-License-Identifier: Apache-2.0
"""What the pages for readers name: links, commands, files; and what of it there is."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.sources import ROOT

FRONT = ("README", "CONTRIBUTING", "CHANGELOG")
PAGES = [*(ROOT / f"{name}.md" for name in FRONT), *sorted((ROOT / "docs").rglob("*.md"))]


def links(page: Path) -> list[str]:
    """Targets of links and pictures within the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(text: str) -> Iterator[str]:
    """The lines of indented blocks, those that a backslash goes on with joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("    ") and line.strip():
            yield line.strip()


def quoted(text: str) -> list[str]:
    """What stands between backquotes, on one line or two."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(part.split()) for part in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


def commands(text: str, start: str) -> list[str]:
    """Commands of blocks and prose that begin so, comments left out."""
    found = [part for part in (*blocks(text), *quoted(text)) if part.startswith(start)]
    return [re.split(r"\s#\s|\s\|\s", part)[0].strip() for part in found]


def options(command: str) -> set[str]:
    return {word.split("=")[0] for word in re.findall(r"(?<=[\s\[])--[a-z][\w-]*", command)}


def options_of_script(path: Path) -> set[str]:
    """Every text in a script that looks like an option."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"--[a-z][\w-]*", text)} | {"--help"}


def descend(parser: argparse.ArgumentParser, words: list[str]) -> argparse.ArgumentParser:
    """The parser of the verbs that words begin with."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and words and words[0] in action.choices:
            return descend(action.choices[words[0]], words[1:])
    return parser


def options_of_parser(parser: argparse.ArgumentParser) -> set[str]:
    """Options of a parser and of all its verbs."""
    found = {text for action in parser._actions for text in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {text for one in action.choices.values() for text in options_of_parser(one)}
    return found

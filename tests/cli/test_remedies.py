# SPDX-License-Identifier: Apache-2.0
"""A command that an error message recommends can be given as it stands there."""

from __future__ import annotations

import ast
import re
import shlex

import pytest

from esam3_core.cli import COMMANDS, build_parser
from tests.packaging.sources import ROOT, modules

VERBS = {verb for verbs in COMMANDS.values() for verb in verbs}
COMMAND = re.compile(r"`esam3 ([a-z]+[^`]*)`")


def said(tree: ast.AST) -> set[str]:
    """What a module says when something is wrong: strings in what it raises, and formatted ones; values are "1"."""
    raised = [inner for node in ast.walk(tree) if isinstance(node, ast.Raise) for inner in ast.walk(node)]
    found = {node.value for node in raised if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values))
    return found


RECOMMENDED = sorted(
    {
        (str(path.relative_to(ROOT)), command)
        for path in modules("esam3_core")
        for text in said(ast.parse(path.read_text()))
        for command in COMMAND.findall(text)
    }
)


def test_messages_recommend_commands() -> None:
    assert len(RECOMMENDED) > 10


@pytest.mark.parametrize(("path", "command"), RECOMMENDED)
def test_a_command_that_a_message_recommends_can_be_given(path: str, command: str) -> None:
    words = shlex.split(command)
    assert words[0] in VERBS
    if len(words) > 1:  # a verb alone names what to look up
        build_parser(words[0]).parse_args(words)

# SPDX-License-Identifier: Apache-2.0
"""What README, CONTRIBUTING and docs/ name is there: links, files, commands and their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from esam3_core.cli import build_parser
from tests.packaging.pages import (
    PAGES,
    anchors,
    blocks,
    commands,
    descend,
    links,
    options,
    options_of_parser,
    options_of_script,
    quoted,
)
from tests.packaging.sources import ROOT, modules

pytest.importorskip("torch", reason="the parsers of half the verbs need it")

PARSER = build_parser()
BENCH = sorted((ROOT / "bench").rglob("*.py"))
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@pages
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pages
def test_files_that_are_named_are_there(page: Path) -> None:
    """Full paths only: what a run leaves behind, or a reader brings, has no folder of ours in front."""
    folders = "bench|config|docker|docs|esam3_core|esam3_ros|launch|msg|scripts|srv|tests|tools"
    for part in (*blocks(page.read_text()), *quoted(page.read_text())):
        for name in re.findall(rf"(?<![\w/.])(?:{folders})/[\w./*-]*\w", part):
            ros = re.fullmatch(r"esam3_ros/((msg|srv)/\w+)", name)  # as ROS names a type
            assert list(ROOT.glob(f"{ros[1]}.{ros[2]}" if ros else name)), name


@pages
def test_a_command_of_a_block_can_be_given(page: Path) -> None:
    for line in blocks(page.read_text()):
        if line.startswith("esam3 "):
            words = shlex.split(line, comments=True)[1:]
            try:
                PARSER.parse_args(words)
            except SystemExit:
                pytest.fail(f"esam3 refuses: {line}")


@pages
def test_verbs_and_options_of_prose_are_there(page: Path) -> None:
    for command in commands(page.read_text(), "esam3 "):
        parser = descend(PARSER, command.split()[1:])
        assert parser is not PARSER, command
        assert options(command) <= options_of_parser(parser), command


@pages
def test_options_that_stand_alone_are_of_some_command(page: Path) -> None:
    known = options_of_parser(PARSER).union(*map(options_of_script, [*BENCH, *modules("esam3_ros")]))
    for part in quoted(page.read_text()):
        assert not part.startswith("--") or options(f" {part}") <= known, part


@pages
def test_scripts_have_the_options_that_are_given(page: Path) -> None:
    check_scripts(page.read_text())


@pytest.mark.parametrize("script", BENCH, ids=lambda path: path.stem)
def test_a_bench_script_has_the_options_of_its_own_docstring(script: Path) -> None:
    check_scripts(script.read_text().split('"""')[1])


def test_every_topic_service_and_parameter_of_the_readme_is_in_the_interface() -> None:
    readme, interface = (ROOT / "README.md").read_text(), (ROOT / "docs/interface.md").read_text()
    section = readme[readme.index("## Topics and parameters") : readme.index("## Change the concept")]
    for row in re.findall(r"^\| (?:in|out|services?) \| (`.+?`) \|", section, re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            last = name.rpartition("/")[2]
            assert f"`~/{last}`" in interface or last == "image_raw", name
    for name in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE):
        assert f"| `{name}` |" in interface, name


def check_scripts(text: str) -> None:
    for command in (*commands(text, "python "), *commands(text, "bench/")):
        if match := re.match(r"python -m ([\w.]+)|(?:python )?(\S+\.py)", command):
            script = ROOT / (f"{match[1].replace('.', '/')}.py" if match[1] else match[2])
            assert script.is_file(), command
            assert options(command) <= options_of_script(script), command


def test_the_table_of_graphs_is_that_of_the_shipped_bundle() -> None:
    onnx = pytest.importorskip("onnx")
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| .+ \|$", page, re.MULTILINE)
    files = sorted((ROOT / "esam3_core/bundles/tabletop").glob("*.onnx"))
    assert sorted(name for name, *_ in rows) == [path.stem for path in files]
    for name, takes, gives in rows:
        graph = onnx.load(ROOT / f"esam3_core/bundles/tabletop/{name}.onnx", load_external_data=False).graph
        for cell, ports in ((takes, graph.input), (gives, graph.output)):
            assert re.findall(r"`(\w+)`", cell) == [port.name for port in ports], name
            sizes = dict(re.findall(r"`(\w+)`(?: uint8)? \[([^]]+)\]", cell))
            for port in ports:
                count = len(port.type.tensor_type.shape.dim)
                assert port.name not in sizes or len(sizes[port.name].split(",")) == count, (name, port.name)

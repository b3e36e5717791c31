# SPDX-License-Identifier: Apache-2.0
"""Nodes as child processes, for machines without `launch`: started together, watched, and all ended at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from esam3_ros.demo_nodes import NodeSpec

TAIL = 15  # lines of a log that a report shows
PUT_OFF = (signal.SIGINT, signal.SIGTERM)
GRACE = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))  # s to end after each


class ChildDiedError(RuntimeError):
    """A node ended that should run; the message holds the last lines of its log."""


class Nodes:
    """Child processes of a `with` block; leaving it, by Ctrl-C or an exception too, ends them all."""

    def __init__(self, specs: Sequence[NodeSpec], log_folder: Path) -> None:
        self._specs = specs
        self._logs = log_folder
        self._children: list[tuple[NodeSpec, subprocess.Popen[bytes], Path]] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="esam3-")
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Nodes:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for spec in self._specs:
                with _uninterrupted():
                    self._start(spec)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raises ChildDiedError if one has ended."""
        for spec, child, log in self._children:
            if child.poll() is not None:
                raise ChildDiedError(f"{spec.executable} ended with status {child.returncode}:\n{tail(log)}")

    def report(self) -> str:
        """The last lines of every log."""
        return "\n".join(f"--- {log}\n{tail(log)}" for _, _, log in self._children)

    def stop(self) -> None:
        """End all, gently first."""
        for number, patience in GRACE:
            running = [child for _, child, _ in self._children if child.poll() is None]
            for child in running:
                child.send_signal(number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and any(child.poll() is None for child in running):
                time.sleep(0.02)
        for file in self._files:
            file.close()
        self._scratch.cleanup()

    def pids(self) -> dict[str, int]:
        """Process id of each node, by executable."""
        return {spec.executable: child.pid for spec, child, _ in self._children}

    def _start(self, spec: NodeSpec) -> None:
        log = self._logs / f"{spec.executable}.log"
        file = log.open("wb")
        self._files.append(file)
        child = subprocess.Popen(
            command(spec, Path(self._scratch.name)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C reaches the parent only, which then ends the children in order.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._children.append((spec, child, log))


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM: between the start of a child and its entry in the list they would orphan it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals go to the main thread
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in PUT_OFF}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for missed in came:
        signal.raise_signal(missed)


def command(spec: NodeSpec, folder: Path) -> list[str]:
    """The command line of a node; its parameters go into a file in `folder`, which keeps their types."""
    line = [sys.executable, "-m", f"esam3_ros.{spec.executable}", "--ros-args"]
    line += ["-r", f"__node:={spec.executable}", "-r", f"__ns:={spec.namespace}"]
    for old, new in spec.remappings:
        line += ["-r", f"{old}:={new}"]
    if spec.parameters:
        path = folder / f"{spec.executable}.yaml"
        content: dict[str, Any] = {"/**": {"ros__parameters": spec.parameters}}
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        line += ["--params-file", str(path)]
    return line


def tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL:]) or "(no output)"

# SPDX-License-Identifier: Apache-2.0
"""A long run of the tracker node with a 640x480 camera at 30 Hz: memory and age of results, minute by minute.

    python bench/ros_soak.py                       # ten minutes
    python bench/ros_soak.py --minutes 2 --json out/bench/ros_soak.json

Growth counts from the end of the first minute to the end of the last. Columns: memory and threads of the tracker's
process; frames processed, and dropped because a newer one came while one was in work (one frame waits, so there is no
queue that could grow); age of the results where a subscriber gets them; what the diagnostics say of the worker, and how
many frames failed since the start. The JSON also holds the memory every five seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ros_speed import Case, nodes

from esam3_core.config import NodeConfig
from esam3_ros.isolation import isolate
from esam3_ros.listener import Listener
from esam3_ros.processes import Nodes
from esam3_ros.speed import PATIENCE

SAMPLE = 5.0  # s between looks at the memory
MINUTE = 60.0  # s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="name or path of a bundle")
    parser.add_argument("--minutes", type=int, default=10, help="length of the run (10)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    isolate()
    rows, series = run(options.bundle, options.minutes)
    growth = rows[-1]["rss_mib"] - rows[0]["rss_mib"]
    print(f"memory after the first minute: {growth:+.1f} MiB in {len(rows) - 1} minutes")
    ages = [row["age_ms_p50"] for row in rows]
    print(
        f"age p50 of the minutes: {min(ages):.1f} to {max(ages):.1f} ms, last minus first {ages[-1] - ages[0]:+.1f} ms"
    )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"bundle": options.bundle, "growth_mib": round(growth, 2), "minutes": rows, "rss": series}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if any(row["worker"] != "alive" or row["failed"] for row in rows):
        sys.exit("the worker was lost or frames failed: see the table")


def run(bundle: str, minutes: int) -> tuple[list[dict[str, Any]], list[tuple[float, float]]]:
    """Run for `minutes`; prints and returns one row for each, and (s, MiB) of the memory all along."""
    rows: list[dict[str, Any]] = []
    series: list[tuple[float, float]] = []
    specs = nodes(Case(640, 480, 1), bundle)
    with tempfile.TemporaryDirectory() as logs, Nodes(specs, Path(logs)) as children, Listener() as listener:
        listener.wait_for_results(PATIENCE, children.check)
        pid = children.pids()["tracker"]
        print(
            _line(["minute", "RSS MiB", "threads", "frames", "dropped", "age p50", "age p95", "ms"])
            + "  worker, failed"
        )
        start = time.monotonic()
        dropped = _count(listener, "dropped")
        for minute in range(1, minutes + 1):
            listener.clear()
            while (now := time.monotonic() - start) < minute * MINUTE:
                children.check()
                series.append((round(now, 1), round(_status(pid, "VmRSS") / 1024, 2)))
                time.sleep(min(SAMPLE, minute * MINUTE - now))
            rows.append(row := _row(minute, listener, pid))
            row["dropped"], dropped = row["dropped"] - dropped, row["dropped"]
            cells = [row[name] for name in ("rss_mib", "threads", "frames", "dropped", "age_ms_p50", "age_ms_p95")]
            print(_line([minute, *cells, ""]) + f"  {row['worker']}, {row['failed']}", flush=True)
    return rows, series


def _row(minute: int, listener: Listener, pid: int) -> dict[str, Any]:
    ages = listener.ages()
    if not ages:
        raise TimeoutError(f"no result in minute {minute}: the tracker is stuck, or nothing comes from the camera")
    return {
        "minute": minute,
        "rss_mib": round(_status(pid, "VmRSS") / 1024, 2),
        "threads": _status(pid, "Threads"),
        "frames": len(ages),
        "dropped": _count(listener, "dropped"),
        "age_ms_p50": round(float(np.percentile(ages, 50)) * 1e3, 1),
        "age_ms_p95": round(float(np.percentile(ages, 95)) * 1e3, 1),
        "worker": listener.values("inference").get("worker", "unknown"),
        "failed": _count(listener, "failed"),
    }


def _count(listener: Listener, what: str) -> int:
    """Frames since the start that were `what`, by the node's own count."""
    return int(listener.values("input").get(what, 0))


def _status(pid: int, name: str) -> int:
    """A number of /proc/PID/status; memory in KiB.

    Raises:
        ProcessLookupError: the process has ended.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no {name}: it has ended")


def _line(cells: list[Any]) -> str:
    return "".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    main()

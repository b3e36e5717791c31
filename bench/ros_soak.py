# SPDX-License-Identifier: Apache-2.0
"""A long run of the tracker node at 30 Hz: memory and age of results, minute by minute.

    python bench/ros_soak.py                       # ten minutes
    python bench/ros_soak.py --minutes 2 --json out/bench/ros_soak.json

Growth counts from the end of the first minute to the end of the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ros_speed import PATIENCE, Case, nodes

from esam3_core.config import NodeConfig
from esam3_ros.isolation import isolate
from esam3_ros.listener import Listener
from esam3_ros.processes import Nodes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="name or path of a bundle")
    parser.add_argument("--minutes", type=int, default=10, help="length of the run (10)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    isolate()
    rows = run(options.bundle, options.minutes)
    growth = rows[-1]["rss_mib"] - rows[0]["rss_mib"]
    print(f"growth of memory after the first minute: {growth:+.1f} MiB in {len(rows) - 1} minutes")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"bundle": options.bundle, "growth_mib": round(growth, 2), "minutes": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def run(bundle: str, minutes: int) -> list[dict[str, Any]]:
    """Run for `minutes`; prints and returns one row for each."""
    rows = []
    specs = nodes(Case(640, 480, 1), bundle)
    with tempfile.TemporaryDirectory() as logs, Nodes(specs, Path(logs)) as children, Listener() as listener:
        listener.wait_for_results(PATIENCE, children.check)
        print(f"{'minute':>6}{'RSS MiB':>10}{'frames':>8}{'age p50':>9}{'age p95':>9} ms  worker, failed frames")
        for minute in range(1, minutes + 1):
            listener.clear()
            time.sleep(60.0)
            children.check()
            rows.append(row := _row(minute, listener, children.pids()["tracker"]))
            print(
                f"{minute:>6}{row['rss_mib']:>10.1f}{row['frames']:>8}{row['age_ms_p50']:>9.1f}{row['age_ms_p95']:>9.1f}"
                f"     {row['worker']}, {row['failed']}",
                flush=True,
            )
    return rows


def _row(minute: int, listener: Listener, pid: int) -> dict[str, Any]:
    ages = listener.ages()
    return {
        "minute": minute,
        "rss_mib": round(resident_mib(pid), 2),
        "frames": len(ages),
        "age_ms_p50": round(float(np.percentile(ages, 50)) * 1e3, 1) if ages else None,
        "age_ms_p95": round(float(np.percentile(ages, 95)) * 1e3, 1) if ages else None,
        "worker": listener.values("inference").get("worker", "unknown"),
        "failed": int(listener.values("input").get("failed", 0)),
    }


def resident_mib(pid: int) -> float:
    """Memory of a process that is in RAM, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has no memory: it has ended")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the ROS 2 wheels of a virtual environment usable by CMake.

Their CMake exports name the Python and NumPy include folders of the machine that built the wheels
(`/opt/python/cp311-cp311/...`). This rewrites those paths to the ones of the interpreter that runs this script,
in the environment's own `share/` and nowhere else. Running it again changes nothing.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILDER = r"/opt/python/cp3\d+-cp3\d+"


def relocate(prefix: Path) -> list[Path]:
    """Rewrite every file below `prefix/share` that names the builder's folders; return the changed files."""
    replacements = [
        (
            re.compile(BUILDER + r"/lib/python3\.\d+/site-packages/numpy/(_core|core)/include"),
            numpy.get_include(),
        ),
        (re.compile(BUILDER + r"/include/python3\.\d+"), sysconfig.get_paths()["include"]),
        (re.compile(BUILDER), str(prefix)),
    ]
    exports = [*prefix.glob("share/*/cmake/*.cmake")]
    parents = [*prefix.glob("share/ament_index/resource_index/parent_prefix_path/*")]
    changed = []
    for path in exports + parents:
        old = path.read_text()
        new = old
        for pattern, replacement in replacements:
            new = pattern.sub(replacement.replace("\\", r"\\"), new)
        if new != old:
            path.write_text(new)
            changed.append(path)
    return changed


def main() -> None:
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        sys.exit(
            f"{include}/Python.h is missing: install the headers of this Python "
            "(Debian, Ubuntu: apt-get install python3-dev)"
        )
    changed = relocate(Path(sys.prefix))
    print(f"relocated {len(changed)} files of the ROS 2 wheels to {include}")


if __name__ == "__main__":
    main()

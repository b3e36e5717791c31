# SPDX-License-Identifier: Apache-2.0
"""esam3: find, segment and follow every instance of a concept, at camera rate.

    student = esam3_core.load("tabletop")
    found = student.segment(image, ["cup", "red mug"])
    tracker = student.track(["cup"])
    tracks = tracker.step(image, stamp)
    alike = student.segment(image, [], exemplars=[esam3_core.Exemplar(box=(x, y, w, h), positive=True)])

Nothing heavy is imported before `load` is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esam3_core.config import RuntimeConfig
    from esam3_core.runtime.exemplars import Exemplar
    from esam3_core.runtime.student import Student

__version__ = "0.1.0"
__all__ = ["Exemplar", "__version__", "load"]


def load(bundle: str | Path = "tabletop", config: RuntimeConfig | None = None) -> Student:
    """Load a bundle and make its engines ready to run.

    Args:
        bundle: name of a bundle ("tabletop" is shipped; folders of ESAM3_BUNDLES are searched first) or path of
            its folder.
        config: how engines run; the defaults of `RuntimeConfig` if None.

    Raises:
        esam3_core.runtime.BundleError: the bundle is missing, broken or of another version.
        esam3_core.runtime.EngineError: its graphs cannot run here.
    """
    from esam3_core.runtime.student import Student

    return Student.load(bundle, config)


def __getattr__(name: str) -> Any:
    """`Exemplar`, imported when it is first asked for."""
    if name != "Exemplar":
        raise AttributeError(f"module 'esam3_core' has no attribute {name!r}")
    from esam3_core.runtime.exemplars import Exemplar

    return Exemplar

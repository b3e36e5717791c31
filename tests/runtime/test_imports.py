# SPDX-License-Identifier: Apache-2.0
"""A robot installs no torch, and the core knows nothing of ROS."""

import subprocess
import sys

import pytest

import esam3_core

HEAVY = ("matplotlib", "scipy")  # SciPy is there, but importing it takes longer than everything else together
FORBIDDEN = ("torch", "timm", "onnx", "mujoco", "rclpy", "sensor_msgs", "esam3_ros", *HEAVY)


@pytest.mark.parametrize(
    "module", ["esam3_core", "esam3_core.runtime", "esam3_core.runtime.commands", "esam3_core.cli"]
)
def test_the_runtime_imports_neither_torch_nor_ros(module):
    script = f"import sys, {module}; print([name for name in {FORBIDDEN} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_runtime_works_where_they_are_not_installed(colour_bundle):
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in FORBIDDEN)
    script = (
        f"import sys; {blocked}; import numpy, esam3_core; student = esam3_core.load({str(colour_bundle)!r}); "
        "image = numpy.zeros((120, 160, 3), numpy.uint8); image[30:60, 40:80] = 220, 30, 30; "
        "print(len(student.segment(image, ['red'])), student.track(['red']).step(image, 0.0))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout.strip() == "1 []", told.stderr


def test_importing_esam3_is_light():
    script = "import sys, esam3_core; print([name for name in ('numpy', 'cv2', 'onnxruntime') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_exemplars_are_part_of_the_public_api():
    shown = esam3_core.Exemplar(box=(4, 5, 30, 40), positive=False)
    assert shown.box == (4, 5, 30, 40) and not shown.positive
    with pytest.raises(AttributeError, match="no attribute 'Exemplars'"):
        esam3_core.Exemplars  # noqa: B018

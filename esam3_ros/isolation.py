# SPDX-License-Identifier: Apache-2.0
"""Keeps a run among its own processes: not disturbed by, and not disturbing, other ROS nodes."""

from __future__ import annotations

import os
import random


def isolate() -> None:
    """Use a ROS domain of its own on this machine only, unless the user chose one. Call it before rclpy.init."""
    if "ROS_DOMAIN_ID" in os.environ:
        return
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if os.environ.get("ROS_DISTRO") == "humble":  # later ones know the line above and warn about this one
        os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")

# SPDX-License-Identifier: Apache-2.0
"""Everything is in pyproject.toml; colcon takes package.xml. This file serves tools that ask for a setup.py."""

from setuptools import setup

setup()

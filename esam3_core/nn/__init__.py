# SPDX-License-Identifier: Apache-2.0
"""The student as torch modules: one part per file, put together in `student.py`."""

# SPDX-License-Identifier: Apache-2.0
"""How good a student is: masks, concepts, calibration, video. NumPy and OpenCV, never torch."""

# SPDX-License-Identifier: Apache-2.0
"""Official checkpoints (EfficientSAM3, SAM 3) in our names."""

from esam3_core.convert.official import official

__all__ = ["official"]

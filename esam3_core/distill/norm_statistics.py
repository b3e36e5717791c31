# SPDX-License-Identifier: Apache-2.0
"""What normalisations learn in the forward pass, without any gradient: it has to be taken back with a bad step."""

from __future__ import annotations

import torch
from torch import nn


class NormStatistics:
    """Running means and variances that a step may change, as they are now.

    Once one is infinite, no later step mends it: each keeps a share of what was there before.

    Args:
        module: in the mode of the step; what only evaluates changes nothing and is not copied.
    """

    def __init__(self, module: nn.Module) -> None:
        learning = [m for m in module.modules() if m.training and getattr(m, "track_running_stats", False)]
        self.kept = [(value, value.clone()) for norm in learning for value in norm.buffers(recurse=False)]

    @torch.no_grad()
    def restore(self) -> None:
        """Set them back."""
        for value, before in self.kept:
            value.copy_(before)

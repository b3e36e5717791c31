# SPDX-License-Identifier: Apache-2.0
"""Refiner: a mask and the camera's picture around it -> the same mask, its border where the picture has it.

A small U-Net (Ronneberger et al. 2015) over a crop of one instance, as in CascadePSP (Cheng et al. 2020, section 3.1),
that corrects the mask it is given. It sees neither features nor concept, so it refines the masks of any part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.nn.neck import ConvNorm, double

WIDTHS = (32, 48, 64, 96)  # channels at strides 2, 4, 8 and 16 of the crop
SCALE = 4.0  # logit of the given mask that is one for the network
KEPT = 0.5  # share of the given logits from which the network's correction starts
MEAN, DEVIATION = 115.0, 60.0  # of the crops' pixels, about


class Block(nn.Sequential):
    """Convolution, BatchNorm, ReLU; `stride` 2 halves the map."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(ConvNorm(inputs, outputs, 3, stride), nn.ReLU())


class Refiner(nn.Module):
    """Corrects masks of T instances, each in a crop of its own."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse, whole = WIDTHS
        self.enter = nn.Sequential(Block(4 * 4, fine), Block(fine, fine))
        self.down4 = nn.Sequential(Block(fine, middle, 2), Block(middle, middle))
        self.down8 = nn.Sequential(Block(middle, coarse, 2), Block(coarse, coarse), Block(coarse, coarse))
        self.down16 = nn.Sequential(Block(coarse, whole, 2), Block(whole, whole), Block(whole, whole))
        self.up8 = nn.Conv2d(whole, coarse, 1)
        self.mix8 = nn.Sequential(Block(coarse, coarse), Block(coarse, coarse))
        self.up4 = nn.Conv2d(coarse, middle, 1)
        self.mix4 = Block(middle, middle)
        self.up2 = nn.Conv2d(middle, fine, 1)
        self.mix2 = nn.Sequential(Block(fine, fine), Block(fine, fine))
        self.leave = nn.Conv2d(fine, 4, 3, padding=1)

    def forward(self, crops: Tensor, masks: Tensor) -> Tensor:
        """Crops uint8 [T, R, R, 3] RGB and the masks' logits [T, R, R] in them -> logits [T, R, R]."""
        picture = (crops.permute(0, 3, 1, 2).float() - MEAN) / DEVIATION  # [T, 3, R, R]
        given = masks[:, None]  # [T, 1, R, R]
        x2 = self.enter(F.pixel_unshuffle(torch.cat([picture, given / SCALE], 1), 2))  # [T, fine, R/2, R/2]
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y8 = self.mix8(double(self.up8(x16)) + x8)
        y4 = self.mix4(double(self.up4(y8)) + x4)
        y2 = self.mix2(double(self.up2(y4)) + x2)
        return (KEPT * given + F.pixel_shuffle(self.leave(y2), 2))[:, 0]


class LoneRefiner(nn.Module):
    """A student of which there is nothing but the refiner."""

    def __init__(self) -> None:
        super().__init__()
        self.refiner = Refiner()

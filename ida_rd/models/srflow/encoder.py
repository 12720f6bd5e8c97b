"""The LR encoder of SRFlow: a residual-in-residual dense network (RRDB).

References
----------
.. [1] Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018.
.. [2] Lugmayr et al., "SRFlow: learning the super-resolution space with normalizing flow", ECCV 2020.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.srflow.config import SRFlowConfig

__all__ = ["Features", "RRDBEncoder", "resize_blocks"]

RESIDUAL_SCALE = 0.2
SLOPE = 0.2  # of the leaky rectifiers


class Features(NamedTuple):
    """What the flow is conditioned on.

    Attributes
    ----------
    levels : list of Tensor
        The encoder's own features per flow level, finest first: (B, nf, H / 2^l, W / 2^l).
    blocks : Tensor
        Stacked outputs of the chosen blocks at LR size, (B, nf * #stacked, h, w).
    """

    levels: list[Tensor]
    blocks: Tensor

    def conditioning(self, level: int) -> Tensor:
        """All conditioning channels of a level (from 0, finest first): own features, then block outputs."""
        own = self.levels[level]
        return torch.cat([own, resize_blocks(self.blocks, own.shape[-1])], dim=1)


def resize_blocks(blocks: Tensor, width: int) -> Tensor:
    """Bring block outputs to a level's width by nearest neighbour (down: the top-left of each 2 x 2)."""
    if width < blocks.shape[-1]:
        return blocks[:, :, ::2, ::2]
    ratio = width // blocks.shape[-1]
    return blocks if ratio == 1 else F.interpolate(blocks, scale_factor=ratio, mode="nearest")


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _rectify(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class DenseBlock(nn.Module):
    """Five densely connected convolutions with a scaled residual [1]_."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            with torch.no_grad():
                conv.weight.mul_(0.1)
            nn.init.zeros_(cast(Tensor, conv.bias))

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            dense = torch.cat([dense, _rectify(conv(dense))], dim=1)
        return x + RESIDUAL_SCALE * self.conv5(dense)


class RRDB(nn.Module):
    """Three dense blocks with a scaled residual around them [1]_."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(features, growth)
        self.RDB2 = DenseBlock(features, growth)
        self.RDB3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL_SCALE * self.RDB3(self.RDB2(self.RDB1(x)))


class RRDBEncoder(nn.Module):
    """LR image to the features of every flow level, and to an image of its own for pre-training.

    Parameters
    ----------
    config : SRFlowConfig
    """

    def __init__(self, config: SRFlowConfig) -> None:
        super().__init__()
        self.config = config
        width = config.features
        self.conv_first = _conv(3, width)
        self.RRDB_trunk = nn.ModuleList(RRDB(width, config.growth) for _ in range(config.blocks))
        self.trunk_conv = _conv(width, width)
        self.upconv1 = _conv(width, width)
        self.upconv2 = _conv(width, width)
        if config.factor == 8:
            self.upconv3 = _conv(width, width)
        self.HRconv = _conv(width, width)
        self.conv_last = _conv(width, 3)

    def _ups(self) -> list[nn.Conv2d]:
        return [self.upconv1, self.upconv2, *([self.upconv3] if self.config.factor == 8 else [])]

    def _trunk(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        f = self.conv_first(lr)
        kept = {}
        for i, block in enumerate(self.RRDB_trunk):
            f = block(f)
            if i in self.config.stacked:
                kept[i] = f
        return f + self.trunk_conv(f), torch.cat([kept[i] for i in self.config.stacked], dim=1)

    def forward(self, lr: Tensor) -> Features:
        """Compute the features of (B, 3, h, w) LR images in [0, 1]; h and w even."""
        last, blocks = self._trunk(lr)
        levels = [F.avg_pool2d(last, 2), last]
        for up in self._ups()[:-1]:  # the flow does not reach the resolution of the last one
            levels.append(_rectify(up(F.interpolate(levels[-1], scale_factor=2, mode="nearest"))))
        return Features(levels[::-1], blocks)

    def image(self, lr: Tensor) -> Tensor:
        """The encoder's own reconstruction, (B, 3, H, W): what it is pre-trained by."""
        return self.head(self(lr))

    def head(self, features: Features) -> Tensor:
        """From the finest features to the encoder's own reconstruction."""
        up = self._ups()[-1]
        x = _rectify(up(F.interpolate(features.levels[0], scale_factor=2, mode="nearest")))
        return self.conv_last(_rectify(self.HRconv(x)))

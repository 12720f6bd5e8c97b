"""What the coupling blocks of IRN compute by: a dense block, or the smaller distilled one of a variant (FIRN).

The names of the layers are those of the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DenseSubnet", "DistilledSubnet", "Reduced"]

SLOPE = 0.2  # of every leaky ReLU
LAYERS = 4  # of a dense block, before its last


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class DenseSubnet(nn.Module):
    """Five 3 x 3 convolutions, each of the input and all earlier outputs; nothing but zero before it is trained.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    growth : int
        Channels of each but the last convolution's output.
    """

    def __init__(self, inputs: int, outputs: int, growth: int) -> None:
        super().__init__()
        for i in range(LAYERS):
            conv = nn.Conv2d(inputs + i * growth, growth, 3, padding=1)
            nn.init.xavier_normal_(conv.weight, 0.1)
            nn.init.zeros_(_bias(conv))
            self.add_module(f"conv{i + 1}", conv)
        self.conv5 = nn.Conv2d(inputs + LAYERS * growth, outputs, 3, padding=1)
        nn.init.zeros_(self.conv5.weight)
        nn.init.zeros_(_bias(self.conv5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        if self.conv5.weight.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        for i in range(LAYERS):
            x = torch.cat([x, F.leaky_relu(self.get_submodule(f"conv{i + 1}")(x), SLOPE, inplace=True)], 1)
        return self.conv5(x)


class Reduced(nn.Sequential):
    """A 1 x 1 convolution to fewer channels and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1), nn.LeakyReLU(SLOPE))


class _Attention(nn.Module):
    """Every value weighed by a sigmoid of all channels at its pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class DistilledSubnet(nn.Module):
    """FIRN's subnet: three residual convolutions, of each of which a part is set aside, and attention by pixel.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    ratio : float
        Width of what is set aside by that of the input; above 1 the input is widened first.
    """

    def __init__(self, inputs: int, outputs: int, ratio: float) -> None:
        super().__init__()
        aside = int(inputs * ratio)
        width = aside if ratio > 1 else inputs
        self.expandconv: nn.Module = nn.Conv2d(inputs, width, 3, padding=1) if ratio > 1 else nn.Identity()
        self.widens = ratio > 1
        for k in (1, 2, 3):
            self.add_module(f"c{k}_d", nn.Conv2d(width, aside, 1))
            self.add_module(f"c{k}_r", nn.Conv2d(width, width, 3, padding=1))
        self.c4 = nn.Conv2d(width, aside, 3, padding=1)
        self.c5 = nn.Conv2d(4 * aside, outputs, 1)
        self.PA = _Attention(outputs)
        # How FIRN begins is not published. Zero, as in the dense subnet: untrained, the network is the Haar pyramid.
        nn.init.zeros_(self.c5.weight)
        nn.init.zeros_(_bias(self.c5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        if self.widens:
            x = _leaky(self.expandconv(x))
        aside = []
        for k in (1, 2, 3):
            aside.append(_leaky(self.get_submodule(f"c{k}_d")(x)))
            x = _leaky(self.get_submodule(f"c{k}_r")(x) + x)
        aside.append(_leaky(self.c4(x)))
        return self.PA(self.c5(torch.cat(aside, 1)))


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias

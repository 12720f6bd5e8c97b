"""The generator of StyleGAN [1]_, at any resolution from 8 to 1024.

A latent z becomes an intermediate latent w (`Mapping`); one w per layer, its style, becomes an image (`Synthesis`).

References
----------
.. [1] Karras, Laine, Aila, "A style-based generator architecture for generative adversarial networks", CVPR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.stylegan.config import SynthesisConfig
from ida_rd.models.stylegan.layers import SLOPE, Conv, Epilogue, Linear, UpConv

__all__ = ["Mapping", "Synthesis"]

NORM_EPS = 1e-8
MAPPING_RATE = 0.01


class Mapping(nn.Module):
    """z to w: fully connected layers, each with a leaky ReLU, after a normalisation of z."""

    def __init__(self, width: int = 512, depth: int = 8) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        for i in range(depth):
            self.add_module(f"dense{i}", Linear(width, width, gain=math.sqrt(2), rate=MAPPING_RATE))

    def forward(self, z: Tensor) -> Tensor:
        """(B, width) to (B, width)."""
        x = z / torch.sqrt(z.square().mean(dim=1, keepdim=True) + NORM_EPS)
        for layer in self.children():
            x = F.leaky_relu(layer(x), SLOPE)
        return x


class FirstBlock(nn.Module):
    """4x4: a learned constant."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epi1 = Epilogue(channels, latent)
        self.conv = Conv(channels, channels, 3, 3, gain=math.sqrt(2))
        self.epi2 = Epilogue(channels, latent)

    def forward(self, styles: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        x = (self.const + self.bias[:, None, None]).expand(len(styles[0]), -1, -1, -1)
        x = self.epi1(x, styles[0], noise[0])
        return self.epi2(self.conv(x), styles[1], noise[1])


class Block(nn.Module):
    """Twice the side."""

    def __init__(self, inputs: int, channels: int, latent: int, side: int) -> None:
        super().__init__()
        self.conv0_up = UpConv(inputs, channels, side)
        self.epi1 = Epilogue(channels, latent)
        self.conv1 = Conv(channels, channels, 3, 3, gain=math.sqrt(2))
        self.epi2 = Epilogue(channels, latent)

    def forward(self, x: Tensor, styles: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        x = self.epi1(self.conv0_up(x), styles[0], noise[0])
        return self.epi2(self.conv1(x), styles[1], noise[1])


class Synthesis(nn.Module):
    """Styles and noise to an image, nominally in [-1, 1], not clamped."""

    def __init__(self, config: SynthesisConfig) -> None:
        super().__init__()
        self.config = config
        channels, latent = config.channels, config.latent
        blocks: dict[str, nn.Module] = {"4x4": FirstBlock(channels[0], latent)}
        for i in range(1, len(channels)):
            side = 2 ** (i + 2)
            blocks[f"{side}x{side}"] = Block(channels[i - 1], channels[i], latent, side)
        self.blocks = nn.ModuleDict(blocks)
        self.torgb = Conv(3, channels[-1], 1, 1)

    def forward(self, styles: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """Make an image.

        Parameters
        ----------
        styles : Tensor
            (B, layers, latent).
        noise : sequence of Tensor or None
            One map per layer, (B, 1, side, side); None: zeros.

        Returns
        -------
        Tensor
            (B, 3, resolution, resolution).
        """
        each = styles.unbind(dim=1)
        x: Tensor | None = None
        for r, block in enumerate(self.blocks.values()):
            pair = slice(2 * r, 2 * r + 2)
            x = block(each[pair], noise[pair]) if x is None else block(x, each[pair], noise[pair])
        return self.torgb(x)

"""ResShift's U-Net: it is shown the LR image and a noisy latent of the same sides, and finds the clean latent [1]_.

References
----------
.. [1] Yue, Wang, Loy, "ResShift: efficient diffusion model for image super-resolution by residual shifting",
   NeurIPS 2023.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.resshift.config import GROUPS, UNetConfig
from ida_rd.models.resshift.layout import IMAGE, Entry, Part, parts_of
from ida_rd.models.resshift.swin import SwinLayer

__all__ = ["UNet", "embed"]

LONGEST = 10_000.0  # of the wavelengths of the embedding, in units of 2 pi


def embed(t: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of steps: (B,) to (B, width)."""
    count = width // 2
    rates = torch.exp(-math.log(LONGEST) * torch.arange(count, dtype=t.dtype, device=t.device) / count)
    angles = t[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class _Block(nn.Module):
    """Residual block whose features are scaled and shifted by what the step decides."""

    def __init__(self, inside: int, outside: int, embedded: int) -> None:
        super().__init__()
        conv = nn.Conv2d(inside, outside, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, inside), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedded, 2 * outside))
        # The place of the published network's dropout, which is 0, is kept for the numbers in the names.
        conv = nn.Conv2d(outside, outside, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, outside), nn.SiLU(), nn.Identity(), conv)
        self.skip_connection = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.emb_layers(embedded)[:, :, None, None].chunk(2, dim=1)
        found = self.out_layers[0](self.in_layers(x)) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[1:](found)


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """The network."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        embedded, parts = 4 * config.base, parts_of(config)
        self.time_embed = nn.Sequential(nn.Linear(config.base, embedded), nn.SiLU(), nn.Linear(embedded, embedded))

        def made(part: Part) -> nn.Module:
            if part.kind == "conv":
                return nn.Conv2d(part.inside, part.outside, 3, padding=1)
            if part.kind == "block":
                return _Block(part.inside, part.outside, embedded)
            if part.kind == "swin":
                return SwinLayer(part.outside, config, part.shifted)
            return (_Down if part.kind == "down" else _Up)(part.outside)

        def entry(layers: Entry) -> nn.ModuleList:
            return nn.ModuleList(map(made, layers))

        self.input_blocks = nn.ModuleList(map(entry, parts.downs))
        self.middle_block = entry(parts.mid)
        self.output_blocks = nn.ModuleList(map(entry, parts.ups))
        last = nn.Conv2d(config.widths[0], IMAGE, 3, padding=1)
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, config.widths[0]), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor, lr: Tensor) -> Tensor:
        """Find the clean latents.

        Parameters
        ----------
        x : Tensor
            (B, 3, h, w), noisy latents, scaled as `Shifting.scaled` does; sides are multiples of `UNetConfig.multiple`.
        t : Tensor
            (1 or B,), steps, from 0.
        lr : Tensor
            (1 or B, 3, h, w), LR images in [-1, 1].

        Returns
        -------
        Tensor
            (B, 3, h, w).
        """
        embedded = self.time_embed(embed(t.to(x), self.config.base))

        def through(entry: nn.Module, x: Tensor) -> Tensor:
            for layer in entry.children():
                x = layer(x, embedded) if isinstance(layer, _Block) else layer(x)
            return x

        x = torch.cat([x, lr.expand(len(x), -1, -1, -1)], dim=1)
        skips: list[Tensor] = []
        for entry in self.input_blocks:
            x = through(entry, x)
            skips.append(x)
        x = through(self.middle_block, x)
        for entry in self.output_blocks:
            x = through(entry, torch.cat([x, skips.pop()], dim=1))
        return self.out(x)

"""SR3: a U-Net that is told how noisy an image is, and finds its noise [1]_.

As in the public re-implementation: a residual block adds the embedded noise level to its features, and attention has
one head. Everything but attention is convolutional, so that images of any sides will do that are multiples of
`SR3Config.multiple`.

References
----------
.. [1] Saharia et al., "Image super-resolution via iterative refinement", TPAMI 2022.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.sr3.config import SR3Config
from ida_rd.models.sr3.layout import IMAGE, Part, parts_of

__all__ = ["SR3Net", "embed"]

LONGEST = 10_000.0  # of the wavelengths of the embedding, in units of 2 pi


def embed(level: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of noise levels in (0, 1]: (B,) to (B, width).

    Without a factor before the level, unlike most: over its range most of these waves are nearly straight.
    """
    count = width // 2
    rates = torch.arange(count, dtype=level.dtype, device=level.device) / count
    angles = level[:, None] * torch.exp(-math.log(LONGEST) * rates)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Embedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, level: Tensor) -> Tensor:
        return embed(level, self.width)


class _Block(nn.Module):
    """Normalisation, activation, dropout and convolution."""

    def __init__(self, inside: int, outside: int, groups: int, dropout: float = 0.0) -> None:
        super().__init__()
        conv = nn.Conv2d(inside, outside, 3, padding=1)
        self.block = nn.Sequential(nn.GroupNorm(groups, inside), nn.SiLU(), nn.Dropout(dropout), conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class _AddLevel(nn.Module):
    """Adds a number per channel that the embedded noise level decides."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(width, channels))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return x + self.noise_func(level)[:, :, None, None]


class _ResidualBlock(nn.Module):
    def __init__(self, inside: int, outside: int, config: SR3Config, dropout: float) -> None:
        super().__init__()
        self.noise_func = _AddLevel(config.base, outside)
        self.block1 = _Block(inside, outside, config.groups)
        self.block2 = _Block(outside, outside, config.groups, dropout)
        self.res_conv = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.block2(self.noise_func(self.block1(x), level)) + self.res_conv(x)


class _Attention(nn.Module):
    """One head over all pixels, whose map is never held as a whole."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # (B, 3 C, h, w) to three of (B, 1, pixels, C).
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).contiguous().chunk(3, dim=-1)
        found = F.scaled_dot_product_attention(q, k, v)
        return self.out(found.squeeze(1).transpose(1, 2).reshape(x.shape)) + x


class _Entry(nn.Module):
    """A residual block, with attention or without."""

    def __init__(self, part: Part, config: SR3Config, dropout: float) -> None:
        super().__init__()
        self.res_block = _ResidualBlock(part.inside, part.outside, config, dropout)
        self.attn = _Attention(part.outside, config.groups) if part.attention else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.attn(self.res_block(x, level))


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class SR3Net(nn.Module):
    """The network.

    Parameters
    ----------
    config : SR3Config
    dropout : float
        Share of the features that training leaves out in each block.
    """

    def __init__(self, config: SR3Config, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        base, parts = config.base, parts_of(config)
        self.noise_level_mlp = nn.Sequential(
            _Embedding(base), nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, base)
        )

        def made(part: Part) -> nn.Module:
            if part.kind == "conv":
                return nn.Conv2d(part.inside, part.outside, 3, padding=1)
            if part.kind == "block":
                return _Entry(part, config, dropout)
            return (_Down if part.kind == "down" else _Up)(part.outside)

        self.downs, self.mid, self.ups = (
            nn.ModuleList(map(made, entries)) for entries in (parts.downs, parts.mid, parts.ups)
        )
        self.final_conv = _Block(parts.last, IMAGE, config.groups)

    def initialise(self) -> None:
        """Orthogonal weights and zero biases, as published: for training."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, condition: Tensor, x: Tensor, level: Tensor) -> Tensor:
        """Find the noise of images.

        Parameters
        ----------
        condition : Tensor
            (1 or B, 3, H, W), LR images enlarged to the sides of HR images, in [-1, 1].
        x : Tensor
            (B, 3, H, W), noisy HR images: level times the image, plus sqrt(1 - level squared) times noise.
        level : Tensor
            (1 or B,), in (0, 1].

        Returns
        -------
        Tensor
            (B, 3, H, W).
        """
        embedded = self.noise_level_mlp(level)
        x = torch.cat([condition.expand(len(x), -1, -1, -1), x], dim=1)
        skips: list[Tensor] = []
        for layer in self.downs:
            x = layer(x, embedded) if isinstance(layer, _Entry) else layer(x)
            skips.append(x)
        for layer in self.mid:
            x = layer(x, embedded)
        for layer in self.ups:
            x = layer(torch.cat([x, skips.pop()], dim=1), embedded) if isinstance(layer, _Entry) else layer(x)
        return self.final_conv(x)

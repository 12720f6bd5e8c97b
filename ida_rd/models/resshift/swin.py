"""Swin layers [1]_ as ResShift has them: over feature maps, with normalisations of whole maps.

References
----------
.. [1] Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", ICCV 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.resshift.config import GROUPS, WINDOW, UNetConfig

__all__ = ["SwinLayer", "masked_pairs", "relative_index"]

SHIFT = WINDOW // 2
MASKED = -100.0
TOKENS = WINDOW * WINDOW


def relative_index(device: torch.device) -> Tensor:
    """Row of the table of biases for each pair of a window's tokens, (64, 64)."""
    place = torch.arange(TOKENS, device=device)
    row, column = place // WINDOW, place % WINDOW
    between = row[:, None] - row + WINDOW - 1, column[:, None] - column + WINDOW - 1
    return between[0] * (2 * WINDOW - 1) + between[1]


def masked_pairs(device: torch.device) -> Tensor:
    """Which tokens of a window of the last row do not see each other when windows are shifted, (64, 64), bool.

    Rows that a shift brought from the other side of the image should be kept apart, and columns. The published program
    keeps apart columns alone, in windows of the last row alone, and its weights were trained so: what would be right is
    wrong for them.
    """
    left = torch.arange(TOKENS, device=device) % WINDOW < SHIFT
    return left[:, None] != left


class _Attention(nn.Module):
    """Attention within windows."""

    def __init__(self, width: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.shifted = heads, shifted
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, breadth = x.shape
        rows, columns = height // WINDOW, breadth // WINDOW
        x = x.permute(0, 2, 3, 1)
        if self.shifted:
            x = x.roll((-SHIFT, -SHIFT), dims=(1, 2))
        qkv = self.qkv(x).view(batch, rows, WINDOW, columns, WINDOW, 3, self.heads, width // self.heads)
        # To (3, B, windows, heads, tokens, channels of a head).
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, batch, rows * columns, self.heads, TOKENS, -1)
        bias = self.relative_position_bias_table[relative_index(x.device)].permute(2, 0, 1).contiguous()
        if self.shifted:
            mask = masked_pairs(x.device).to(bias) * MASKED
            parts = [(qkv[:, :, :-columns], bias)] if rows > 1 else []
            parts.append((qkv[:, :, -columns:], bias + mask))
            found = torch.cat([_attended(*part) for part in parts], dim=1)
        else:
            found = _attended(qkv, bias)
        found = found.view(batch, rows, columns, self.heads, WINDOW, WINDOW, -1)
        found = self.proj(found.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, breadth, width))
        if self.shifted:
            found = found.roll((SHIFT, SHIFT), dims=(1, 2))
        return found.permute(0, 3, 1, 2)


def _attended(qkv: Tensor, bias: Tensor) -> Tensor:
    """(3, B, windows, heads, tokens, channels) to (B, windows, heads, tokens, channels)."""
    q, k, v = qkv.flatten(1, 2)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None]).view(qkv.shape[1:])


class _Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, config: UNetConfig, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, config.width)
        self.attn = _Attention(config.width, config.width // config.head, shifted)
        self.norm2 = nn.GroupNorm(GROUPS, config.width)
        self.mlp = _Perceptron(config.width, config.ratio * config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Projected(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class SwinLayer(nn.Module):
    """Two blocks between projections. What it is given is not added to what it gives.

    Parameters
    ----------
    channels : int
    config : UNetConfig
    shifted : bool
        Whether the windows of the second block are shifted by half their side.
    """

    def __init__(self, channels: int, config: UNetConfig, shifted: bool) -> None:
        super().__init__()
        self.patch_embed = _Projected(channels, config.width)
        self.blocks = nn.Sequential(_Block(config, False), _Block(config, shifted))
        self.patch_unembed = _Projected(config.width, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w), whose sides are multiples of a window's, to the same shape."""
        return self.patch_unembed(self.blocks(self.patch_embed(x)))

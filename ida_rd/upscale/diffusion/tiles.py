"""A network over a latent that is too large for it: overlapping tiles, averaged with Gaussian weights.

Only the network's output is averaged, not its noise: a chain's noise is that of the whole latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Window", "tiled", "weights", "windows"]

SHARPNESS = 0.01  # variance of the weights, in squared sides of a tile


class Window(NamedTuple):
    """Where a tile is: its first row and column, and its sides."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor, factor: int = 1) -> Tensor:
        """The part of an image (..., H, W), `factor` times as large as that of which the windows are."""
        rows = slice(self.top * factor, (self.top + self.height) * factor)
        return image[..., rows, self.left * factor : (self.left + self.width) * factor]


def _starts(length: int, tile: int, stride: int) -> list[int]:
    found = list(range(0, length - tile + 1, stride))
    return found if (length - tile) % stride == 0 else [*found, length - tile]


def windows(height: int, width: int, tile: int, stride: int) -> list[Window]:
    """Tiles that cover an image, row by row, at multiples of the stride and at the end; no larger than it."""
    if not 1 <= stride <= tile:
        raise ValueError(f"tiles of {tile} at every {stride} leave gaps")
    rows, columns = min(tile, height), min(tile, width)
    return [
        Window(top, left, rows, columns)
        for top in _starts(height, rows, stride)
        for left in _starts(width, columns, stride)
    ]


def _bell(length: int, middle: float) -> Tensor:
    at = (torch.arange(length, dtype=torch.float64) - middle) / length
    return torch.exp(-(at**2) / (2 * SHARPNESS)) / math.sqrt(2 * math.pi * SHARPNESS)


def weights(height: int, width: int) -> Tensor:
    """Weights of a tile's elements, (height, width), float64.

    The rows' bell is half an element off the middle, and the columns' is not, as published.
    """
    return torch.outer(_bell(height, height / 2), _bell(width, (width - 1) / 2))


def tiled(network: Callable[[Tensor, Window], Tensor], x: Tensor, tile: int, stride: int, *, factor: int = 1) -> Tensor:
    """The output of a network for (B, C, H, W), from those for its tiles.

    Parameters
    ----------
    network : callable
        Given a tile, and its window, by which it cuts what else it needs.
    x : Tensor
    tile, stride : int
        Side of the tiles, and distance between them.
    factor : int
        How much larger the output is.
    """
    places = windows(x.shape[2], x.shape[3], tile, stride)
    if len(places) == 1:
        return network(x, places[0])
    by = weights(places[0].height * factor, places[0].width * factor).to(x)
    total = torch.zeros([side * factor for side in x.shape[2:]], dtype=x.dtype, device=x.device)
    found: Tensor | None = None
    for window in places:
        part = network(window.of(x), window)
        if found is None:
            found = part.new_zeros((*part.shape[:2], *total.shape))
        window.of(found, factor).add_(part * by)
        window.of(total, factor).add_(by)
    assert found is not None
    return found / total

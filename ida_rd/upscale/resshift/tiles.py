"""Where the tiles of an image lie, and how one is made as large as a network needs it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Tile", "padded", "starts", "tiles_of"]


class Tile(NamedTuple):
    """A part of an LR image, in pixels: where it begins, and its size without padding."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor, factor: int = 1) -> Tensor:
        """What it covers of an image `factor` times as large, (..., H, W): a view."""
        top, left = factor * self.top, factor * self.left
        return image[..., top : top + factor * self.height, left : left + factor * self.width]


def starts(length: int, tile: int, stride: int) -> list[int]:
    """Where tiles begin along a side: every `stride`, the last one, or the last few, moved back into the image."""
    if length <= tile:
        return [0]
    return list(dict.fromkeys(min(start, length - tile) for start in range(0, length, stride)))


def tiles_of(height: int, width: int, tile: int, stride: int) -> list[Tile]:
    """The tiles of an image, row by row."""
    return [
        Tile(top, left, min(tile, height), min(tile, width))
        for top in starts(height, tile, stride)
        for left in starts(width, tile, stride)
    ]


def padded(image: Tensor, multiple: int) -> Tensor:
    """Extend an image, (..., H, W), at the bottom and right by reflection to sides that are multiples of `multiple`.

    A side that is shorter than what is added is reflected again and again.
    """
    for axis in (-2, -1):
        side = image.shape[axis]
        if side % multiple:
            place = torch.arange(-(-side // multiple) * multiple, device=image.device) % max(2 * (side - 1), 1)
            image = image.index_select(axis, torch.minimum(place, 2 * (side - 1) - place))
    return image

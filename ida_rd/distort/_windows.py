"""Gaussian windows as two passes of one dimension, in bands of rows that fit a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bands", "gaussian", "halved", "luma", "pooled", "slid"]

BAND = 2**16  # values at once
LEAST_ROWS = 64  # of a band: those beside it are read twice


def gaussian(size: int, sigma: float) -> list[float]:
    """A window of `size` weights that sum to one; the square of the two-dimensional one is its outer product."""
    offsets = np.arange(size) - (size - 1) / 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    return [float(weight) for weight in weights / weights.sum()]


def slid(images: Tensor, window: list[float], step: int = 1) -> Tensor:
    """Weighted means under a window wherever all of it lies in the image: (..., H, W) to (..., h, w).

    Parameters
    ----------
    images : Tensor
    window : list of float
        Of each of both directions.
    step : int
        1: at every position; 2: at every second.
    """
    for axis in (-2, -1):
        count = (images.shape[axis] - len(window)) // step + 1
        total = None
        for i, weight in enumerate(window):
            places = slice(i, i + (count - 1) * step + 1, step)
            part = images[..., places] if axis == -1 else images[..., places, :]
            total = part * weight if total is None else total.add_(part, alpha=weight)
        assert total is not None
        images = total
    return images


def bands(height: int, row: int, window: int) -> Iterator[slice]:
    """Rows that give one band of results after another, for `row` values in each row."""
    rows = max(LEAST_ROWS, BAND // row)
    count = height - window + 1
    return (slice(first, min(first + rows, count) + window - 1) for first in range(0, count, rows))


def pooled(images: Tensor) -> Tensor:
    """Shrink by averages until the shorter side is nearest to 256, as the authors of SSIM and FSIM advise."""
    from torch.nn.functional import avg_pool2d

    factor = max(1, round(min(images.shape[-2:]) / 256))
    return avg_pool2d(images[None], factor)[0] if factor > 1 else images


def halved(images: Tensor) -> Tensor:
    """Halve by averages; of an odd side the first row or column counts twice, and with it that of the other side."""
    from torch.nn.functional import avg_pool2d, pad

    if odd := max(images.shape[-2] % 2, images.shape[-1] % 2):
        images = pad(images[None], (odd, 0, odd, 0), mode="replicate")[0]
    return avg_pool2d(images[None], 2)[0]


def luma(image: NDArray[np.uint8], device: str) -> Tensor:
    """Luma of (3, H, W), 0 to 255, float64 (H, W)."""
    import torch

    red, green, blue = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    return red.double().mul_(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)

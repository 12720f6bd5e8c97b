"""In what an image is looked at, besides its pixels: wavelets, features of fixed filters, and projections of these.

Wavelets are Haar's, of brightness and two opponent colours, as many octaves as the LR image lacks. Features are the
amplitudes of `ida_rd.training.losses.OrientedFeatures`, three scales of oriented filters with divisive normalisation,
averaged over cells: what texture is where, whatever its phase. Nothing in them is learned, so that a card needs no
weights, and no decoder was trained on a network that judges it. (The embedded flow was trained by those filters too, by
their phase besides: in these features it does not look worse than it is.)
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.seeds import generator

if TYPE_CHECKING:
    from ida_rd.training.losses import OrientedFeatures

__all__ = ["CELL", "LEAST", "features", "octaves", "projections", "wavelets"]

CELL = 32  # pixels: side of the cells over which features are averaged
LEAST = 28  # pixels: side that the filters need
PROJECTIONS = 16
# Columns: brightness, and two opponent colours; orthonormal.
OPPONENT = np.array([[1, 1, 1], [1, 0, -2], [1, -1, 1]]) / np.sqrt([3, 2, 6])


def octaves(factor: int) -> int:
    """How many octaves of detail an LR image lacks, at least 1."""
    return max(1, int(math.log2(factor)))


def wavelets(images: NDArray, count: int) -> list[NDArray]:
    """Detail coefficients of images (..., H, W, 3), the finest octave first, (..., n) each; orthonormal.

    Rows and columns that `count` halvings do not divide are left out.
    """
    step = 2**count
    height, width = (side - side % step for side in images.shape[-3:-1])
    low: NDArray = images[..., :height, :width, :].astype(np.float32) @ OPPONENT.astype(np.float32)
    found = []
    for _ in range(count):
        top, bottom = low[..., 0::2, :, :], low[..., 1::2, :, :]
        sums, differences = (top + bottom) / 2, (top - bottom) / 2
        details = [
            sums[..., 0::2, :] - sums[..., 1::2, :],
            differences[..., 0::2, :] + differences[..., 1::2, :],
            differences[..., 0::2, :] - differences[..., 1::2, :],
        ]
        low = sums[..., 0::2, :] + sums[..., 1::2, :]
        found.append(np.stack(details, axis=-1).reshape(*images.shape[:-3], -1))
    return found


@lru_cache(maxsize=1)
def _filters() -> OrientedFeatures:
    from ida_rd.training.losses import OrientedFeatures

    return OrientedFeatures().eval()


def features(images: NDArray) -> NDArray[np.float32]:
    """Amplitudes of oriented filters, averaged over cells: (B, P, C) of images (B, H, W, 3) in grey levels.

    Both sides have at least `LEAST` pixels. Cells are about `CELL` pixels wide; there is at least one.
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    cells = max(1, images.shape[1] // CELL), max(1, images.shape[2] // CELL)
    with torch.inference_mode():
        planes = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).permute(0, 3, 1, 2) / 255
        scales = _filters()(planes)
        # Responses come first, two for each amplitude.
        pooled = [adaptive_avg_pool2d(scale[:, 2 * scale.shape[1] // 3 :], cells) for scale in scales]
        return torch.cat(pooled, dim=1).flatten(2).permute(0, 2, 1).contiguous().numpy()


def projections(found: NDArray) -> NDArray:
    """Features (..., C) along fixed random directions, (..., `PROJECTIONS`)."""
    drawn = generator("calibration projections", found.shape[-1]).standard_normal((found.shape[-1], PROJECTIONS))
    return found @ (drawn / np.linalg.norm(drawn, axis=0)).astype(found.dtype)

"""36 features of every patch of an image ([1]_ of `ida_rd.quality.niqe`, section II)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from ida_rd.quality._natural import Floats, halved, luma, normalised, products, scale_of, skewed

__all__ = ["FEATURES", "SIDE", "features", "tiles_of"]

SIDE = 96
SCALES = (1, 2)
FEATURES = 36
MOST_PIXELS = 1 << 20  # of the patches that are fitted at a time, so that large photographs need little memory


def tiles_of(height: int, width: int) -> int:
    """How many patches an image has."""
    return (height // SIDE) * (width // SIDE)


def features(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Measure all patches of an image.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8, at least one patch; what is left at the right and below is not looked at.

    Returns
    -------
    features : ndarray
        (N, 36), column of patches by column; a row with NaN is of a patch without detail.
    sharpness : ndarray
        (N,), mean of the local standard deviation.
    """
    height, width = (side // SIDE * SIDE for side in image.shape[:2])
    grey = luma(image[:height, :width])
    columns: list[Floats] = []
    sharpness = np.empty(0)
    for scale in SCALES:
        values, deviation = normalised(grey, "nearest")
        tiles = _cut(values, SIDE // scale)
        step = max(1, MOST_PIXELS // tiles[0].size)
        columns.append(np.concatenate([_of(tiles[i : i + step]) for i in range(0, len(tiles), step)]))
        if scale == 1:
            sharpness = _cut(deviation, SIDE).mean(axis=(1, 2))
            grey = halved(grey)
    return np.hstack(columns), sharpness


def _cut(values: Floats, side: int) -> Floats:
    """Square tiles (N, side, side), rows fastest."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    cut = values.reshape(rows, side, columns, side).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(cut).reshape(rows * columns, side, side)


def _of(tiles: Floats) -> Floats:
    """The 18 features of one scale; (N, 18)."""
    shape, left, right = skewed(tiles.reshape(len(tiles), -1))
    scale = scale_of(shape)
    found = [shape, (left + right) * scale / 2]
    for product in products(tiles):
        shape, left, right = skewed(product.reshape(len(tiles), -1))
        scale = scale_of(shape)
        mean = (right - left) * scale * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, mean, left * scale, right * scale]
    return np.stack(found, axis=1)

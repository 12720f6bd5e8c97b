"""Statistics of natural images that NIQE and BRISQUE share, as the released programs compute them, in float64.

Values are grey levels, 0 to 255. Where an image is constant, the normalised value is mathematically 0, but rounding
leaves some 1e-15 of either sign, and the fit below counts signs: what is smaller than `SNAP` becomes 0.

References
----------
.. [1] Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain", IEEE TIP 21(12), 2012.
.. [2] Mittal, Soundararajan, Bovik, "Making a 'completely blind' image quality analyzer", IEEE SPL 20(3), 2013.
.. [3] Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import gamma

__all__ = ["SHAPES", "Skewed", "halved", "luma", "nearest_shape", "normalised", "products", "scale_of", "skewed"]

Floats = NDArray[np.float64]

LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)
SNAP = 1e-9
WINDOW = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
WINDOW /= WINDOW.sum()
# Keys' bicubic kernel, stretched by 2: whole numbers over a power of 2, so that the reduction is exact.
HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256

SHAPES = np.arange(200, 10001) / 1000
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))  # rises with the shape
_BETWEEN = (RATIOS[1:] + RATIOS[:-1]) / 2


class Skewed(NamedTuple):
    """Asymmetric generalised Gaussians: shape, and root mean square of the negative and of the positive values."""

    shape: Floats
    left: Floats
    right: Floats


def luma(image: NDArray[np.uint8]) -> Floats:
    """Grey levels of (H, W, 3), rounded to whole numbers; (H, W)."""
    red, green, blue = (image[..., i].astype(np.float64) for i in range(3))
    return np.floor(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + 0.5)


def normalised(grey: Floats, border: Literal["nearest", "constant"]) -> tuple[Floats, Floats]:
    """Subtract the local mean and divide by the local standard deviation plus 1 ([1]_, equation 1).

    Parameters
    ----------
    grey : ndarray
        (H, W).
    border : str
        ``nearest`` continues the image beyond its border, ``constant`` takes 0 there.

    Returns
    -------
    values, deviation : ndarray
        (H, W) each.
    """
    mean = _weighed(grey, border)
    deviation = np.sqrt(np.abs(_weighed(grey * grey, border) - mean * mean))
    values = (grey - mean) / (deviation + 1)
    values[np.abs(values) < SNAP] = 0
    return values, deviation


def _weighed(grey: Floats, border: str) -> Floats:
    return correlate1d(correlate1d(grey, WINDOW, axis=0, mode=border), WINDOW, axis=1, mode=border)


def halved(grey: Floats) -> Floats:
    """Reduce (H, W) to half, rounded up, by the bicubic filter of MATLAB's ``imresize``; the border is mirrored."""
    for axis in (0, 1):
        size = -(-grey.shape[axis] // 2)
        padded = np.pad(np.moveaxis(grey, axis, 0), ((3, 4), (0, 0)), mode="symmetric")
        parts = (weight * padded[k : k + 2 * size : 2] for k, weight in enumerate(HALVING))
        grey = np.moveaxis(sum(parts, start=np.zeros((size, padded.shape[1]))), 0, axis)
    return np.ascontiguousarray(grey)


def products(values: Floats) -> Iterator[Floats]:
    """Each value times its neighbour: right, below, and on the two diagonals; (N, H, W), wrapped around."""
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        yield values * np.roll(values, shift, axis=(1, 2))


def nearest_shape(ratio: Floats) -> Floats:
    """The entry of the table whose ``Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a))`` is nearest, the first of equals."""
    return SHAPES[np.searchsorted(_BETWEEN, ratio, side="left")]


def skewed(values: Floats) -> Skewed:
    """Fit by moments ([3]_), row by row.

    Parameters
    ----------
    values : ndarray
        (N, M). Zeros belong to neither side.

    Returns
    -------
    Skewed
        (N,) each; NaN where a row has no negative or no positive value.
    """
    below, above = np.minimum(values, 0), np.maximum(values, 0)
    size = values.shape[1]
    squares = [np.einsum("nm,nm->n", side, side) for side in (below, above)]
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (
            np.sqrt(total / np.count_nonzero(side, axis=1)) for total, side in zip(squares, (below, above), strict=True)
        )
        skew = left / right
        even = ((above.sum(axis=1) - below.sum(axis=1)) / size) ** 2 / ((squares[0] + squares[1]) / size)
        ratio = even * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    whole = np.isfinite(ratio) & (left > 0) & (right > 0)
    return Skewed(*(np.where(whole, part, np.nan) for part in (nearest_shape(np.where(whole, ratio, 0)), left, right)))


def scale_of(shape: Floats) -> Floats:
    """``sqrt(Gamma(1/a) / Gamma(3/a))``: the scale of a generalised Gaussian of variance 1."""
    return np.sqrt(gamma(1 / shape) / gamma(3 / shape))

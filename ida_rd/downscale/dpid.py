"""DPID: rapid, detail-preserving image downscaling [1]_.

An LR pixel is a weighted mean of its HR pixels; the further a pixel is from a smoothed, small version
of the image, the more it counts, so that small details survive.

References
----------
.. [1] Weber, Waechter, Amend, Guthe, Goesele, "Rapid, detail-preserving image downscaling",
       ACM Transactions on Graphics 35(6), 2016.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.eight_bit import levels_of, round_levels

__all__ = ["REACH", "Parameters", "downscale", "dpid"]

HARMLESS = ("lambda", "variant")

Variant = Literal["real", "matlab_official", "cuda"]
REACH = 1  # the guide is smoothed over 3 x 3 LR pixels


class Parameters(Base):
    """Parameters of `dpid`."""

    lam: float = Field(default=1.0, ge=0, le=20, alias="lambda", description="weight of details; 0: the area average")
    variant: Variant = Field(
        default="real",
        description="real: the paper's equations; matlab_official, cuda: the published programs, with their slips",
    )


def dpid(image: NDArray, size: tuple[int, int], *, lam: float = 1.0, variant: Variant = "real") -> NDArray[np.float64]:
    """Downscale by DPID [1]_, equations 3 to 5, to any smaller size.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8, or float in [0, 1]; sRGB.
    size : tuple of int
        (h, w), at most (H, W).
    lam : float
        The exponent lambda.
    variant : str
        ``real``: the paper's equations. ``matlab_official``: the published dpid.m, whose rows are
        weighted by their distance to the lower edge of the LR pixel, by a slip in one comparison.
        ``cuda``: the published CUDA program, which truncates the small image to 8 bits before it is
        smoothed, and the result in the end (uint8 only).

    Returns
    -------
    ndarray
        (h, w, 3), float64, in the units of `image`, within its range.
    """
    from ida_rd.downscale.kernels import coverage_means, weighted_means

    white = levels_of(image)
    if variant == "cuda" and white != 255:
        raise ValueError("variant cuda truncates to 8 bits: give it uint8")
    rows = _coverage(image.shape[0], size[0], ramp=variant == "matlab_official")
    columns = _coverage(image.shape[1], size[1])
    small = coverage_means(image, *rows, *columns)
    guide = _smooth(np.floor(small) if variant == "cuda" else small)
    result = weighted_means(image, guide, 1 / (white * 3**0.5), float(lam), *rows, *columns)
    return np.floor(result) if variant == "cuda" else result


def _coverage(pixels: int, size: int, ramp: bool = False) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First HR pixel of every LR pixel, (size,), and how much of it and of the next ones it covers, (size, k)."""
    ratio = pixels / size
    o = np.arange(size)
    start, end = o * ratio, (o + 1) * ratio
    first, last = np.floor(start).astype(np.int64), np.minimum(np.ceil(end), pixels).astype(np.int64)
    count = int((last - first).max())
    first = np.minimum(first, pixels - count)  # so that all have `count` pixels; those outside weigh nothing
    i = first[:, None] + np.arange(count)
    weights = np.clip(1 - np.maximum(0, start[:, None] - i), 0, None)
    below = end[:, None] - i  # of a pixel that reaches beyond the end, this much is inside
    weights = weights * np.clip(below, 0, None if ramp else 1)
    return first, weights


def _smooth(small: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of 3 x 3 neighbours, weighted 1 2 1 by 1 2 1; those outside the image are left out."""
    total, weight = small, np.ones(small.shape[:2])
    for axis in (0, 1):
        total, weight = _one_two_one(total, axis), _one_two_one(weight, axis)
    return total / weight[:, :, None]


def _one_two_one(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    x = np.moveaxis(x, axis, 0)
    out = 2 * x
    out[1:] += x[:-1]
    out[:-1] += x[1:]
    return np.moveaxis(out, 0, axis)


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    lam: float = 1.0,
    variant: Variant = "real",
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) uint8 to `size` (h, w); see `dpid`. Deterministic: `rng` is not used."""
    return round_levels(dpid(hr, size, lam=lam, variant=variant))

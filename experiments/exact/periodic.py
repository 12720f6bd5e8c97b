"""Pillow's filters without borders, and Gaussian blur: downscalers that are linear on a torus, up to 8-bit rounding.

The decoder has kernels of its own (`ida_rd.models.linear_filters`). These here are Pillow's, in floating point, on the
image continued periodically, so that nothing is tested against itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import correlate1d

MARGIN = 4  # LR pixels: beyond lanczos, the widest
BLUR = 0.5  # standard deviation, in LR pixels, up to 4 of them


def _blurred(plane: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Gaussian blur, centred on each LR pixel's cell, then every factor-th pixel."""
    centre = (factor - 1) / 2
    reach = int(np.ceil(centre + 4 * BLUR * factor))
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * ((places - centre) / (BLUR * factor)) ** 2)
    weights[np.abs(places - centre) > 4 * BLUR * factor] = 0
    for axis in (0, 1):
        plane = correlate1d(plane, weights / weights.sum(), axis=axis, mode="wrap")
    return plane[::factor, ::factor]


def _pillow(plane: NDArray[np.float64], factor: int, name: str) -> NDArray[np.float64]:
    wide = np.pad(plane, MARGIN * factor, mode="wrap")
    size = (wide.shape[1] // factor, wide.shape[0] // factor)
    reduced = Image.fromarray(wide.astype(np.float32)).resize(size, Image.Resampling[name.upper()])
    return np.asarray(reduced, np.float64)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def reduce(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, filter: str, noise: float = 0.0
) -> NDArray[np.uint8]:
    """Reduce an image (H, W, 3), add Gaussian noise of standard deviation `noise` levels, round to 8 bits."""
    factor = hr.shape[0] // size[0]
    planes = hr.transpose(2, 0, 1).astype(np.float64)
    lr = np.stack(
        [_blurred(plane, factor) if filter == "gaussian" else _pillow(plane, factor, filter) for plane in planes],
        axis=2,
    )
    if noise > 0:
        lr += noise * rng.standard_normal(lr.shape)
    return np.clip(np.rint(lr), 0, 255).astype(np.uint8)

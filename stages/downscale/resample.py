"""The classic filters, by Pillow: the downscalers of the official IDA-RD code, bit for bit.

The antialiased filters scale their kernel with the factor; ``nearest`` picks one pixel. The
arithmetic is Pillow's 8-bit one: two passes, each rounded and clipped to uint8.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.methods import Parameters as Base

__all__ = ["Parameters", "downscale"]


class Parameters(Base):
    """``filter``: the kernel. ``backend``: whose implementation; part of the result's identity."""

    filter: Literal["box", "bilinear", "hamming", "bicubic", "lanczos", "nearest"]
    backend: Literal["pillow"] = "pillow"


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, filter: str, backend: str = "pillow"
) -> NDArray[np.uint8]:
    """Resize with one of Pillow's filters.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB.
    size : tuple of int
        (h, w) of the LR image.
    rng : Generator
        Not used.
    filter : str
        ``box``, ``bilinear``, ``hamming``, ``bicubic`` (Keys, a = -0.5), ``lanczos`` (3 lobes) or
        ``nearest``.
    backend : str
        ``pillow``.

    Returns
    -------
    ndarray
        (h, w, 3), uint8.
    """
    resampling = Image.Resampling[filter.upper()]
    return np.asarray(Image.fromarray(hr).resize((size[1], size[0]), resampling))

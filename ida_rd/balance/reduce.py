"""Reduce the chosen images to one size before anything is downscaled, for upscalers that make one size alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["reduced"]


def reduced(square: NDArray[np.uint8], side: int, name: str) -> NDArray[np.uint8]:
    """A square (S, S, 3) as (side, side, 3), by a filter of Pillow's, which is as wide as the reduction asks for."""
    if square.shape[0] == side:
        return square
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling[name.upper()]))

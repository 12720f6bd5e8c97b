"""From grey levels to 8 bits, for the downscalers and degradations of this project."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["levels_of", "round_levels"]


def round_levels(levels: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey levels of any shape, 0 to 255, to uint8: half up, clipped."""
    return np.clip(np.floor(levels + 0.5), 0, 255).astype(np.uint8)


def levels_of(image: NDArray) -> int:
    """The value of white in an image: 255 for uint8, 1 for floats.

    Raises
    ------
    TypeError
        For other types.
    """
    if image.dtype == np.uint8:
        return 255
    if image.dtype.kind == "f":
        return 1
    raise TypeError(f"images are uint8, or floats in [0, 1], not {image.dtype}")

"""Images without structure: a blank page, a clear sky. A similarity of structures says little of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["WITHOUT_STRUCTURE", "has_structure", "structure_warning"]

WITHOUT_STRUCTURE = "without_structure"  # column of the manifest and of the table of images
LEVELS = 8  # what noise and a compressor's blocks differ from the colour that they are on
SHARE = 0.001  # a speck of dust is no structure


def has_structure(image: NDArray[np.uint8]) -> bool:
    """Whether more than one pixel in a thousand differs by more than 8 levels from the image's median, in any channel.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8.
    """
    for channel in np.moveaxis(image, 2, 0):
        counts = np.bincount(channel.ravel(), minlength=256)
        middle = int(np.searchsorted(counts.cumsum(), channel.size / 2))
        near = counts[max(middle - LEVELS, 0) : middle + LEVELS + 1].sum()
        if channel.size - near > SHARE * channel.size:
            return True
    return False


def structure_warning(names: list[str], count: int) -> str:
    """What to say of images without structure, of `count` in all."""
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"warning: {len(names)} of {count} images have no structure, being nearly of one colour ({some}): similarities"
        " such as FSIM say little of them, and they count in every mean: leave them out, unless they are your subject"
    )

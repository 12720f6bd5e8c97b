"""Statistics of a photograph's appearance, by which pictures without people are balanced."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ida_rd.core.methods import Parameters

__all__ = ["NAMES", "Parameters", "image_statistics", "measure", "names"]

HARMLESS = ()
NAMES = ("luminance", "contrast", "colourfulness", "edge_density")
EDGE_THRESHOLD = 0.1  # gradient per pixel, on luma in [0, 1]


def names(parameters: Parameters) -> tuple[str, ...]:
    """What this source provides."""
    return NAMES


def measure(
    parameters: Parameters, wanted: list[str] | None
) -> Callable[[list[NDArray[np.uint8]]], list[dict[str, float]]]:
    """Return the function that measures images, (H, W, 3), uint8: all statistics, whichever are `wanted`."""
    return lambda images: [image_statistics(image) for image in images]


def image_statistics(image: NDArray[np.uint8]) -> dict[str, float]:
    """Compute the statistics of an image.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8, sRGB.

    Returns
    -------
    dict
        ``luminance``: mean luma (Rec. 709 weights on the gamma-encoded values), [0, 1];
        ``contrast``: standard deviation of luma (RMS contrast), [0, 0.5];
        ``colourfulness``: Hasler and Suesstrunk's M3 on values in [0, 255], 0 for grey, about 109 for
        extremely colourful (eq. in section 7 of [1]_);
        ``edge_density``: share of pixels whose Sobel gradient exceeds 0.1 per pixel, [0, 1].

    References
    ----------
    .. [1] Hasler, Suesstrunk, "Measuring colourfulness in natural images", Proc. SPIE 5007, 2003.
    """
    red, green, blue = np.moveaxis(image.astype(np.float64), 2, 0)
    luma = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
    red_green, yellow_blue = red - green, 0.5 * (red + green) - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    # Sobel's kernels sum to 8 over one step of two pixels: /8 makes it a gradient per pixel.
    gradient = np.hypot(ndimage.sobel(luma, 0, mode="nearest"), ndimage.sobel(luma, 1, mode="nearest")) / 8
    return {
        "luminance": float(luma.mean()),
        "contrast": float(luma.std()),
        "colourfulness": float(spread + 0.3 * offset),
        "edge_density": float((gradient > EDGE_THRESHOLD).mean()),
    }

"""Linear downscaling filters on a torus: kernels, taps, and what they do to each frequency.

An LR pixel is a weighted sum of HR pixels, and the image is periodic, so that there is no border. Along each axis LR
pixel k of a filter sums ``taps[j] * hr[factor k + first + j]``. The antialiased kernels are those of Pillow: widened by
the factor, sampled at HR pixels about the centre of the LR pixel, and normalised.

References
----------
.. [1] Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981, equation 4.
.. [2] Duchon, "Lanczos filtering in one and two dimensions", J. Applied Meteorology 18, 1979.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FILTERS", "Kernel", "aliases", "kernel_of", "over_aliases", "transfer"]

Array = NDArray[np.float64]
GAUSSIAN_SIGMA = 0.5  # in LR pixels
GAUSSIAN_RADIUS = 4.0  # in standard deviations


def _bilinear(x: Array) -> Array:
    return np.maximum(1 - np.abs(x), 0)


def _hamming(x: Array) -> Array:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)


def _bicubic(x: Array) -> Array:
    x = np.abs(x)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


def _lanczos(x: Array) -> Array:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _box(x: Array) -> Array:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _gaussian(x: Array) -> Array:
    return np.exp(-0.5 * (x / GAUSSIAN_SIGMA) ** 2)


# How far each kernel reaches, in LR pixels, and its values there.
KERNELS = {
    "box": (0.5, _box),
    "bilinear": (1.0, _bilinear),
    "hamming": (1.0, _hamming),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
    "gaussian": (GAUSSIAN_SIGMA * GAUSSIAN_RADIUS, _gaussian),
}
FILTERS = (*KERNELS, "nearest")


class Kernel(NamedTuple):
    """Weights along one axis, applied along both.

    Attributes
    ----------
    taps : ndarray
        (n,), weights; their sum is 1 for a filter that keeps the mean.
    first : int
        HR pixel of the first of them, from the first HR pixel of the LR pixel's own cell.
    """

    taps: Array
    first: int


def kernel_of(name: str, factor: int) -> Kernel:
    """The taps of one of `FILTERS`.

    ``nearest`` takes HR pixel ``factor // 2`` of each cell, as Pillow does; ``gaussian`` has a standard deviation of
    `GAUSSIAN_SIGMA` LR pixels.
    """
    if name == "nearest":
        return Kernel(np.ones(1), factor // 2)
    reach, kernel = KERNELS[name]
    centre = (factor - 1) / 2
    first, last = math.ceil(centre - reach * factor), math.floor(centre + reach * factor)
    taps = kernel((np.arange(first, last + 1) - centre) / factor)
    return Kernel(taps / taps.sum(), first)


def transfer(kernel: Kernel, height: int, width: int) -> NDArray[np.complex128]:
    """What a filter multiplies each HR frequency by, before HR pixels are left out.

    Returns
    -------
    ndarray
        (H, W), in the order of ``numpy.fft.fft2``. Taps beyond the image wrap around.
    """
    places = kernel.first + np.arange(len(kernel.taps))

    def along(side: int) -> NDArray[np.complex128]:
        waves: NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(np.fft.fftfreq(side), places))
        return waves @ kernel.taps.astype(np.complex128)

    return np.outer(along(height), along(width))


def aliases(spectrum: NDArray, factor: int) -> NDArray:
    """Bring together the HR frequencies that become one LR frequency.

    Parameters
    ----------
    spectrum : ndarray
        (..., H, W), in the order of ``numpy.fft.fft2``.
    factor : int

    Returns
    -------
    ndarray
        (..., factor, h, factor, w): a view; the axes of length factor number the aliases of each LR frequency (h, w).
    """
    *rest, height, width = spectrum.shape
    return spectrum.reshape(*rest, factor, height // factor, factor, width // factor)


def over_aliases(spectrum: NDArray, factor: int) -> NDArray:
    """Mean over the aliases of each LR frequency, (..., h, w): what leaving out HR pixels does to a transform."""
    return aliases(spectrum, factor).mean(axis=(-4, -2))

"""The cubic convolution kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cubic"]


def cubic(x: NDArray[np.float64], a: float = -0.5) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel [1]_, zero outside (-2, 2).

    Parameters
    ----------
    x : ndarray
        Distances from the centre, of any shape.
    a : float
        Slope at 1. -0.5 is Keys' (equation 4; Pillow's and MATLAB's bicubic), -0.75 is OpenCV's.

    References
    ----------
    .. [1] Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981.
    """
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))

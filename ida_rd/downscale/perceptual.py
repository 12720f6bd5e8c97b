"""Perceptually based downscaling: the LR image of highest SSIM to the HR image [1]_.

Patent notice: US 10,325,346 (ETH Zurich) covers perceptual downscaling. You must find out
yourself whether it concerns your use; here the method is only measured.

The authors' program is not public. What is computed follows the listing in the paper as public ports
quote it, on sRGB values and each channel by itself; ports differ in colour space and in what they do
with patches of little variance.

References
----------
.. [1] Öztireli, Gross, "Perceptually based downscaling of images", ACM Transactions on Graphics
       34(4), 2015.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.eight_bit import levels_of, round_levels

__all__ = ["REACH", "Parameters", "downscale", "perceptual", "reach"]

HARMLESS = ("patch", "eps")
LARGEST_PATCH = 16
REACH = LARGEST_PATCH - 1


class Parameters(Base):
    """Parameters of `perceptual`."""

    patch: int = Field(default=2, ge=1, le=LARGEST_PATCH, description="side of a patch, in LR pixels")
    eps: float = Field(
        default=1e-6, ge=1e-12, le=1, description="smallest variance in a patch that is scaled, for values in [0, 1]"
    )


def reach(parameters: Parameters) -> int:
    """LR pixels from a pixel to the far end of the patches that it is in."""
    return parameters.patch - 1


def perceptual(image: NDArray, factor: int, *, patch: int = 2, eps: float = 1e-6) -> NDArray[np.float64]:
    """Downscale by an integer factor [1]_, section 4.

    In every patch of patch x patch LR pixels, deviations of the block means L from their mean M are
    scaled by ``R = sqrt(variance of the HR pixels / variance of the block means)``, or by 0 where the
    latter is less than `eps`; the result is the mean of ``M + R (L - M)`` over the patches that a pixel
    is in.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8, or float in [0, 1]; H and W multiples of `factor`.
    factor : int
    patch : int
    eps : float

    Returns
    -------
    ndarray
        (H / factor, W / factor, 3), float64, in the units of `image`; overshoots its range.
    """
    from ida_rd.downscale.kernels import block_moments, ssim_optimal

    mean, variance = block_moments(image, factor)
    return ssim_optimal(mean, variance, patch, eps * levels_of(image) ** 2)


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, patch: int = 2, eps: float = 1e-6
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) uint8 to `size` (h, w); see `perceptual`. Deterministic: `rng` is not used."""
    return round_levels(perceptual(hr, hr.shape[0] // size[0], patch=patch, eps=eps))

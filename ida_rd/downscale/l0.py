"""L0-regularized downscaling, our reconstruction of Liu, He and Lau [1]_.

Their solver is not public. What is computed here is defined below and is *not* their program: it has
their framework (an L0 prior on gradients, a reconstruction prior, alternating minimisation), their
parameters and their defaults, but the exact energy, the border and the coupling of colours are ours.

References
----------
.. [1] Liu, He, Lau, "L0-regularized image downscaling", IEEE Transactions on Image Processing 27(3),
       2018.
.. [2] Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981.
.. [3] Xu, Lu, Xu, Jia, "Image smoothing via L0 gradient minimization", ACM TOG 30(6), 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.cubic import cubic
from ida_rd.downscale.eight_bit import levels_of, round_levels

__all__ = ["REACH", "Parameters", "downscale", "l0"]

HARMLESS = ("lambda", "kappa")
BETA_MAX = 1e5
# Every LR pixel depends on all others: the transforms are periodic, and the inverse of enlargement has no end. It fades
# fast. At this margin a few per cent of the grey levels of photographs differ, by one; what is left is rounding.
REACH = 12


class Parameters(Base):
    """Parameters of `l0`."""

    lam: float = Field(
        default=2e-4, ge=0, le=1, alias="lambda", description="weight of the number of LR pixels with a gradient"
    )
    kappa: float = Field(default=2.0, ge=1.1, le=100, description="growth of the penalty per iteration")


def l0(image: NDArray, factor: int, *, lam: float = 2e-4, kappa: float = 2.0) -> NDArray[np.float64]:
    """Downscale by an integer factor.

    Minimises ``|U D - H|^2 / factor^2 + lam * (number of pixels of D with a gradient)`` over D, U being
    bicubic enlargement (Keys' kernel [2]_, a = -0.5, half-pixel centres, periodic), by half-quadratic
    splitting [3]_: the penalty beta begins at ``2 lam`` and grows by `kappa` until it reaches 1e5. The
    three channels share their gradients.

    Parameters
    ----------
    image : ndarray
        (H, W, 3), uint8, or float in [0, 1]; H and W multiples of `factor`.
    factor : int
    lam : float
        For values in [0, 1].
    kappa : float

    Returns
    -------
    ndarray
        (H / factor, W / factor, 3), float64, in the units of `image`; overshoots its range.
    """
    from scipy.fft import irfft2, rfft2

    from ida_rd.downscale.kernels import damped_quotient, periodic_adjoint, sparse_divergence

    height, width = image.shape[0] // factor, image.shape[1] // factor
    first, taps = _taps(factor)
    white = levels_of(image)
    data = periodic_adjoint(np.ascontiguousarray(image), taps / factor, first, factor, 1 / white)
    spectrum = rfft2(data)
    # U^T U is a circular convolution on the LR grid, so its spectrum is a product.
    system = np.outer(_autocorrelation(height, factor), _autocorrelation(width, factor)[: width // 2 + 1]) / factor**2
    laplacian = _differences(height)[:, None] + _differences(width)[None, : width // 2 + 1]

    d = irfft2(spectrum / system, s=(height, width))
    gx, gy = np.empty_like(d), np.empty_like(d)
    beta = 2 * lam
    while 0 < beta < BETA_MAX:
        change = rfft2(sparse_divergence(d, lam / beta, gx, gy), overwrite_x=True)
        d = irfft2(damped_quotient(spectrum, change, system, laplacian, beta), s=(height, width), overwrite_x=True)
        beta *= kappa
    return white * np.moveaxis(d, 0, 2)


def _taps(factor: int) -> tuple[int, NDArray[np.float64]]:
    """Of transposed enlargement along one axis: the weights for LR pixel 0, and the HR pixel of the first.

    LR pixel k has the same from `factor` k pixels further on.
    """
    first = -2 * factor
    position = (first + np.arange(5 * factor) + 0.5) / factor - 0.5
    return first, cubic(position)


def _autocorrelation(size: int, factor: int) -> NDArray[np.float64]:
    """Spectrum of the circulant matrix U^T U of one axis of `size` LR pixels, (size,)."""
    first, taps = _taps(factor)
    row = np.zeros(size * factor)
    np.add.at(row, (first + np.arange(len(taps))) % len(row), taps)
    overlaps = np.fft.irfft(np.abs(np.fft.rfft(row)) ** 2, len(row))[::factor]
    return np.fft.fft(overlaps).real


def _differences(size: int) -> NDArray[np.float64]:
    """Spectrum of the periodic second difference of one axis, (size,)."""
    return 2 - 2 * np.cos(2 * np.pi * np.arange(size) / size)


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, lam: float = 2e-4, kappa: float = 2.0
) -> NDArray[np.uint8]:
    """Downscale (H, W, 3) uint8 to `size` (h, w); see `l0`. Deterministic: `rng` is not used."""
    return round_levels(l0(hr, hr.shape[0] // size[0], lam=lam, kappa=kappa))

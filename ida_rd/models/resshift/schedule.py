"""The chain of ResShift: an image that shifts towards the enlarged LR image while noise is added, and back [1]_.

References
----------
.. [1] Yue, Wang, Loy, "ResShift: efficient diffusion model for image super-resolution by residual shifting",
   NeurIPS 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from ida_rd.models.resshift.config import Variant

__all__ = ["Shifting", "root_etas"]

MOST, POWER = 0.99, 0.3  # square root of eta at the end; how the steps between are spread
Numbers = NDArray[np.float32]


def root_etas(steps: int, least: float, kappa: float) -> NDArray[np.float64]:
    """Square roots of eta, how far the image has shifted at t = 0 ... T - 1, (T,)."""
    first = min(least / kappa, least)
    exponents = (np.arange(steps) / (steps - 1)) ** POWER
    return first * (MOST / first) ** exponents


@dataclass(frozen=True)
class Shifting:
    """Coefficients of the steps t = 0 ... T - 1, (T,) each.

    Computed in float64 and rounded to float32, as the published program does.

    Attributes
    ----------
    kappa : float
    eta, root : ndarray
        How far the image has shifted at t, and its square root, which times `kappa` is the noise's spread.
    to_image, to_state : ndarray
        The mean at t - 1 is `to_image` times the clean image plus `to_state` times the state at t.
    spread : ndarray
        Standard deviation there. That of t = 0, after which nothing is added, is not used.
    """

    kappa: float
    eta: Numbers
    root: Numbers
    to_image: Numbers
    to_state: Numbers
    spread: NDArray[np.float64]

    @staticmethod
    def of(variant: Variant) -> Shifting:
        """The coefficients of a published network."""
        root = root_etas(variant.steps, variant.least, variant.kappa)
        eta = root**2
        before = np.concatenate([[0.0], eta[:-1]])
        alpha = eta - before
        variance = variant.kappa**2 * before / eta * alpha
        variance[0] = variance[1]  # it is 0, and has no logarithm
        return Shifting(
            kappa=variant.kappa,
            eta=eta.astype(np.float32),
            root=root.astype(np.float32),
            to_image=(alpha / eta).astype(np.float32),
            to_state=(before / eta).astype(np.float32),
            spread=np.exp(0.5 * np.log(variance).astype(np.float32).astype(np.float64)),
        )

    def begin(self, y: Tensor, noise: Tensor) -> Tensor:
        """The state before the first step: the latent of the enlarged LR image, which nothing of the image is in."""
        return y + self.kappa * float(self.root[-1]) * noise

    def scaled(self, t: int, x: Tensor) -> Tensor:
        """What the network is given of a state: of about the same spread at every t."""
        return x / math.sqrt(self.kappa**2 * float(self.eta[t]) + 1)

    def mean(self, t: int, x: Tensor, image: Tensor) -> Tensor:
        """Mean of the state at t - 1, by that at t and the clean image."""
        return float(self.to_image[t]) * image + float(self.to_state[t]) * x

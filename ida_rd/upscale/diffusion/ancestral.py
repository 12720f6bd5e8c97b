"""Ancestral steps: from a noisy image and an estimate of the clean one to a less noisy image [1]_.

References
----------
.. [1] Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Ancestral"]

LEAST_VARIANCE = 1e-20
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Ancestral:
    """Coefficients of the steps t = 0 ... T - 1 of a schedule, (T,) each; those of the last step are t = 0.

    Computed in float64 and rounded to float32, as published programs do.

    Attributes
    ----------
    level : ndarray
        sqrt(alpha-bar): what is left of the image at t.
    inverse, noise : ndarray
        The clean image is `inverse` times the noisy one minus `noise` times its noise.
    to_image, to_state : ndarray
        The mean at t - 1 is `to_image` times the clean image plus `to_state` times the noisy one (equation 7).
    spread : ndarray
        Standard deviation there: of the posterior, the smaller of the two of section 3.2. That of t = 0 is not used.
    """

    level: Numbers
    inverse: Numbers
    noise: Numbers
    to_image: Numbers
    to_state: Numbers
    spread: NDArray[np.float64]

    @staticmethod
    def of(betas: NDArray[np.float64]) -> Ancestral:
        """The coefficients of a schedule's variances, none of which is 1."""
        kept = np.cumprod(1 - betas)
        before = np.concatenate([[1.0], kept[:-1]])
        variance = np.maximum(betas * (1 - before) / (1 - kept), LEAST_VARIANCE)
        return Ancestral(
            level=np.sqrt(kept).astype(np.float32),
            inverse=np.sqrt(1 / kept).astype(np.float32),
            noise=np.sqrt(1 / kept - 1).astype(np.float32),
            to_image=(betas * np.sqrt(before) / (1 - kept)).astype(np.float32),
            to_state=((1 - before) * np.sqrt(1 - betas) / (1 - kept)).astype(np.float32),
            spread=np.exp(0.5 * np.log(variance).astype(np.float32).astype(np.float64)),
        )

    def clean(self, t: int, x: Tensor, noise: Tensor) -> Tensor:
        """The clean image, by the noisy one and its noise."""
        return float(self.inverse[t]) * x - float(self.noise[t]) * noise

    def mean(self, t: int, x: Tensor, image: Tensor) -> Tensor:
        """Mean of the image at t - 1, by the noisy one at t and the clean one."""
        return float(self.to_image[t]) * image + float(self.to_state[t]) * x

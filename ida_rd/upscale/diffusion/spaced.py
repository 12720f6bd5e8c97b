"""Ancestral steps over some of the times that a network was trained on [1]_, [2]_.

References
----------
.. [1] Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020: equation 7.
.. [2] Nichol, Dhariwal, "Improved denoising diffusion probabilistic models", ICML 2021: section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.sampler import Network, Prediction, State, check_prediction, clean
from ida_rd.upscale.diffusion.schedule import evenly_spaced

__all__ = ["Spaced"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Spaced:
    """Coefficients at the visited times, ascending, (steps,) each. The clean image is not clipped.

    Attributes
    ----------
    times : tuple of int
        What the network is told.
    kept : ndarray
        alpha-bar there.
    to_image, to_state : ndarray
        The mean at the time before is `to_image` times the clean image plus `to_state` times the noisy one.
    variance : ndarray
        There, of the posterior. That of the first time is 0.
    predicts : str
    """

    times: tuple[int, ...]
    kept: Numbers
    to_image: Numbers
    to_state: Numbers
    variance: Numbers
    predicts: Prediction = "eps"

    @staticmethod
    def of(kept: Numbers, steps: int = 50, predicts: Prediction = "eps") -> Spaced:
        """Over `steps` of the times of `kept`, evenly."""
        times = evenly_spaced(steps, len(kept))
        at = kept[list(times)]
        check_prediction(predicts, at[-1])
        before = np.concatenate([[1.0], at[:-1]])
        betas = 1 - at / before
        return Spaced(
            times=times,
            kept=at,
            to_image=betas * np.sqrt(before) / (1 - at),
            to_state=(1 - before) * np.sqrt(1 - betas) / (1 - at),
            variance=betas * (1 - before) / (1 - at),
            predicts=predicts,
        )

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.times)

    def begin(self, x: Tensor) -> State:
        """The noise itself."""
        return State(x)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """From a time to the one before; nothing is added at the first."""
        i, x = self.steps - 1 - number, state.x
        image = clean(self.predicts, network(x, self.times[i]), x, float(self.kept[i]))
        mean = float(self.to_image[i]) * image + float(self.to_state[i]) * x
        return State(mean + math.sqrt(self.variance[i]) * noise.step(number, tuple(x.shape[1:])) if i else mean)

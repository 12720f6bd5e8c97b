"""DPM-Solver++ of second order, over times between those that a network was trained on [1]_.

References
----------
.. [1] Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", 2022: algorithm 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.sampler import Network, Prediction, State, check_prediction, clean

__all__ = ["DPMSolver2M"]

FEW = 10  # steps: with fewer, the last is of first order, which is then the more stable


@dataclass(frozen=True)
class DPMSolver2M:
    """Times, descending, from the last to the first, and alpha-bar there; nothing is added.

    Attributes
    ----------
    times : tuple of float
        One more than there are steps.
    kept : tuple of float
        At these, by its logarithm, interpolated linearly.
    predicts : str
    """

    times: tuple[float, ...]
    kept: tuple[float, ...]
    predicts: Prediction = "eps"

    @staticmethod
    def of(kept: NDArray[np.float64], steps: int, predicts: Prediction = "eps") -> DPMSolver2M:
        """In `steps` equal parts."""
        check_prediction("eps", kept[-1])
        times = np.linspace(len(kept) - 1, 0, steps + 1)
        at = np.exp(np.interp(times, np.arange(len(kept)), np.log(kept)))
        return DPMSolver2M(tuple(times.tolist()), tuple(at.tolist()), predicts)

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.times) - 1

    def begin(self, x: Tensor) -> State:
        """The noise itself."""
        return State(x)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """To the next time."""
        x, here, there = state.x, self.kept[number], self.kept[number + 1]
        image = clean(self.predicts, network(x, self.times[number]), x, here)
        ahead = image
        if state.past and not (number == self.steps - 1 and self.steps < FEW):
            ratio = self._forward(number - 1) / self._forward(number)
            ahead = image + (image - state.past[0]) / (2 * ratio)
        left = math.exp(-self._forward(number))
        return State(math.sqrt((1 - there) / (1 - here)) * x + math.sqrt(there) * (1 - left) * ahead, (image,))

    def _forward(self, number: int) -> float:
        """How far step `number` goes, in the logarithm of image to noise."""
        return (_log_ratio(self.kept[number + 1]) - _log_ratio(self.kept[number])) / 2


def _log_ratio(kept: float) -> float:
    return math.log(kept / (1 - kept))

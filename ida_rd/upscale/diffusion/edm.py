"""Steps over noise levels: of an image to which noise of deviation sigma was added [1]_.

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022.
.. [2] Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.sampler import Network, Prediction, State, clean

__all__ = ["DPM2M", "SDE3M", "EulerAncestral", "levels_of"]

LEAST_KEPT = 1e-8  # of the image at the last time, whatever the schedule says: the first level is 10,000


def levels_of(kept: NDArray[np.float64], steps: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Times, descending, and the noise levels there; one level more, which is 0."""
    if not 1 <= steps <= len(kept):
        raise ValueError(f"{steps} steps over {len(kept)} times")
    times = [int(time) for time in np.linspace(len(kept) - 1, 0, steps, endpoint=False)]
    at = kept[times]
    at[0] = LEAST_KEPT
    return tuple(times), (*(math.sqrt((1 - share) / share) for share in at.tolist()), 0.0)


@dataclass(frozen=True)
class _Levels:
    """Times and levels of `levels_of`, and what the network gives.

    The network sees images of variance about 1: divided by sqrt(1 + sigma^2).
    """

    times: tuple[int, ...]
    levels: tuple[float, ...]
    predicts: Prediction = "eps"

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.times)

    def begin(self, x: Tensor) -> State:
        """The noise at the first level."""
        return State(x * math.sqrt(1 + self.levels[0] ** 2))

    def denoised(self, number: int, x: Tensor, network: Network) -> Tensor:
        """The clean image at step `number`."""
        kept = 1 / (1 + self.levels[number] ** 2)
        seen = x * math.sqrt(kept)
        return clean(self.predicts, network(seen, self.times[number]), seen, kept)

    def _forward(self, number: int) -> float:
        """How far step `number` goes, in the logarithm of the level."""
        return math.log(self.levels[number] / self.levels[number + 1])


@dataclass(frozen=True)
class EulerAncestral(_Levels):
    """Steps of first order, each beyond its level and back to it by new noise."""

    @staticmethod
    def of(kept: NDArray[np.float64], steps: int, predicts: Prediction = "eps") -> EulerAncestral:
        """Over `steps` of the times of `kept`."""
        return EulerAncestral(*levels_of(kept, steps), predicts)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """To the next level."""
        x, (here, there) = state.x, self.levels[number : number + 2]
        image = self.denoised(number, x, network)
        if not there:
            return State(image)
        added = there * math.sqrt(1 - (there / here) ** 2)
        below = there**2 / here  # its square and that of `added` are that of `there`
        return State(image + (below / here) * (x - image) + added * noise.step(number, tuple(x.shape[1:])))


@dataclass(frozen=True)
class DPM2M(_Levels):
    """Steps of second order, which remember the clean image of the step before; nothing is added [2]_."""

    @staticmethod
    def of(kept: NDArray[np.float64], steps: int, predicts: Prediction = "eps") -> DPM2M:
        """Over `steps` of the times of `kept`."""
        return DPM2M(*levels_of(kept, steps), predicts)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """To the next level."""
        image = self.denoised(number, state.x, network)
        if not self.levels[number + 1]:
            return State(image)
        ahead = image
        if state.past:
            ratio = self._forward(number - 1) / self._forward(number)
            ahead = image + (image - state.past[0]) / (2 * ratio)
        left = self.levels[number + 1] / self.levels[number]
        return State(left * state.x + (1 - left) * ahead, (image,))


@dataclass(frozen=True)
class SDE3M(_Levels):
    """Steps of third order, which remember two clean images, and as much noise as ancestral ones [2]_."""

    @staticmethod
    def of(kept: NDArray[np.float64], steps: int, predicts: Prediction = "eps") -> SDE3M:
        """Over `steps` of the times of `kept`."""
        return SDE3M(*levels_of(kept, steps), predicts)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """To the next level."""
        image = self.denoised(number, state.x, network)
        if not self.levels[number + 1]:
            return State(image)
        forward = self._forward(number)
        twice = 2 * forward  # of the equation with noise
        x = math.exp(-twice) * state.x - math.expm1(-twice) * image
        second = math.expm1(-twice) / twice + 1
        if state.past:
            near = self._forward(number - 1) / forward
            slope = (image - state.past[0]) / near
            if len(state.past) > 1:
                far = self._forward(number - 2) / forward
                bend = (slope - (state.past[0] - state.past[1]) / far) / (near + far)
                x = x + second * (slope + near * bend) - (second / twice - 0.5) * bend
            else:
                x = x + second * slope
        spread = self.levels[number + 1] * math.sqrt(-math.expm1(-twice))
        return State(x + spread * noise.step(number, tuple(x.shape[1:])), (image, *state.past[:1]))

"""Noise levels, and steps of second order from one to the next.

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022: equation 5.
.. [2] Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", 2022: algorithm 2,
   for images to which noise was added.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["Solver", "noise_levels"]

LARGEST, LEAST, RHO = 30.0, 0.03, 7.0


def noise_levels(steps: int, largest: float = LARGEST, least: float = LEAST, rho: float = RHO) -> tuple[float, ...]:
    """Levels that `steps` steps begin at, descending [1]_; one more, which is 0."""
    if steps < 1:
        raise ValueError(f"{steps} steps")
    ends = largest ** (1 / rho), least ** (1 / rho)
    return (*(np.linspace(*ends, steps) ** rho).tolist(), 0.0)


@dataclass(frozen=True)
class Solver:
    """DPM-Solver++(2M) over noise levels, of which the last is 0; nothing is added [2]_."""

    levels: tuple[float, ...]

    @property
    def steps(self) -> int:
        """How many there are, each with one call of the denoiser."""
        return len(self.levels) - 1

    def step(self, number: int, x: Tensor, clean: Tensor, before: Tensor | None) -> Tensor:
        """From level `number` to the next.

        Parameters
        ----------
        number : int
        x, clean : Tensor
            The state, and what the denoiser makes of it.
        before : Tensor or None
            What it made of the state one step earlier; None: a step of first order.
        """
        here, there = self.levels[number : number + 2]
        if not there:
            return clean
        if before is not None:
            ratio = math.log(self.levels[number - 1] / here) / math.log(here / there)
            clean = clean + (clean - before) / (2 * ratio)
        left = there / here
        return left * x + (1 - left) * clean

    def solve(self, noise: Tensor, denoise: Callable[[Tensor, float], Tensor]) -> Tensor:
        """All steps, from standard normal noise; ``denoise(x, sigma)`` gives the clean image."""
        x, before = self.levels[0] * noise, None
        for number in range(self.steps):
            clean = denoise(x, self.levels[number])
            x, before = self.step(number, x, clean, before), clean
        return x

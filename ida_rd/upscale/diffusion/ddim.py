"""Implicit steps: the same marginals as ancestral ones, with as much noise as one likes [1]_.

References
----------
.. [1] Song, Meng, Ermon, "Denoising diffusion implicit models", ICLR 2021: equations 12 and 16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.sampler import Network, Prediction, State, check_prediction, clean, noise_in
from ida_rd.upscale.diffusion.schedule import from_below

__all__ = ["DDIM"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class DDIM:
    """Levels at the visited times, ascending, (steps,) each.

    Attributes
    ----------
    times : tuple of int
        What the network is told.
    kept, before : ndarray
        alpha-bar there, and at the time before.
    eta : float
        Share of the ancestral deviation; 0: all randomness is in what the chain begins from.
    predicts : str
    """

    times: tuple[int, ...]
    kept: Numbers
    before: Numbers
    eta: float = 0.0
    predicts: Prediction = "eps"

    @staticmethod
    def of(
        kept: Numbers,
        steps: int,
        predicts: Prediction = "eps",
        *,
        eta: float = 0.0,
        offset: int = 1,
        last: float | None = None,
    ) -> DDIM:
        """Over times at whole distances.

        Parameters
        ----------
        kept : ndarray
            alpha-bar at all times.
        steps : int
        predicts : str
        eta : float
        offset : int
            The first time that is visited.
        last : float, optional
            alpha-bar after the last step, such as 1; by default that of time 0, as published.
        """
        times = from_below(steps, len(kept), offset)
        at = kept[list(times)]
        check_prediction(predicts, at[-1])
        return DDIM(times, at, np.concatenate([[kept[0] if last is None else last], at[:-1]]), eta, predicts)

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.times)

    @property
    def spread(self) -> Numbers:
        """Standard deviation of what each step adds."""
        return self.eta * np.sqrt((1 - self.before) / (1 - self.kept) * np.maximum(1 - self.kept / self.before, 0))

    def begin(self, x: Tensor) -> State:
        """The noise itself."""
        return State(x)

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """From a time to the one before."""
        i, x = self.steps - 1 - number, state.x
        kept, before, spread = float(self.kept[i]), float(self.before[i]), float(self.spread[i])
        output = network(x, self.times[i])
        image = clean(self.predicts, output, x, kept)
        direction = math.sqrt(max(1 - before - spread**2, 0)) * noise_in(self.predicts, output, x, kept)
        mean = math.sqrt(before) * image + direction
        return State(mean + spread * noise.step(number, tuple(x.shape[1:])) if spread else mean)

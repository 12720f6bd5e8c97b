"""Guidance without a classifier: a network's output for one prompt, moved away from that for another [1]_.

References
----------
.. [1] Ho, Salimans, "Classifier-free diffusion guidance", 2022: equation 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ida_rd.upscale.diffusion.sampler import Network
from ida_rd.upscale.diffusion.schedule import TIMES

__all__ = ["guided", "rising"]


@dataclass(frozen=True)
class _Rising:
    scale: float
    times: int

    def __call__(self, time: float) -> float:
        return 1 + self.scale * (1 - math.cos(math.pi * ((self.times - time) / self.times) ** 5)) / 2


def rising(scale: float, times: int = TIMES) -> Callable[[float], float]:
    """A scale that grows from 1 at the last time to 1 + `scale` at the first, and late."""
    return _Rising(scale, times)


def guided(wanted: Network, unwanted: Network, scale: float | Callable[[float], float]) -> Network:
    """A network whose output is `unwanted` plus `scale` times the way from there to `wanted`.

    Parameters
    ----------
    wanted, unwanted : callable
        The network with each of two prompts. At scale 1 the second is not called.
    scale : float or callable
        Of a time, such as `rising`.
    """

    def network(x: Tensor, time: float) -> Tensor:
        by = scale(time) if callable(scale) else scale
        towards = wanted(x, time)
        if by == 1:
            return towards
        away = unwanted(x, time)
        return away + by * (towards - away)

    return network

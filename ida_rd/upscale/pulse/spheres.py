"""Optimisers on spheres: after each step every variable is put back where it began, on a sphere about the origin.

Random latents of many dimensions lie close to a sphere (section 3.2 of the publication). The radius is that of the
start, of each style of each sample and of each noise map of each sample. The optimisers' moments are elementwise, and
are not projected: a sample's path depends on its own gradient alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["OPTIMISERS", "SphericalOptimiser", "multiplier", "norms"]

SMALL = 1e-9
DROP = 0.9  # share of the steps after which the rate drops
OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "sgdm": partial(torch.optim.SGD, momentum=0.9),
    "adamax": torch.optim.Adamax,
}


def norms(x: Tensor) -> Tensor:
    """Norms over all axes from the third on, which are kept with length 1."""
    return (x.square().sum(dim=tuple(range(2, x.ndim)), keepdim=True) + SMALL).sqrt()


def multiplier(schedule: str, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at a step, from 0."""

    def cycle(length: float) -> float:
        return (9 * (1 - 2 * abs(step / length - 0.5)) + 1) / 10

    if schedule == "fixed":
        return 1.0
    if schedule == "linear1cycle":
        return cycle(steps)
    first = DROP * steps
    if step < first:
        return cycle(first)
    return 0.1 + (step - first) / (steps - first) * (0.001 - 0.1)


class SphericalOptimiser:
    """An optimiser of torch, a schedule, and the spheres.

    Parameters
    ----------
    variables : sequence of Tensor
        (B, n, ...), leaves that require gradients.
    optimiser, schedule : str
        Their names.
    rate : float
        Learning rate, which the schedule multiplies.
    steps : int
        How many there will be.
    """

    def __init__(self, variables: Sequence[Tensor], optimiser: str, rate: float, schedule: str, steps: int) -> None:
        self.variables = list(variables)
        self.radii = [norms(x.detach()) for x in self.variables]
        self.inner: torch.optim.Optimizer = OPTIMISERS[optimiser](self.variables, lr=rate)
        self.rate, self.schedule, self.steps, self.taken = rate, schedule, steps, 0

    def current_rate(self) -> float:
        """Learning rate of the next step."""
        return self.rate * multiplier(self.schedule, self.taken, self.steps)

    def zero_grad(self) -> None:
        self.inner.zero_grad()

    def step(self) -> None:
        """Step, and put the variables back on their spheres."""
        for group in self.inner.param_groups:
            group["lr"] = self.current_rate()
        self.inner.step()
        self.taken += 1
        with torch.no_grad():
            for x, radius in zip(self.variables, self.radii, strict=True):
                x.div_(norms(x)).mul_(radius)

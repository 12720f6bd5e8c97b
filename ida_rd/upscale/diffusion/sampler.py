"""What samplers of networks that are told a time share: their state, and what a network's output says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise

__all__ = ["Network", "Prediction", "Sampler", "State", "clean", "noise_in"]

# A noisy image (B, C, H, W) and a time, of 0 ... 999 for those trained on 1000, to the network's output.
Network = Callable[[Tensor, float], Tensor]
Prediction = Literal["eps", "v"]


class State(NamedTuple):
    """What a step leaves to the next.

    Attributes
    ----------
    x : Tensor
        (B, C, H, W).
    past : tuple of Tensor
        Clean images of the steps before, the last first, as far as the sampler needs them.
    """

    x: Tensor
    past: tuple[Tensor, ...] = ()


class Sampler(Protocol):
    """A way from noise to an image.

    Attributes
    ----------
    steps : int
        How many there are, each with one call of the network.
    """

    @property
    def steps(self) -> int: ...

    def begin(self, x: Tensor) -> State:
        """The state before the first step, by noise of variance 1 (or by `start.towards`)."""
        ...

    def step(self, number: int, state: State, network: Network, noise: Noise) -> State:
        """Do step `number`, from 0, of which `noise.step` gives the noise, if it wants any."""
        ...


def clean(predicts: Prediction, output: Tensor, x: Tensor, kept: float) -> Tensor:
    """The clean image by a network's output.

    Parameters
    ----------
    predicts : str
        What the network was trained to give: the noise, or the velocity sqrt(kept) noise - sqrt(1 - kept) image.
    output, x : Tensor
    kept : float
        alpha-bar: the share of the image in the variance of `x`.
    """
    if predicts == "v":
        return math.sqrt(kept) * x - math.sqrt(1 - kept) * output
    return math.sqrt(1 / kept) * x - math.sqrt(1 / kept - 1) * output


def noise_in(predicts: Prediction, output: Tensor, x: Tensor, kept: float) -> Tensor:
    """The noise in `x` by a network's output; parameters as those of `clean`."""
    return math.sqrt(kept) * output + math.sqrt(1 - kept) * x if predicts == "v" else output


def check_prediction(predicts: Prediction, kept: float) -> None:
    """Refuse to ask for the image in what holds nothing of it."""
    if predicts == "eps" and kept <= 0:
        raise ValueError("nothing is left of the image at the last time: noise tells nothing of it, ask for v")

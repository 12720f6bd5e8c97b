"""How the samples of an image come out of noise, whichever the model: the law of all upscalers by diffusion.

A model makes a `Chain` of each LR image, with all that depends on that image alone; `draw_samples` takes the samples
through it. Their noise is a function of (seed, image, sample, step) and of nothing else: not of the batch, the device,
or which samples are drawn. On a CPU a batch is one sample, so that the sample too is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ida_rd.core.progress import advance, share
from ida_rd.core.seeds import Draw
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.eight_bit import to_samples

__all__ = ["Chain", "Noise", "draw_samples", "plain_arithmetic", "taken_through"]

SHARE = 0.8  # of a GPU's free memory

State = TypeVar("State")


class Noise:
    """The random numbers of the samples of a batch.

    Parameters
    ----------
    draws : sequence of Draw
        Of each sample.
    device : torch.device
    dtype : torch.dtype
        The numbers are drawn in float32, on the CPU.
    """

    def __init__(self, draws: Sequence[Draw], device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.draws, self.device, self.dtype = draws, device, dtype

    def start(self, shape: tuple[int, ...]) -> Tensor:
        """What a chain begins from, (B, *shape)."""
        return self._normal(shape, "start")

    def step(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """What step `number` adds, (B, *shape)."""
        return self._normal(shape, f"step {number}")

    def _normal(self, shape: tuple[int, ...], label: str) -> Tensor:
        numbers = np.stack([draw.normal(shape, label) for draw in self.draws])
        return torch.from_numpy(numbers).to(self.device, self.dtype)


class Chain(Protocol[State]):
    """The way from noise to samples of one LR image, which it was made for.

    A state is what one step leaves to the next, of all samples of a batch: their tensor, and what a sampler of higher
    order remembers. No sample's part of it may depend on another's.

    Attributes
    ----------
    steps : int
        How many there are.
    each : float
        Bytes that a step takes for each sample of a batch.
    """

    steps: int
    each: float

    def begin(self, noise: Noise) -> State:
        """The state before the first step."""
        ...

    def step(self, number: int, state: State, noise: Noise) -> State:
        """Do step `number`, from 0, of which `noise.step` gives the noise, if it wants any."""
        ...

    def end(self, state: State) -> Tensor:
        """HR images, (B, 3, H, W), nominally in [0, 1], from the state after the last step."""
        ...


def draw_samples(chain: Chain[State], draws: Sequence[Draw], device: torch.device, batch: int | None) -> Samples:
    """Take samples through a chain, once per draw.

    Parameters
    ----------
    chain : Chain
    draws : sequence of Draw
    device : torch.device
        That of the chain.
    batch : int or None
        Samples that go together; None: one on a CPU, on a GPU as many as its free memory is enough for.
    """
    size = batch or _fitting(chain.each, len(draws), device)
    batches = [draws[i : i + size] for i in range(0, len(draws), size)]
    found = []
    with torch.inference_mode():
        for i, part in enumerate(batches):
            with share(i, len(batches)):
                found.append(to_samples(taken_through(chain, Noise(part, device))))
    return Samples.joined(found)


def taken_through(chain: Chain[State], noise: Noise) -> Tensor:
    """HR images at the end of a chain, (B, 3, H, W), of the samples of a batch."""
    state = chain.begin(noise)
    for number in range(chain.steps):
        state = chain.step(number, state, noise)
        advance((number + 1) / chain.steps)
    return chain.end(state)


def _fitting(each: float, samples: int, device: torch.device) -> int:
    if device.type == "cpu":
        return 1
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(samples, int(SHARE * free / each)))


def plain_arithmetic() -> None:
    """Forbid a GPU's shortcuts, on which results must not depend: a chain of many steps amplifies them."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True

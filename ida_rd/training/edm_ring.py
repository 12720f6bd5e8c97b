"""Encoded crops, of which a few are replaced from step to step: so the frozen encoder costs next to nothing.

Crop k is a function of (seed, k), it lies in place k modulo the ring's size, and at step i the ring holds the crops
from ``i // every`` on: a run that resumes makes exactly these again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ida_rd.core.seeds import generator
from ida_rd.models.edm.network import EDMNet
from ida_rd.training.patches import Pairs, Pixels

__all__ = ["Ring", "Windows", "as_images"]


def as_images(pixels: Pixels, device: torch.device) -> Tensor:
    """(B, 3, h, w), uint8, to float32 in [0, 1]."""
    return torch.from_numpy(pixels).to(device).float() / 255


@dataclass(frozen=True)
class Windows:
    """Windows of encoded crops, (B, C, h, w) each.

    Attributes
    ----------
    y, scale : Tensor
        Whitened residual, and what it was divided by.
    features : list of Tensor
        Of the encoder, level by level.
    """

    y: Tensor
    scale: Tensor
    features: list[Tensor]

    def part(self, begin: int, end: int) -> Windows:
        """Some of them."""
        return Windows(self.y[begin:end], self.scale[begin:end], [one[begin:end] for one in self.features])


class Ring:
    """Encoded crops in float16.

    Parameters
    ----------
    net : EDMNet
        Whose encoder and head are frozen.
    source : Pairs
        Of crops of `side` HR pixels.
    size : int
        How many it holds.
    every : int
        Steps after which one is replaced.
    side, window : int
        HR pixels of the crops and of the windows cut from them.
    seed : int
    clamp : float
        Largest y.
    """

    def __init__(
        self, net: EDMNet, source: Pairs, size: int, every: int, side: int, window: int, seed: int, clamp: float
    ) -> None:
        self.net, self.source, self.size, self.every = net, source, size, every
        self.window, self.seed, self.clamp = window, seed, clamp
        self.factor = net.config.factor
        self.places = (side - window) // self.factor + 1  # along each side, by whole LR pixels
        self.device = next(net.parameters()).device
        self.next = 0  # the first crop that was not encoded yet
        # y and scale, then the features.
        channels = (12, 12, *net.config.feature_widths)
        self.strides = (2, 2, *(2 ** (level + 1) for level in range(net.config.levels)))  # HR pixels
        self.held = [
            torch.zeros(size, width, side // stride, side // stride, dtype=torch.float16, device=self.device)
            for width, stride in zip(channels, self.strides, strict=True)
        ]

    def windows(self, step: int, count: int) -> Windows:
        """The windows of a step."""
        self._turn(step)
        rng = generator("windows", self.seed, step)
        cuts = [(int(rng.integers(self.size)), *rng.integers(self.places, size=2).tolist()) for _ in range(count)]
        y, scale, *features = (self._cut(cuts, *one) for one in zip(self.held, self.strides, strict=True))
        return Windows(y, scale, features)

    def _cut(self, cuts: Sequence[tuple[int, ...]], held: Tensor, stride: int) -> Tensor:
        side = self.window // stride
        parts = []
        for place, *corner in cuts:
            top, left = (offset * self.factor // stride for offset in corner)
            parts.append(held[place, :, top : top + side, left : left + side])
        return torch.stack(parts).float().contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _turn(self, step: int) -> None:
        first = step // self.every
        new = range(max(self.next, first), first + self.size)
        for k in tqdm(new, desc="crops", unit="crop", leave=False, disable=None if len(new) > 1 else True):
            hr, lr = (as_images(one, self.device) for one in self.source.batch("crop", k, 1))
            features = self.net.features(lr)
            space = self.net.whitening(lr, features)
            y = space.whitened(hr).clamp_(-self.clamp, self.clamp)
            for held, one in zip(self.held, (y, space.scale, *features), strict=True):
                held[k % self.size] = one[0]
        self.next = max(self.next, first + self.size)


def normal(shape: Sequence[int], *key: str | int) -> Tensor:
    """Standard normal numbers by their key."""
    return torch.from_numpy(generator(*key).standard_normal(tuple(shape), dtype=np.float32))

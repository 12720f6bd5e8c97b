"""Counter-based random numbers: every draw is a pure function of what it is for.

A generator is keyed by words (a purpose, the user's seed, an image id, a sample index, ...), so a
result cannot depend on order, batch, worker or device, and two downscalers meet the same latents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draw", "generator"]


def generator(*key: str | int) -> np.random.Generator:
    """Return a Philox generator that depends on nothing but `key` (0 and "0" are different keys)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


@dataclass(frozen=True)
class Draw:
    """The random numbers of one SR sample, keyed by (seed, image id, sample index).

    The downscaler is not part of the key: the samples of two downscalers share their latents
    (common random numbers), so that differences between downscalers are paired.

    Attributes
    ----------
    seed : int
        The run's seed; 0 is a seed.
    image_id : str
        The HR image.
    sample : int
        Sample index k, from 0.
    attempt : int
        0, or the number of the retry after a sample that was not finite.
    steps : tuple of int
        Places of the upscaler in the chains that it is part of, outermost first; () for one by itself.
    """

    seed: int
    image_id: str
    sample: int
    attempt: int = 0
    steps: tuple[int, ...] = ()

    def at_step(self, step: int) -> Draw:
        """The random numbers of upscaler `step`, from 0, of a chain. The first has those of the chain itself."""
        return replace(self, steps=(*self.steps, step))

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        """Standard normal numbers, float32, of `shape`; another label gives independent ones."""
        return self._generator(label).standard_normal(shape, dtype=np.float32)

    def integer(self) -> int:
        """A whole number in [0, 2^31), to seed a program with."""
        return int(self._generator("integer").integers(2**31))

    def _generator(self, label: str) -> np.random.Generator:
        # Without the zeros at the end, the first upscaler of a chain meets what it would meet alone;
        # no other one of the chain does, since neither of two places is the beginning of the other.
        steps = self.steps
        while steps and steps[-1] == 0:
            steps = steps[:-1]
        return generator(label, self.seed, self.image_id, self.sample, self.attempt, *steps)

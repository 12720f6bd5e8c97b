"""Counter-based random numbers: every draw is a pure function of what it is for.

A generator is keyed by words (a purpose, the user's seed, an image id, a sample index, ...), so a
result cannot depend on order, batch, worker or device, and two downscalers meet the same latents.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["generator", "latent"]


def generator(*key: str | int) -> np.random.Generator:
    """Return a Philox generator that depends on nothing but `key` (0 and "0" are different keys)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def latent(seed: int, image_id: str, sample: int, shape: tuple[int, ...], attempt: int = 0) -> NDArray[np.float32]:
    """Return the standard normal latent of one SR sample.

    Parameters
    ----------
    seed : int
        The run's seed; 0 is a seed.
    image_id : str
        The HR image. The downscaler is not part of the key: differences between downscalers are
        paired (common random numbers).
    sample : int
        Sample index k, from 0.
    shape : tuple of int
        Shape of the latent.
    attempt : int
        0, or the number of the retry after a sample that was not finite.

    Returns
    -------
    ndarray
        float32, `shape`, standard normal.
    """
    return generator("latent", seed, image_id, sample, attempt).standard_normal(shape, dtype=np.float32)

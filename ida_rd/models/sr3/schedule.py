"""Noise schedules: the variance that each step of the way from image to noise adds [1]_.

References
----------
.. [1] Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIRST", "LAST", "SCHEDULES", "STEPS", "betas_of", "kept_of", "levels_of", "scaled_ends"]

SCHEDULES = ("linear", "quad", "warmup10", "warmup50", "const", "jsd", "cosine")
STEPS, FIRST, LAST = 2000, 1e-6, 1e-2  # of the published networks, linear
OFFSET, LARGEST = 0.008, 0.999  # of the cosine schedule


def betas_of(schedule: str, steps: int, first: float, last: float) -> NDArray[np.float64]:
    """Variances beta of the steps 0 to `steps` - 1, (steps,).

    Parameters
    ----------
    schedule : str
        One of `SCHEDULES`.
    steps : int
    first, last : float
        The smallest and the largest; ``jsd`` and ``cosine`` have ends of their own.
    """
    if schedule == "linear":
        return np.linspace(first, last, steps)
    if schedule == "quad":
        return np.linspace(math.sqrt(first), math.sqrt(last), steps) ** 2
    if schedule in ("warmup10", "warmup50"):
        warm = int(steps * (0.1 if schedule == "warmup10" else 0.5))
        return np.concatenate([np.linspace(first, last, warm), np.full(steps - warm, last)])
    if schedule == "const":
        return np.full(steps, last)
    if schedule == "jsd":
        return 1 / np.linspace(steps, 1, steps)
    if schedule == "cosine":
        angles = (np.arange(steps + 1) / steps + OFFSET) / (1 + OFFSET) * math.pi / 2
        signal = np.cos(angles) ** 2
        return np.minimum(1 - signal[1:] / signal[:-1], LARGEST)
    raise ValueError(f"no schedule is called {schedule!r}")


def scaled_ends(steps: int) -> tuple[float, float]:
    """First and last beta of a linear schedule of fewer steps with the sum of the published one."""
    return FIRST * STEPS / steps, LAST * STEPS / steps


def kept_of(betas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the image's variance that is left after each step, alpha-bar, (steps,)."""
    return np.cumprod(1 - betas, dtype=np.float64)


def levels_of(betas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels between which training draws, sqrt(alpha-bar) before the first and after each step, (steps + 1,)."""
    return np.sqrt(np.concatenate([[1.0], kept_of(betas)]))

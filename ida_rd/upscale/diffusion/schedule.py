"""What is left of an image at each of the times that a network was trained on, and which of them are visited.

References
----------
.. [1] Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022.
.. [2] Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV 2024: algorithm 1.
.. [3] Nichol, Dhariwal, "Improved denoising diffusion probabilistic models", ICML 2021: section 4.
.. [4] Song, Meng, Ermon, "Denoising diffusion implicit models", ICLR 2021.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TIMES", "evenly_spaced", "from_below", "scaled_linear", "zero_terminal"]

TIMES = 1000
Numbers = NDArray[np.float64]


def scaled_linear(start: float = 0.00085, end: float = 0.012, times: int = TIMES) -> Numbers:
    """alpha-bar, (times,), where the root of the added variance grows linearly [1]_: of Stable Diffusion by default."""
    return np.cumprod(1 - np.linspace(start**0.5, end**0.5, times) ** 2)


def zero_terminal(kept: Numbers) -> Numbers:
    """alpha-bar, stretched until nothing is left of the image at the last time [2]_."""
    root = np.sqrt(kept)
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2


def evenly_spaced(steps: int, times: int = TIMES) -> tuple[int, ...]:
    """Times from the first to the last, ascending [3]_; for one step the last, at which a chain begins."""
    if not 1 <= steps <= times:
        raise ValueError(f"{steps} steps over {times} times")
    if steps == 1:
        return (times - 1,)
    found, at = [], 0.0
    for _ in range(steps):
        found.append(round(at))
        at += (times - 1) / (steps - 1)  # adding up, as published: products round otherwise
    return tuple(found)


def from_below(steps: int, times: int = TIMES, offset: int = 1) -> tuple[int, ...]:
    """Times at whole distances from the first on, ascending [4]_, and not up to the last; `offset` is added to each."""
    if not 1 <= steps <= times:
        raise ValueError(f"{steps} steps over {times} times")
    stride = times // steps
    return tuple(min(i * stride + offset, times - 1) for i in range(steps))

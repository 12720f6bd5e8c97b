"""What a chain begins from, and noise besides that of its steps."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ida_rd.upscale.diffusion.chain import Noise

__all__ = ["drawn", "posterior", "towards"]

LOG_VARIANCES = (-30.0, 20.0)


def drawn(noise: Noise, shape: tuple[int, ...], label: str) -> Tensor:
    """Noise of a purpose, (B, *shape), independent of that of the start, of every step and of other labels."""
    numbers = np.stack([draw.normal(shape, label) for draw in noise.draws])
    return torch.from_numpy(numbers).to(noise.device, noise.dtype)


def towards(image: Tensor, kept: float, start: Tensor) -> Tensor:
    """A noisy image, of which `kept` is left: the start of a chain that is not of noise alone, with the last time's.

    Parameters
    ----------
    image : Tensor
        (1 or B, C, H, W), such as the latent of the condition.
    kept : float
        alpha-bar.
    start : Tensor
        (B, C, H, W), noise of variance 1.
    """
    return math.sqrt(kept) * image + math.sqrt(1 - kept) * start


def posterior(mean: Tensor, log_variance: Tensor, noise: Noise) -> Tensor:
    """An autoencoder's latent, drawn anew for each sample: (B, C, H, W), before it is scaled."""
    spread = torch.exp(0.5 * log_variance.clamp(*LOG_VARIANCES))
    return mean + spread * drawn(noise, tuple(mean.shape[1:]), "posterior")

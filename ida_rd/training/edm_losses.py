"""What the compact diffusion network is trained by: the likelihood of its head, the loss of its denoiser [1]_.

References
----------
.. [1] Karras et al., "Elucidating the design space of diffusion-based generative models", NeurIPS 2022, eq. 8.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from ida_rd.models.edm.network import EDMNet, kept_share
from ida_rd.models.edm.space import Whitening, to_basis
from ida_rd.training.edm_ring import Windows

__all__ = ["ADAM", "PRECISIONS", "denoising_loss", "joint_losses", "likelihood_loss", "log_levels"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ADAM = (0.9, 0.99)


def log_levels(count: int, mean: float, spread: float, rng: np.random.Generator) -> Tensor:
    """Logarithms of noise levels, (count,): normal, one in each part of equal probability, in random order."""
    normal_law = NormalDist(mean, spread)
    shares = (rng.permutation(count) + rng.random(count).clip(1e-6, 1 - 1e-6)) / count
    return torch.tensor([normal_law.inv_cdf(float(share)) for share in shares])


def likelihood_loss(hr: Tensor, space: Whitening) -> Tensor:
    """Negative log-likelihood of residuals, but for a constant, weighted by their scale: what counts is the image.

    Parameters
    ----------
    hr : Tensor
        (B, 3, H, W), range [0, 1].
    space : Whitening
        What the head says of them.
    """
    error = to_basis(hr - space.base, space.basis) - space.mean
    weight = space.scale.detach() / space.scale.detach().mean()
    return (weight * (space.scale.log() + 0.5 * (error / space.scale).square())).mean()


def denoising_loss(
    net: EDMNet,
    denoiser: Callable[..., Tensor],
    windows: Windows,
    log_sigma: Tensor,
    noise: Tensor,
    precision: torch.dtype,
) -> Tensor:
    """Squared errors of F of [1]_, (B, 12, h, w), weighted by the scale of the residual: errors of the image.

    Parameters
    ----------
    net : EDMNet
    denoiser : callable
        That of the network, or what it was compiled to.
    windows : Windows
    log_sigma : Tensor
        (B,), of the noise levels.
    noise : Tensor
        Standard normal, of the shape of y.
    precision : torch.dtype
        Of the denoiser's convolutions.
    """
    sigma = log_sigma.exp()[:, None, None, None]
    kept = kept_share(sigma)
    noisy = windows.y + sigma * noise
    target = (windows.y - noisy * kept.square()) / (sigma * kept)
    with torch.autocast(noise.device.type, precision, enabled=precision != torch.float32):
        given = net.denoiser.condition(net.scaled(windows.features))
        found = denoiser((noisy * kept).contiguous(memory_format=torch.channels_last), log_sigma, given)
    return windows.scale * (found.float() - target).square()


def joint_losses(
    net: EDMNet,
    denoiser: Callable[..., Tensor],
    pair: tuple[Tensor, Tensor],
    log_sigma: Tensor,
    noise: Tensor,
    clamp: float,
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Both losses of a network that is trained as a whole: of the head, and the mean of the denoiser's.

    The denoiser pulls the encoder along through its features. The space that head and encoder whiten is a target of it,
    and no way to make its loss small: y and scale are constants there.

    Parameters
    ----------
    net : EDMNet
    denoiser : callable
        That of the network, or what it was compiled to.
    pair : tuple of Tensor
        HR (B, 3, H, W) and LR, range [0, 1].
    log_sigma, noise : Tensor
        (B,), and (B, 12, H/2, W/2).
    clamp : float
        Largest y.
    precision : torch.dtype
        Of the convolutions of encoder and denoiser.
    """
    hr, lr = pair
    with torch.autocast(hr.device.type, precision, enabled=precision != torch.float32):
        features = net.features(lr)
    features = [one.float() for one in features]
    space = net.whitening(lr, features)
    windows = Windows(space.whitened(hr).detach().clamp(-clamp, clamp), space.scale.detach(), features)
    denoising = denoising_loss(net, denoiser, windows, log_sigma, noise, precision)
    return likelihood_loss(hr, space), denoising.sum() / windows.scale.sum()

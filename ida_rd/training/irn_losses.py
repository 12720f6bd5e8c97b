"""What IRN, IRN+ and IRN_sigma are trained by. Distances are sums over an image, and means over the batch.

References
----------
.. [1] Xiao et al., "Invertible image rescaling", ECCV 2020.
.. [2] Pan, "Learning adjustable image rescaling with joint optimization of perception and distortion", ICASSP 2022.
.. [3] Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard GAN", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "GANS",
    "Weights",
    "absolute",
    "critic_loss",
    "fooling_loss",
    "joint_loss",
    "latent_loss",
    "perceptual_loss",
    "rescaling_loss",
    "squared",
]

GANS = ("gan", "ragan")
SMOOTHING = 1e-6  # below the root of a squared difference


@dataclass(frozen=True)
class Weights:
    """Weights of the terms.

    Attributes
    ----------
    reconstruction : float
        Of the distance of HR images, L_r.
    guide : float
        Of the distance of the LR image from the bicubic one, L_g.
    latent : float
        Of the latent's squares: IRN's term of distribution.
    adversarial, perceptual : float
        Of L_d and L_p.
    """

    reconstruction: float = 0.01
    guide: float = 16.0
    latent: float = 0.0
    adversarial: float = 1.0
    perceptual: float = 0.01


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Sum of squared differences of (B, C, H, W), mean over the batch: L_g [1]_."""
    return (a - b).square().sum() / len(a)


def absolute(a: Tensor, b: Tensor) -> Tensor:
    """Sum of smoothed absolute differences of (B, C, H, W), mean over the batch: L_r [1]_."""
    return ((a - b).square() + SMOOTHING).sqrt().sum() / len(a)


def latent_loss(latent: Tensor) -> Tensor:
    """Sum of squares, mean over the batch: a latent of a standard normal distribution has the least for its entropy."""
    return latent.square().sum() / len(latent)


def perceptual_loss(found: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """`absolute` of features, those of the real images without a gradient: L_p."""
    return torch.stack([absolute(a, b.detach()) for a, b in zip(found, real, strict=True)]).sum()


def critic_loss(real: Tensor, fake: Tensor, gan: str = "gan") -> Tensor:
    """What the critic minimises, of logits (B, 1); ``ragan``: each against the mean of the other kind [3]_."""
    if gan == "gan":
        return _entropy(real, 1) + _entropy(fake, 0)
    return (_entropy(real - fake.mean(), 1) + _entropy(fake - real.mean(), 0)) / 2


def fooling_loss(fake: Tensor, real: Tensor | None = None, gan: str = "gan") -> Tensor:
    """What the network minimises against the critic, L_d; ``ragan`` needs the real ones' logits too."""
    if gan == "gan":
        return _entropy(fake, 1)
    assert real is not None
    real = real.detach()
    return (_entropy(real - fake.mean(), 0) + _entropy(fake - real.mean(), 1)) / 2


def _entropy(logits: Tensor, label: int) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def rescaling_loss(terms: dict[str, Tensor], weights: Weights) -> Tensor:
    """Weighted sum of the terms that are there: IRN has a latent's, IRN+ the critic's and the features' instead."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def joint_loss(terms: dict[str, Tensor], weights: Weights, sigma: float) -> Tensor:
    """Equation (2) of [2]_: distortion fades as `sigma` rises from 0 to 1, perception comes, the guide stays.

    A term of weight 0 may be left out.
    """
    shares = {"reconstruction": 1 - sigma, "guide": 1.0, "adversarial": sigma, "perceptual": sigma}
    found = [shares[name] * getattr(weights, name) * term for name, term in terms.items() if shares[name]]
    return torch.stack(found).sum()

"""What PULSE's search makes small, per sample: equation numbers are those of the publication (Menon et al., CVPR 2020).

Each function gives one number per sample, (B,), so that the gradient of a sample is its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ida_rd.upscale.pulse import Term

__all__ = ["geocross", "l1", "loss_of", "squared"]

SMALL = 1e-9  # under the roots of distances
L1_WEIGHT = 10.0
GEOCROSS_DIVISOR = 8.0


def squared(small: Tensor, lr: Tensor) -> Tensor:
    """Mean squared difference of images (B, 3, h, w): L2 of the downscaling loss, equation 1, not clamped."""
    return (small - lr).square().mean(dim=(1, 2, 3))


def l1(small: Tensor, lr: Tensor, eps: float) -> Tensor:
    """Ten times the mean absolute difference, or eps if that is more."""
    return L1_WEIGHT * (small - lr).abs().mean(dim=(1, 2, 3)).clamp(min=eps)


def geocross(styles: Tensor) -> Tensor:
    """Mean squared geodesic distance of all pairs of styles (B, layers, latent), as if they lay on a sphere.

    With a = |x - y| and b = |x + y|, two styles are 2 atan2(a, b) apart. 0 where there is only one style.
    """
    latent = styles.shape[2]
    if styles.shape[1] == 1:
        return styles.new_zeros(len(styles))
    x, y = styles[:, :, None], styles[:, None, :]
    a = ((x - y).square().sum(dim=-1) + SMALL).sqrt()
    b = ((x + y).square().sum(dim=-1) + SMALL).sqrt()
    distance = 2 * torch.atan2(a, b)
    return (distance.square() * latent).mean(dim=(1, 2)) / GEOCROSS_DIVISOR


def loss_of(terms: Sequence[Term], small: Tensor, lr: Tensor, styles: Tensor, eps: float) -> dict[str, Tensor]:
    """The terms by name, and their weighted sum as ``total``, (B,) each; ``residual`` is L2 before it is clamped.

    Below `eps` the gradient of L2 and of L1 is zero.
    """
    residual = squared(small, lr)
    found: dict[str, Tensor] = {"residual": residual}
    total = torch.zeros_like(residual)
    for weight, name in terms:
        if name == "L2":
            found[name] = residual.clamp(min=eps)
        elif name == "L1":
            found[name] = l1(small, lr, eps)
        else:
            found[name] = geocross(styles)
        total = total + weight * found[name]
    return found | {"total": total}

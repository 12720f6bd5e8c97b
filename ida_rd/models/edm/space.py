"""The space that the diffusion runs in: the residual of the enlargement, rotated and whitened.

``r = B unshuffle_2(HR - enlarged)``, with an orthonormal B (opponent colours times the 2 x 2 Haar transform), and
``y = (r - mean) / scale``, where mean and scale are predicted from the LR image. So y has about unit variance
in every channel and at every position, which the preconditioning of the denoiser assumes.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.bijections import bound, squeeze, unsqueeze
from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.flow import RESIDUAL_SCALE

__all__ = ["CHANNELS", "Head", "Whitening", "from_basis", "orthonormal_basis", "to_basis"]

CHANNELS = 12  # three colours of 2 x 2 pixels
LEAST_SCALE = 1.5 / 255  # added to the predicted scale by squares: no residual is finer than the rounding of its image
LOG_SCALE_BOUND, CORRECTION_BOUND = 4.0, 20.0
# Brightness, and two opponent colours; orthonormal.
OPPONENT = ((1 / 3**0.5,) * 3, (1 / 2**0.5, 0, -(1 / 2**0.5)), (1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5))
HAAR = ((0.5, 0.5, 0.5, 0.5), (0.5, -0.5, 0.5, -0.5), (0.5, 0.5, -0.5, -0.5), (0.5, -0.5, -0.5, 0.5))


def orthonormal_basis() -> Tensor:
    """B, (12, 12): colours and Haar coefficients of a squeezed image, colours first."""
    return torch.kron(torch.tensor(OPPONENT, dtype=torch.float64), torch.tensor(HAAR, dtype=torch.float64)).float()


def to_basis(residual: Tensor, basis: Tensor) -> Tensor:
    """(B, 3, H, W) to its coefficients, (B, 12, H/2, W/2)."""
    return F.conv2d(squeeze(residual), basis[:, :, None, None])


def from_basis(coefficients: Tensor, basis: Tensor) -> Tensor:
    """Undo `to_basis`."""
    return unsqueeze(F.conv2d(coefficients, basis.T[:, :, None, None]))


class Whitening(NamedTuple):
    """What a residual is whitened by: its enlarged image, and mean and scale of its coefficients.

    Attributes
    ----------
    base : Tensor
        (B, 3, H, W), range about [0, 1].
    mean, scale : Tensor
        (B, 12, H/2, W/2); scale > 0.
    basis : Tensor
        (12, 12).
    """

    base: Tensor
    mean: Tensor
    scale: Tensor
    basis: Tensor

    def whitened(self, image: Tensor) -> Tensor:
        """Image to y."""
        return (to_basis(image - self.base, self.basis) - self.mean) / self.scale

    def image(self, y: Tensor) -> Tensor:
        """Image of y; a whitening of batch 1 serves any batch of y."""
        return self.base + from_basis(self.mean + self.scale * y, self.basis)

    def in_range(self, y: Tensor) -> Tensor:
        """The y of the image of y whose pixels are clamped to [0, 1]."""
        return self.whitened(self.image(y).clamp_(0, 1))


class Head(nn.Module):
    """Scaled features to a correction of the mean, and a scale, of each coefficient."""

    def __init__(self, config: EDMConfig) -> None:
        super().__init__()
        width, fine, coarse = config.head_width, config.feature_widths[0], config.feature_widths[1]
        self.fine = nn.Conv2d(fine, width, 3, padding=1)
        self.coarse = nn.Conv2d(coarse, 4 * width, 1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 2 * CHANNELS, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Features at half the HR size, and at a quarter of it; correction and scale, (B, 12, H/2, W/2), float32."""
        x = self.fine(fine) + F.pixel_shuffle(self.coarse(coarse), 2)
        x = x + self.middle(F.silu(x))
        correction, log_scale = self.last(F.silu(x)).float().chunk(2, dim=1)
        predicted = RESIDUAL_SCALE * bound(log_scale, LOG_SCALE_BOUND).exp()
        return RESIDUAL_SCALE * bound(correction, CORRECTION_BOUND), (predicted**2 + LEAST_SCALE**2).sqrt()

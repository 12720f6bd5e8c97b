"""Invertible building blocks that the flow models of this project share.

Every block maps ``(B, C, H, W)`` float tensors to tensors with as many elements and knows its
log-determinant. "encode" runs from image to latent, "decode" from latent to image.

References
----------
.. [1] Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", ICLR 2017.
.. [2] Kingma, Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", NeurIPS 2018.
.. [3] Lugmayr et al., "SRFlow: learning the super-resolution space with normalizing flow", ECCV 2020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelMix", "bound", "squeeze", "unsqueeze"]


def squeeze(x: Tensor, r: int = 2) -> Tensor:
    """Move each r x r block of pixels into channels: (B, C, H, W) to (B, C r^2, H/r, W/r) [2]_."""
    return F.pixel_unshuffle(x, r)


def unsqueeze(x: Tensor, r: int = 2) -> Tensor:
    """Undo `squeeze`: (B, C r^2, H, W) to (B, C, H r, W r)."""
    return F.pixel_shuffle(x, r)


def bound(x: Tensor, limit: float) -> Tensor:
    """Smooth, odd, identity-at-zero map into (-limit, limit): ``limit * tanh(x / limit)``."""
    return limit * torch.tanh(x / limit)


class ChannelMix(nn.Module):
    """Actnorm followed by an invertible 1x1 convolution, applied as one affine map of the channels.

    Encode: ``y = W ((x + bias) * exp(logs))``; per-pixel log-determinant
    ``log |det W| + sum(logs)`` (Glow, table 1 [2]_).

    Parameters
    ----------
    channels : int
        Number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0].contiguous())

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set bias and scale so that the actnorm's output on `x` has zero mean and unit variance."""
        mean = x.mean(dim=(0, 2, 3))
        std = x.std(dim=(0, 2, 3), correction=0).clamp_min(1e-6)
        self.bias.copy_(-mean)
        self.logs.copy_(-std.log())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(y, logdet)``: y like x, logdet a 0-d tensor, the sum over the pixels of one image."""
        scaled = self.weight * self.logs.exp()
        y = F.conv2d(x, scaled[:, :, None, None], scaled @ self.bias)
        per_pixel = torch.linalg.slogdet(self.weight.double())[1].to(x.dtype) + self.logs.sum()
        return y, per_pixel * (x.shape[2] * x.shape[3])

    def decode(self, y: Tensor) -> Tensor:
        """Invert `encode`. The small matrix is inverted in float64."""
        inverse = torch.linalg.inv(self.weight.double()) * (-self.logs.double()).exp()[:, None]
        return F.conv2d(y, inverse.to(y.dtype)[:, :, None, None], -self.bias)

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

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "ChannelMix",
    "actnorm_parameters",
    "affine_decode",
    "affine_encode",
    "bound",
    "bound_",
    "mix_decode",
    "mix_encode",
    "mix_inverse",
    "mix_logdet",
    "squeeze",
    "unsqueeze",
]


def squeeze(x: Tensor, r: int = 2) -> Tensor:
    """Move each r x r block of pixels into channels: (B, C, H, W) to (B, C r^2, H/r, W/r) [2]_."""
    return F.pixel_unshuffle(x, r)


def unsqueeze(x: Tensor, r: int = 2) -> Tensor:
    """Undo `squeeze`: (B, C r^2, H, W) to (B, C, H r, W r)."""
    return F.pixel_shuffle(x, r)


def bound(x: Tensor, limit: float) -> Tensor:
    """Smooth, odd map of any shape into (-limit, limit): ``limit * tanh(x / limit)``; the identity if inf."""
    if math.isinf(limit):
        return x
    return limit * torch.tanh(x / limit)


def bound_(x: Tensor, limit: float) -> Tensor:
    """`bound`, written over x."""
    return x if math.isinf(limit) else x.div_(limit).tanh_().mul_(limit)


def affine_encode(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Feature-conditional affine map ``(x + shift) * scale`` [3]_, all of one shape (B, C, H, W), scale > 0.

    Its log-determinant is ``sum(log(scale))`` over C, H and W.
    """
    return (x + shift) * scale


def affine_decode(y: Tensor, shift: Tensor, inverse_scale: Tensor) -> Tensor:
    """Undo `affine_encode`, (B, C, H, W), given one over its scale."""
    return (y * inverse_scale).sub_(shift)


def actnorm_parameters(x: Tensor) -> tuple[Tensor, Tensor]:
    """Bias and log-scale, (C,) each, by which ``(x + bias) * exp(logs)`` has zero mean and unit variance [2]_."""
    std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    return -mean, -(std + 1e-6).log()


def mix_encode(x: Tensor, bias: Tensor, logs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Actnorm, then invertible 1x1 convolution: ``W ((x + bias) * exp(logs))`` (Glow, table 1 [2]_).

    Parameters
    ----------
    x : Tensor
        (B, C, H, W).
    bias, logs : Tensor
        (C,).
    weight : Tensor
        (C, C), invertible.

    Returns
    -------
    y : Tensor
        Like x.
    logdet : Tensor
        0-d, of one image: its number of pixels times ``log |det W| + sum(logs)``.
    """
    scaled = weight * logs.exp()
    with torch.autocast(x.device.type, enabled=False):  # a map that is to be inverted keeps its digits
        y = F.conv2d(x, scaled[:, :, None, None], scaled @ bias)
    return y, mix_logdet(logs, weight, x.shape[2] * x.shape[3])


def mix_logdet(logs: Tensor, weight: Tensor, pixels: int) -> Tensor:
    """Log-determinant of `mix_encode` on an image of `pixels` pixels: 0-d, in nats, of the type of `logs`."""
    return (torch.linalg.slogdet(weight.double())[1].to(logs.dtype) + logs.sum()) * pixels


def mix_inverse(logs: Tensor, weight: Tensor) -> Tensor:
    """The matrix ``diag(exp(-logs)) W^-1`` that undoes actnorm scale and 1x1 convolution: (C, C), float64."""
    return torch.linalg.inv(weight.double()) * (-logs.double()).exp()[:, None]


def mix_decode(y: Tensor, bias: Tensor, logs: Tensor, weight: Tensor) -> Tensor:
    """Undo `mix_encode`: (B, C, H, W) to the same shape. The small matrix is inverted in float64."""
    with torch.autocast(y.device.type, enabled=False):
        return F.conv2d(y, mix_inverse(logs, weight).to(y.dtype)[:, :, None, None], -bias)


class ChannelMix(nn.Module):
    """Actnorm and invertible 1x1 convolution with their parameters; see `mix_encode`.

    Parameters
    ----------
    channels : int
        Number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))
        weight = torch.empty(channels, channels)
        if not weight.is_meta:  # drawing on "meta" makes torch import its symbolic shapes: half a second, for no number
            weight = torch.linalg.qr(torch.randn(channels, channels))[0].contiguous()
        self.weight = nn.Parameter(weight)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set bias and scale so that the actnorm's output on `x` has zero mean and unit variance."""
        bias, logs = actnorm_parameters(x)
        self.bias.copy_(bias)
        self.logs.copy_(logs)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(y, logdet)``; see `mix_encode`."""
        return mix_encode(x, self.bias, self.logs, self.weight)

    def decode(self, y: Tensor) -> Tensor:
        """Invert `encode`."""
        return mix_decode(y, self.bias, self.logs, self.weight)

"""IRN: an invertible network from an HR image to its LR image and a latent, and back [1]_.

Haar steps halve the sides; after each, coupling blocks move between the first three channels, which are or become the
LR image, and the rest, which become the latent. "encode" runs from the HR image to both, "decode" back.

References
----------
.. [1] Xiao et al., "Invertible image rescaling", ECCV 2020.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.subnets import DenseSubnet, DistilledSubnet, Reduced

__all__ = ["Coupling", "HaarStep", "IRNNet", "haar_signs", "quantise"]

LR_CHANNELS = 3
# Of the pixels p00, p01, p10, p11 of a 2 x 2 block, in each band.
SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


def haar_signs(channels: int) -> Tensor:
    """The sign tensor that checkpoints store: the four patterns, once per channel, (4 channels, 1, 2, 2)."""
    return torch.tensor(SIGNS, dtype=torch.float32).view(4, 1, 2, 2).repeat(channels, 1, 1, 1)


class HaarStep(nn.Module):
    """(B, c, H, W) to (B, 4 c, H/2, W/2), band-major: the means of all channels come first.

    Parameters
    ----------
    channels : int
        Channels c of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Nothing is computed from it: it is what checkpoints hold, and a buffer, so that nobody trains it.
        self.register_buffer("haar_weights", haar_signs(channels))

    def encode(self, x: Tensor) -> Tensor:
        """Band means: signed sums of each 2 x 2 block, divided by 4."""
        p00, p01 = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
        p10, p11 = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
        bands = [p00 + p01 + p10 + p11, p00 - p01 + p10 - p11, p00 + p01 - p10 - p11, p00 - p01 - p10 + p11]
        return torch.cat(bands, 1) / 4

    def decode(self, y: Tensor) -> Tensor:
        """Undo `encode`: the same signs, without a division."""
        b0, b1, b2, b3 = y.chunk(4, 1)
        pixels = [b0 + b1 + b2 + b3, b0 - b1 + b2 - b3, b0 + b1 - b2 - b3, b0 - b1 - b2 + b3]
        return F.pixel_shuffle(torch.stack(pixels, 2).flatten(1, 2), 2)

    def logdet(self, y: Tensor) -> Tensor:
        """Log-determinant of `encode` for each of the images that gave `y`, (B,)."""
        return y.new_full((len(y),), y[0].numel() / 4 * math.log(1 / 16))


class Coupling(nn.Module):
    """Coupling block on n channels: a, the first three, and b, the rest.

    Encodes ``a' = a + F(b)``, ``b' = b * exp(s) + G(a')`` with ``s = 2 sigmoid(H(a')) - 1``.

    Parameters
    ----------
    channels : int
        n.
    config : IRNConfig
    """

    def __init__(self, channels: int, config: IRNConfig) -> None:
        super().__init__()
        rest = channels - LR_CHANNELS
        self.reduce_conv: nn.Module
        if config.subnet == "dense":
            self.reduce_conv = nn.Identity()
            self.F: nn.Module = DenseSubnet(rest, LR_CHANNELS, config.growth)
            self.G: nn.Module = DenseSubnet(LR_CHANNELS, rest, config.growth)
            self.H: nn.Module = DenseSubnet(LR_CHANNELS, rest, config.growth)
        else:
            self.reduce_conv = Reduced(rest, rest // 2)
            self.F = DistilledSubnet(rest // 2, LR_CHANNELS, 0.5)
            self.G = DistilledSubnet(LR_CHANNELS, rest, 3)
            self.H = DistilledSubnet(LR_CHANNELS, rest, 3)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output, and its log-determinant for each image, (B,)."""
        a, b = x[:, :LR_CHANNELS], x[:, LR_CHANNELS:]
        a = a + self.F(self.reduce_conv(b))
        s = self._log_scale(a)
        return torch.cat([a, b * s.exp() + self.G(a)], 1), s.flatten(1).sum(1)

    def decode(self, y: Tensor) -> Tensor:
        """Undo `encode`."""
        a, b = y[:, :LR_CHANNELS], y[:, LR_CHANNELS:]
        b = (b - self.G(a)) / self._log_scale(a).exp()
        return torch.cat([a - self.F(self.reduce_conv(b)), b], 1)

    def _log_scale(self, a: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.H(a)) - 1


class IRNNet(nn.Module):
    """The network; untrained, its LR image is the mean of each block of factor x factor pixels.

    Parameters
    ----------
    config : IRNConfig
    """

    def __init__(self, config: IRNConfig) -> None:
        super().__init__()
        self.config = config
        operations: list[nn.Module] = []
        channels = LR_CHANNELS
        for count in config.blocks:
            operations.append(HaarStep(channels))
            channels *= 4
            operations += [Coupling(channels, config) for _ in range(count)]
        self.operations = nn.ModuleList(operations)

    def encode(self, hr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split HR images into LR image and latent.

        Parameters
        ----------
        hr : Tensor
            (B, 3, H, W), range [0, 1]; sides multiples of the factor.

        Returns
        -------
        lr : Tensor
            (B, 3, H/factor, W/factor), neither clamped nor rounded.
        latent : Tensor
            (B, 3 (factor^2 - 1), H/factor, W/factor).
        logdet : Tensor
            (B,), of each image.
        """
        x, logdet = hr, hr.new_zeros(len(hr))
        for operation in self.operations:
            if isinstance(operation, HaarStep):
                x = operation.encode(x)
                logdet = logdet + operation.logdet(x)
            else:
                x, change = cast(Coupling, operation).encode(x)
                logdet = logdet + change
        return x[:, :LR_CHANNELS], x[:, LR_CHANNELS:], logdet

    def decode(self, lr: Tensor, latent: Tensor) -> Tensor:
        """HR images of LR images and latents, not clamped; shapes as in `encode`."""
        x = torch.cat([lr, latent], 1)
        for operation in reversed(self.operations):
            x = cast(Coupling | HaarStep, operation).decode(x)
        return x


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * 255).round() / 255

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def quantise(x: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits, half to even; its gradient is taken to be 1, where it clamps too.

    Any shape.
    """
    return cast(Tensor, _Quantise.apply(x))

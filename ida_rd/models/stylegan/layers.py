"""Layers of StyleGAN [1]_, with the parameter names of the published files.

Weights are stored with unit variance and scaled when they are used [2]_: ``W = stored * gain / sqrt(fan_in) * rate``,
``b = stored * rate``. `fold` does that once, for a network that is no longer trained.

References
----------
.. [1] Karras, Laine, Aila, "A style-based generator architecture for generative adversarial networks", CVPR 2019.
.. [2] Karras et al., "Progressive growing of GANs for improved quality, stability, and variation", ICLR 2018, 4.1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Blur", "Conv", "Epilogue", "Linear", "Noise", "Scaled", "Style", "UpConv", "blur_kernel", "fold"]

SLOPE = 0.2
ROTATED_FROM = 128  # side of an up-convolution's result from which the published network applies its kernel rotated
NORM_EPS = 1e-5


def blur_kernel(dtype: torch.dtype = torch.float32) -> Tensor:
    """The binomial kernel of `Blur`, (1, 1, 3, 3)."""
    line = torch.tensor([1.0, 2.0, 1.0], dtype=dtype)
    return (line[:, None] * line)[None, None] / 16


class Scaled(nn.Module):
    """A weight and a bias that are scaled when they are used [2]_.

    Parameters
    ----------
    *shape : int
        Of the weight, outputs first.
    gain : float
    rate : float
        By how much faster than the stored values the used ones are learned.
    """

    def __init__(self, *shape: int, gain: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape) / rate)
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.scale, self.rate = gain / math.sqrt(math.prod(shape[1:])) * rate, rate

    def used(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as they are used."""
        if self.scale == 1 and self.rate == 1:
            return self.weight, self.bias
        return self.weight * self.scale, self.bias * self.rate

    @torch.no_grad()
    def fold(self) -> None:
        """Store what is used."""
        self.weight.copy_(self.weight * self.scale)
        self.bias.copy_(self.bias * self.rate)
        self.scale = self.rate = 1.0


def fold(net: nn.Module) -> None:
    """Scale all weights of a network once; it computes the same, and its values are no longer those of a file."""
    for module in net.modules():
        if isinstance(module, Scaled):
            module.fold()


class Linear(Scaled):
    """A fully connected layer."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.used())


class Conv(Scaled):
    """A convolution that keeps the size."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, *self.used(), padding=self.weight.shape[-1] // 2)


class Blur(nn.Module):
    """A depthwise binomial filter, with zeros around the image."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel())

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        return F.conv2d(x, self.kernel.to(x.dtype).expand(channels, -1, -1, -1), padding=1, groups=channels)


class UpConv(Scaled):
    """Each pixel four times, a 3x3 convolution, `Blur`, and only then the bias.

    The first two are one transposed convolution: of the kernel's nine taps, those that meet the same pixel are added,
    which leaves four of 2x2 for the four places. From `ROTATED_FROM` on, the published network applies the kernel
    rotated by 180 degrees.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    side : int
        Of the result.
    """

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__(outputs, inputs, 3, 3, gain=math.sqrt(2))
        self.intermediate = Blur()
        self.rotated = side >= ROTATED_FROM
        self.folded: Tensor | None
        self.register_buffer("folded", None, persistent=False)  # `transposed`, once it cannot change any more

    def transposed(self) -> Tensor:
        """Kernel of the transposed convolution, (inputs, outputs, 4, 4)."""
        if self.folded is not None:
            return self.folded
        weight = self.used()[0]
        padded = F.pad((weight if self.rotated else weight.flip(2, 3)).transpose(0, 1), (1, 1, 1, 1))
        rows = padded[:, :, 1:] + padded[:, :, :-1]
        return (rows[:, :, :, 1:] + rows[:, :, :, :-1]).contiguous()

    @torch.no_grad()
    def fold(self) -> None:
        super().fold()
        self.folded = self.transposed()

    def forward(self, x: Tensor) -> Tensor:
        up = F.conv_transpose2d(x, self.transposed(), stride=2, padding=1)
        return self.intermediate(up) + self.used()[1][:, None, None]


class Noise(nn.Module):
    """How strongly a noise map is added, by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        return x if noise is None else x + self.weight[:, None, None] * noise


class Style(nn.Module):
    """Adaptive instance normalisation, equation 1 of [1]_, after the normalisation: scale and shift by a style."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.lin = Linear(2 * channels, latent)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.lin(style)[:, :, None, None].chunk(2, dim=1)
        return x * (scale + 1) + shift


class Epilogue(nn.Module):
    """What follows each convolution: noise, leaky ReLU, instance normalisation, style."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.noise = Noise(channels)
        self.style_mod = Style(channels, latent)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        x = F.leaky_relu(self.noise(x, noise), SLOPE)
        return self.style_mod(F.instance_norm(x, eps=NORM_EPS), style)

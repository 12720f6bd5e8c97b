"""Colours of a result by those of the image that it was made of: a decoder of latents does not keep them.

All take images (B, 3, H, W) of equal sides, on any scale, and return the first with colours of the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FIXES", "Fix", "adain", "low_frequencies", "none", "wavelet"]

Fix = Literal["wavelet", "adain", "none"]
RADII = (1, 2, 4, 8, 16)
LEAST_VARIANCE = 1e-5


def low_frequencies(image: Tensor) -> Tensor:
    """What is left after blurs by a kernel of 3 x 3 whose elements lie ever further apart; edges are repeated."""
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    kernel = torch.outer(kernel, kernel).expand(image.shape[1], 1, 3, 3)
    for radius in RADII:
        padded = F.pad(image, [radius] * 4, mode="replicate")
        image = F.conv2d(padded, kernel, dilation=radius, groups=image.shape[1])
    return image


def wavelet(image: Tensor, colours: Tensor) -> Tensor:
    """The high frequencies of an image, and the low ones of `colours`."""
    return image - low_frequencies(image) + low_frequencies(colours)


def adain(image: Tensor, colours: Tensor) -> Tensor:
    """An image with each channel's mean and standard deviation of `colours`."""
    own, own_mean = torch.var_mean(image, dim=(2, 3), keepdim=True)
    other, mean = torch.var_mean(colours, dim=(2, 3), keepdim=True)
    return (image - own_mean) / (own + LEAST_VARIANCE).sqrt() * (other + LEAST_VARIANCE).sqrt() + mean


def none(image: Tensor, colours: Tensor) -> Tensor:
    """The image itself."""
    return image


FIXES: dict[Fix, Callable[[Tensor, Tensor], Tensor]] = {"wavelet": wavelet, "adain": adain, "none": none}

"""AlexNet and VGG-16 that tolerate small shifts, with the heads of a learned distance: the networks of ST-LPIPS [1]_.

No layer but a binomial filter takes every second sample [2]_: AlexNet's first convolution goes by one pixel where
torchvision's goes by four, its filter stands before the activation, and maxima are taken at every place and filtered
after. The filter's border is reflected, two pixels wide, one more than the filter needs; convolutions are padded with
zeros, as torchvision's. What the paper leaves open (where the filter stands, how wide its border is, the strides) is
what the names and shapes of the published tensors decide, with the distance that the package states for one pair of
images: no other choice that was tried gives it.

References
----------
.. [1] Ghildyal, Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022.
.. [2] Zhang, "Making convolutional networks shift-invariant again", ICML 2019.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

__all__ = ["Blur", "ShiftTolerant"]

# Layers one after another, in the five parts whose outputs are compared: ("conv", channels, side of the kernel),
# "relu", ("max", side) and "blur". The file numbers them through, and names each by its part and number.
Layer = tuple[str, int] | tuple[str, int, int] | str
ALEX: tuple[tuple[Layer, ...], ...] = (
    (("conv", 64, 11), "blur", "relu"),
    (("max", 3), "blur", ("conv", 192, 5), "relu"),
    (("max", 3), "blur", ("conv", 384, 3), "relu"),
    (("conv", 256, 3), "relu"),
    (("conv", 256, 3), "relu"),
)


def _vgg(channels: int, convolutions: int) -> tuple[Layer, ...]:
    return (("max", 2), "blur", *((("conv", channels, 3), "relu") * convolutions))


VGG: tuple[tuple[Layer, ...], ...] = (_vgg(64, 2)[2:], _vgg(128, 2), _vgg(256, 3), _vgg(512, 3), _vgg(512, 3))
PARTS = {"alex": ALEX, "vgg": VGG}
BORDER = 2  # of a filter
FIRST = 2  # zeros around the image, of AlexNet's first convolution: torchvision's


class Blur(nn.Module):
    """Every second sample of each channel, after a binomial filter of three by three (file: ``filt``)."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filt", torch.outer(line, line).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(pad(x, (BORDER,) * 4, mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class _Scaling(nn.Module):
    """From [-1, 1] to what torchvision's networks were trained on."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.scale


class _Head(nn.Module):
    """Weights of a layer's channels; number 0 was dropout, while it was trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))


class ShiftTolerant(nn.Module):
    """Features and heads, under the names of the published file.

    Parameters
    ----------
    backbone : str
        ``alex`` or ``vgg``.
    """

    def __init__(self, backbone: Literal["alex", "vgg"]) -> None:
        super().__init__()
        self.scaling_layer = _Scaling()
        self.net = nn.Module()  # its parts are children of this, as the file names them
        number, channels = 0, 3
        for i, layers in enumerate(PARTS[backbone]):
            part = nn.Sequential()
            for layer in layers:
                made: nn.Module
                if layer == "relu":
                    made = nn.ReLU()
                elif layer == "blur":
                    made = Blur(channels)
                elif layer[0] == "max":
                    made = nn.MaxPool2d(int(layer[1]), stride=1)
                else:
                    wide, side = (int(size) for size in layer[1:])
                    made = nn.Conv2d(channels, wide, side, padding=FIRST if side == 11 else side // 2)
                    channels = wide
                part.add_module(str(number), made)
                number += 1
            self.net.add_module(f"slice{i + 1}", part)
            self.add_module(f"lin{i}", _Head(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features after each part, of images in [-1, 1]."""
        found = []
        x = self.scaling_layer(x)
        for part in self.net.children():
            x = part(x)
            found.append(x)
        return found

    def weights(self) -> list[Tensor]:
        """Weights of the channels of each part, at least 0."""
        return [getattr(self, f"lin{i}").model[1].weight[0, :, 0, 0] for i in range(len(ALEX))]

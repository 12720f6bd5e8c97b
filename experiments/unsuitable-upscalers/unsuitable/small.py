"""Two small deterministic networks that spandrel does not know: IMDN [1]_ and CARN-M [2]_, for factor 4.

    {method: unsuitable.small, path: IMDN_x4.pth, licence: ...}

Written from the papers, and from the names and shapes in the files that their authors published; which of the two a
file is, its names say. Both are trained on bicubic LR images by a pixel loss, so they are not blind, and smooth.

References
----------
.. [1] Hui et al., "Lightweight image super-resolution with information multi-distillation network", ACM MM 2019.
.. [2] Ahn et al., "Fast, accurate, and lightweight super-resolution with cascading residual network", ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file
from ida_rd.upscale.contract import Descriptor, Problem, Samples
from ida_rd.upscale.eight_bit import to_samples

FACTOR = 4
SLOPE = 0.05  # of IMDN's leaky rectifiers
GROUPS = 4  # of CARN-M's convolutions


class Parameters(Base):
    """The file, and its terms."""

    path: str = Field(description="file of the network")
    licence: str = Field(default="the file's", description="its terms, as the results will state them")


def files(parameters: Parameters, factor: int) -> list[Path]:
    path = Path(parameters.path).expanduser()
    if not path.is_file():
        raise UserError(f"path: {path} does not exist: give the file of a network")
    return [path]


def describe(parameters: Parameters, factor: int) -> Descriptor:
    if factor != FACTOR:
        raise UserError(f"factor {factor}: its networks are for {FACTOR} alone")
    return Descriptor(
        factor=factor, stochastic=False, blind=False, licence=parameters.licence, weights={}, kind="regression"
    )


def load(parameters: Parameters, problem: Problem, device: str) -> Small:
    (path,) = files(parameters, problem.factor)
    state = read_file(path).state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds something else than named tensors: give the file of a network")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    net: nn.Module = IMDN() if "fea_conv.weight" in state else CARNM()
    wanted = {name: value.shape for name, value in net.state_dict().items()}
    if isinstance(net, CARNM):  # one file is for factors 2, 3 and 4
        state = {name: value for name, value in state.items() if not name.startswith(("upsample.up2", "upsample.up3"))}
    if {name: value.shape for name, value in state.items()} != wanted:
        raise UserError(
            f"{path}: is neither IMDN nor CARN-M for factor {FACTOR}: its tensors have other names or shapes"
        )
    net.load_state_dict(state)
    return Small(net.to(device).eval(), device)


class Small:
    """A network on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, net: nn.Module, device: str) -> None:
        torch.backends.cudnn.allow_tf32 = False  # results must not depend on the device's shortcuts
        self.net, self.device = net, device

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8; every draw gives the same."""
        with torch.inference_mode():
            one = to_samples(self.net(torch.from_numpy(lr).to(self.device)[None].float() / 255))
        count = len(draws)
        return Samples(one.sr.repeat(count, axis=0), one.finite.repeat(count), one.clipped.repeat(count))


def _conv(inside: int, outside: int, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, kernel, padding=kernel // 2, groups=groups)


class Attention(nn.Module):
    """Contrast-aware channel attention: by mean and standard deviation of each channel."""

    def __init__(self, channels: int = 64, reduced: int = 4) -> None:
        super().__init__()
        layers = (_conv(channels, reduced, 1), nn.ReLU(), _conv(reduced, channels, 1), nn.Sigmoid())
        self.conv_du = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        spread, mean = torch.std_mean(x, dim=(2, 3), correction=0, keepdim=True)
        return x * self.conv_du(spread + mean)


class Distillation(nn.Module):
    """Information multi-distillation: three times a quarter of the channels is kept, and the rest refined."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.kept = channels // 4
        rest = channels - self.kept
        self.c1, self.c2, self.c3 = _conv(channels, channels), _conv(rest, channels), _conv(rest, channels)
        self.c4, self.c5, self.cca = _conv(rest, self.kept), _conv(channels, channels, 1), Attention(channels)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for layer in (self.c1, self.c2, self.c3):
            y = nn.functional.leaky_relu(layer(rest), SLOPE)
            kept.append(y[:, : self.kept])
            rest = y[:, self.kept :]
        return x + self.c5(self.cca(torch.cat([*kept, self.c4(rest)], dim=1)))


class IMDN(nn.Module):
    """Six such blocks, of which all are collected."""

    def __init__(self, channels: int = 64, blocks: int = 6) -> None:
        super().__init__()
        self.fea_conv = _conv(3, channels)
        for i in range(blocks):
            setattr(self, f"IMDB{i + 1}", Distillation(channels))
        self.blocks = blocks
        self.c = nn.Sequential(_conv(channels * blocks, channels, 1), nn.LeakyReLU(SLOPE))
        self.LR_conv = _conv(channels, channels)
        self.upsampler = nn.Sequential(_conv(channels, 3 * FACTOR**2), nn.PixelShuffle(FACTOR))

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.fea_conv(x)
        found = []
        for i in range(self.blocks):
            y = getattr(self, f"IMDB{i + 1}")(y)
            found.append(y)
        return self.upsampler(self.LR_conv(self.c(torch.cat(found, dim=1))) + first)


class Residual(nn.Module):
    """Efficient residual block: convolutions in groups, then one of 1 x 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        grouped = [_conv(channels, channels, groups=GROUPS) for _ in range(2)]
        self.body = nn.Sequential(grouped[0], nn.ReLU(), grouped[1], nn.ReLU(), _conv(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + x)


class Joined(nn.Module):
    """Brings what was collected back to as many channels."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inside, outside, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Cascade(nn.Module):
    """Three steps; what each gives joins all before it. In a block they are one step, of the same weights."""

    def __init__(self, channels: int, *, blocks: bool) -> None:
        super().__init__()
        self.blocks = blocks
        for i in (1, 2, 3) if blocks else (1,):
            setattr(self, f"b{i}", Cascade(channels, blocks=False) if blocks else Residual(channels))
        for i in (1, 2, 3):
            setattr(self, f"c{i}", Joined((i + 1) * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        collected = y = x
        for i in (1, 2, 3):
            collected = torch.cat([collected, getattr(self, f"b{i if self.blocks else 1}")(y)], dim=1)
            y = getattr(self, f"c{i}")(collected)
        return y


class Shift(nn.Module):
    """Subtracts the training images' mean colour, or adds it: its weights say which."""

    def __init__(self) -> None:
        super().__init__()
        self.shifter = _conv(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shifter(x)


class Twice(nn.Module):
    """By 2, and by 2 again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        grouped = [_conv(channels, 4 * channels, groups=GROUPS) for _ in range(2)]
        steps = [(conv, nn.ReLU(), nn.PixelShuffle(2)) for conv in grouped]
        self.body = nn.Sequential(*steps[0], *steps[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Enlarged(nn.Module):
    """Of a file for three factors, the part for 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up4 = Twice(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.up4(x)


class CARNM(Cascade):
    """Cascading blocks, between two shifts of the mean colour."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels, blocks=True)
        self.sub_mean, self.add_mean = Shift(), Shift()
        self.entry, self.upsample, self.exit = _conv(3, channels), Enlarged(channels), _conv(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.add_mean(self.exit(self.upsample(super().forward(self.entry(self.sub_mean(x))))))

"""Sample SR3: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.sr3.checkpoint import load_network
from ida_rd.models.sr3.network import SR3Net
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffusion.ancestral import Ancestral
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.sr3 import Parameters, bytes_per_pixel, check_factor, own_file, weights_of

__all__ = ["SR3Chain", "SR3Upscaler", "enlarge"]


def enlarge(lr: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """What the network is given of an LR image (3, h, w), uint8: enlarged by Pillow's bicubic filter, and rounded."""
    height, width = lr.shape[1:]
    image = Image.fromarray(np.ascontiguousarray(lr.transpose(1, 2, 0)))
    large = image.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(large).transpose(2, 0, 1))


class SR3Chain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Parameters
    ----------
    net : SR3Net
    steps : Ancestral
        Of the schedule.
    condition : Tensor
        (1 or B, 3, H, W), enlarged LR images in [-1, 1], of any sides.
    """

    def __init__(self, net: SR3Net, steps: Ancestral, condition: Tensor) -> None:
        self.net, self.by = net, steps
        self.size = tuple(condition.shape[2:])
        bottom, right = (-side % net.config.multiple for side in self.size)
        self.condition = F.pad(condition, (0, right, 0, bottom), mode="reflect") if bottom or right else condition
        self.shape = tuple(self.condition.shape[1:])
        self.levels = torch.from_numpy(steps.level).to(condition)
        self.steps = len(steps.level)
        self.each = bytes_per_pixel(net.config) * self.shape[1] * self.shape[2]

    def begin(self, noise: Noise) -> Tensor:
        """Noise alone."""
        return noise.start(self.shape)

    def step(self, number: int, state: Tensor, noise: Noise) -> Tensor:
        """From t to t - 1; nothing is added at t = 0."""
        t = self.steps - 1 - number
        image = self.by.clean(t, state, self.net(self.condition, state, self.levels[t : t + 1])).clamp(-1, 1)
        mean = self.by.mean(t, state, image)
        return mean + float(self.by.spread[t]) * noise.step(number, self.shape) if t else mean

    def end(self, state: Tensor) -> Tensor:
        """The image without its padding, in [0, 1]."""
        return (state[:, :, : self.size[0], : self.size[1]] + 1) / 2


class SR3Upscaler:
    """SR3 on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        plain_arithmetic()
        self.factor, self.batch, self.device = factor, parameters.batch, torch.device(device)
        known = check_factor(parameters, factor)
        read = [read_weights(key, path) for key, path in weights_of(parameters).items()]
        read = read or [read_file(own_file(parameters))]
        self.net = load_network(read[0], known.config).to(self.device)
        self.steps = Ancestral.of(parameters.betas())

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw.

        The enlarged image is padded by reflection, at the bottom and right, to sides that the network can halve.
        """
        enlarged = torch.from_numpy(enlarge(lr, self.factor)).to(self.device)[None]
        chain = SR3Chain(self.net, self.steps, enlarged.float() / 255 * 2 - 1)
        return draw_samples(chain, draws, self.device, self.batch)

"""Sample latent diffusion: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_weights
from ida_rd.models.latent.checkpoint import state_of
from ida_rd.models.latent.config import UNetConfig
from ida_rd.models.latent.layout import autoencoder_shapes, unet_shapes
from ida_rd.models.latent.networks import autoencoder_of, decoded, noise_of, unet_of
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.diffusion.ddim import DDIM
from ida_rd.upscale.diffusion.sampler import State
from ida_rd.upscale.diffusion.schedule import scaled_linear
from ida_rd.upscale.ldm import WHAT, Parameters, bytes_of_step, configs, weights_of

__all__ = ["LDMChain", "LDMUpscaler", "steps_of"]

BETAS = 0.0015, 0.0155


def steps_of(parameters: Parameters) -> DDIM:
    """The steps: at times 1, 1 + c, 1 + 2 c ..., and from the first of them to time 0, as published."""
    return DDIM.of(scaled_linear(*BETAS), parameters.steps, eta=parameters.eta)


class LDMChain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Parameters
    ----------
    unet, autoencoder : Module
    config : UNetConfig
    steps : DDIM
    lr : Tensor
        (1, 3, h, w), in [-1, 1], of any sides that can be padded by reflection.
    """

    def __init__(self, unet: nn.Module, autoencoder: nn.Module, config: UNetConfig, steps: DDIM, lr: Tensor) -> None:
        self.unet, self.autoencoder, self.by = unet, autoencoder, steps
        self.size = tuple(lr.shape[2:])
        bottom, right = (-side % config.multiple for side in self.size)
        self.lr = F.pad(lr, (0, right, 0, bottom), mode="reflect") if bottom or right else lr
        self.shape = (config.outside, *self.lr.shape[2:])
        self.steps = steps.steps
        self.each = bytes_of_step(config) * self.shape[1] * self.shape[2]

    def begin(self, noise: Noise) -> State:
        """A latent of noise alone."""
        return self.by.begin(noise.start(self.shape))

    def step(self, number: int, state: State, noise: Noise) -> State:
        """From a time to the one before."""
        return self.by.step(number, state, self._noise_in, noise)

    def _noise_in(self, x: Tensor, time: float) -> Tensor:
        return noise_of(self.unet, torch.cat([x, self.lr.expand(len(x), -1, -1, -1)], dim=1), time)

    def end(self, state: State) -> Tensor:
        """The images of the latents, one by one, without their padding, in [0, 1]."""
        images = torch.cat([decoded(self.autoencoder, latent) for latent in state.x.split(1)])
        height, width = (side * images.shape[2] // self.shape[1] for side in self.size)
        return (images[:, :, :height, :width] + 1) / 2


class LDMUpscaler:
    """Latent diffusion on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        plain_arithmetic()
        self.batch, self.device = parameters.batch, torch.device(device)
        self.config, autoencoder = configs(parameters)
        unet_file, autoencoder_file = (read_weights(key, path) for key, path in weights_of(parameters).items())
        tensors = state_of(unet_file.path, unet_file.tensors(), WHAT["unet"], unet_shapes(self.config))
        self.unet = unet_of(self.config, tensors).to(self.device)
        shapes = autoencoder_shapes(autoencoder)
        tensors = state_of(autoencoder_file.path, autoencoder_file.tensors(), WHAT["vqvae"], shapes)
        self.autoencoder = autoencoder_of(autoencoder, tensors).to(self.device)
        self.steps = steps_of(parameters)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw.

        The LR image is padded by reflection, at the bottom and right, to sides that the U-Net can halve.
        """
        given = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255 * 2 - 1
        chain = LDMChain(self.unet, self.autoencoder, self.config, self.steps, given)
        return draw_samples(chain, draws, self.device, self.batch)

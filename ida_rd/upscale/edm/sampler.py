"""Sample the compact diffusion decoder: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.network import EDMNet
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.edm import SAMPLE_BYTES, Parameters, own_file, weights_of

__all__ = ["EDMChain", "EDMUpscaler"]


class State(NamedTuple):
    """The noisy y, and the clean one of the step before."""

    x: Tensor
    before: Tensor | None = None


class EDMChain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Parameters
    ----------
    net : EDMNet
    solver : Solver
    lr : Tensor
        (1, 3, h, w), range [0, 1].
    half : bool
        Whether the denoiser's convolutions run in bfloat16.
    """

    def __init__(self, net: EDMNet, solver: Solver, lr: Tensor, *, half: bool = False) -> None:
        self.net, self.solver, self.half = net, solver, half
        self.given = net.condition(lr)
        self.levels = torch.tensor(solver.levels, device=lr.device, dtype=lr.dtype)
        self.steps = solver.steps
        self.each = SAMPLE_BYTES * self.given.space.base[0, 0].numel()

    def begin(self, noise: Noise) -> State:
        """Noise of the largest level."""
        return State(self.solver.levels[0] * noise.start(self.given.shape))

    def step(self, number: int, state: State, noise: Noise) -> State:
        """To the next level; nothing is added. What the denoiser gives is clamped, as pixels, to [0, 1]."""
        with torch.autocast(state.x.device.type, torch.bfloat16, enabled=self.half):
            clean = self.net.denoise(state.x, self.levels[number : number + 1], self.given.features)
        clean = self.given.space.in_range(clean)
        return State(self.solver.step(number, state.x, clean, state.before), clean)

    def end(self, state: State) -> Tensor:
        """The image without its padding."""
        return self.net.image(state.x, self.given)


class EDMUpscaler:
    """The decoder on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int, device: str) -> None:
        plain_arithmetic()
        self.half, self.device = parameters.precision == "bfloat16", torch.device(device)
        # A library sums the products of a batch in another order than those of one sample. In float32 that is lost when
        # pixels are rounded; in bfloat16, of 8 bits, it is seen: there each sample goes by itself.
        self.batch = 1 if self.half else parameters.batch
        read = [read_weights(key) for key in weights_of(parameters, factor)]
        read = read or [read_file(own_file(parameters, factor))]
        self.net = load_network(read[0]).to(self.device)
        if self.net.config.factor != factor:
            raise UserError(f"{read[0].path}: is for factor {self.net.config.factor}, not {factor}")
        self.solver = Solver(noise_levels(parameters.steps))

    @torch.inference_mode()
    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; what depends on LR alone is computed once."""
        image = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)[None].float() / 255
        return draw_samples(EDMChain(self.net, self.solver, image, half=self.half), draws, self.device, self.batch)

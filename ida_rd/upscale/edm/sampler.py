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
    """

    def __init__(self, net: EDMNet, solver: Solver, lr: Tensor) -> None:
        self.net, self.solver = net, solver
        self.given = net.condition(lr)
        self.levels = torch.tensor(solver.levels, device=lr.device, dtype=lr.dtype)
        self.steps = solver.steps
        self.each = SAMPLE_BYTES * self.given.space.base[0, 0].numel()

    def begin(self, noise: Noise) -> State:
        """Noise of the largest level."""
        return State(self.solver.levels[0] * noise.start(self.given.shape))

    def step(self, number: int, state: State, noise: Noise) -> State:
        """To the next level; nothing is added. What the denoiser gives is clamped, as pixels, to [0, 1]."""
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
        self.batch, self.device = parameters.batch, torch.device(device)
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
        return draw_samples(EDMChain(self.net, self.solver, image), draws, self.device, self.batch)

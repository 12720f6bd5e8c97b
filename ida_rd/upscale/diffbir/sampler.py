"""Sample DiffBIR: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ida_rd.core.seeds import Draw
from ida_rd.core.tensors import TensorFile
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.latent.networks import controlled, decoded, encoded
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffbir import STEP_BYTES, Parameters, layout, own, wanted
from ida_rd.upscale.diffbir.canvas import CANVASES, LATENT, Canvas
from ida_rd.upscale.diffbir.networks import Networks, Texts, networks_of, stage1_of
from ida_rd.upscale.diffbir.versions import Role
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.diffusion.guidance import guided
from ida_rd.upscale.diffusion.sampler import Sampler, State
from ida_rd.upscale.diffusion.samplers import sampler_of
from ida_rd.upscale.diffusion.schedule import scaled_linear, zero_terminal
from ida_rd.upscale.diffusion.start import towards
from ida_rd.upscale.diffusion.tiles import Window, tiled

__all__ = ["DiffBIRChain", "DiffBIRUpscaler", "How", "how_of"]

SCALE = 0.18215  # of latents


class How(NamedTuple):
    """How latents are sampled, and made images.

    Attributes
    ----------
    sampler : Sampler
    colour : callable
        One of `ida_rd.upscale.diffusion.colour.FIXES`.
    cfg : float
        Scale of guidance; at 1 the negative prompt is not looked at.
    tiles : tuple of int or None
        Side of the tiles and distance between them, in pixels of a latent.
    begin : float
        Share of the condition in the variance of what a chain begins from; 0: noise alone.
    official : bool
        Whether 8 bits are truncated.
    """

    sampler: Sampler
    colour: Callable[[Tensor, Tensor], Tensor]
    cfg: float = 1.0
    tiles: tuple[int, int] | None = None
    begin: float = 0.0
    official: bool = False


def how_of(parameters: Parameters) -> How:
    """What the parameters, and the version where they leave it open, say."""
    zero = parameters.known().zero
    kept = zero_terminal(scaled_linear()) if zero else scaled_linear()
    tile = parameters.tile
    return How(
        sampler_of(parameters.way(), kept, parameters.count(), "v" if zero else "eps"),
        FIXES[parameters.colour],
        parameters.guidance(),
        None if tile is None else (tile // LATENT, parameters.apart(tile) // LATENT),
        float(kept[-1]) if parameters.start == "condition" else 0.0,
        parameters.compat == "official",
    )


class DiffBIRChain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Noise is that of the whole latent, in tiles too: what is averaged where they meet is the network's output alone.

    Parameters
    ----------
    nets : Networks
    texts : Texts
    how : How
    smooth : Tensor
        (1, 3, H, W), what stage 1 made of the image.
    canvas : Canvas
    """

    def __init__(self, nets: Networks, texts: Texts, how: How, smooth: Tensor, canvas: Canvas) -> None:
        self.nets, self.how, self.smooth, self.canvas = nets, how, smooth, canvas
        self.condition = encoded(nets.autoencoder, canvas.controlling(smooth) * 2 - 1) * SCALE
        self.shape = tuple(self.condition.shape[1:])
        self.steps = how.sampler.steps
        towards_prompt, away = partial(self._network, texts.prompt), partial(self._network, texts.negative)
        self.network = guided(towards_prompt, away, how.cfg)
        most = max(self.shape) if how.tiles is None else how.tiles[0]
        self.each = STEP_BYTES * min(self.shape[1], most) * min(self.shape[2], most) * LATENT**2

    def begin(self, noise: Noise) -> State:
        """A latent of noise, or the condition with noise on it."""
        x = noise.start(self.shape)
        return self.how.sampler.begin(towards(self.condition, self.how.begin, x) if self.how.begin else x)

    def step(self, number: int, state: State, noise: Noise) -> State:
        """As the sampler does it."""
        return self.how.sampler.step(number, state, self.network, noise)

    def _network(self, text: Tensor, x: Tensor, time: float) -> Tensor:
        def one(part: Tensor, window: Window) -> Tensor:
            given = (text, window.of(self.condition))
            words, condition = (one.expand(len(part), *one.shape[1:]) for one in given)
            return controlled(self.nets.unet, self.nets.control, part, time, words, condition)

        if self.how.tiles is None:
            return one(x, Window(0, 0, *self.shape[1:]))
        return tiled(one, x, *self.how.tiles)

    def end(self, state: State) -> Tensor:
        """The images of the latents, one by one, in [0, 1]."""
        return torch.cat([self._image(latent) for latent in state.x.split(1)])

    def _image(self, latent: Tensor) -> Tensor:
        found = (decoded(self.nets.autoencoder, latent / SCALE) + 1) / 2
        found = self.canvas.finished(found, self.smooth, self.how.colour)
        return self.canvas.delivered(found, official=self.how.official)


class DiffBIRUpscaler:
    """DiffBIR on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        plain_arithmetic()
        self.parameters, self.device = parameters, torch.device(device)
        mine, asked = own(parameters), wanted(parameters)

        def read(role: Role, within: str = "") -> TensorFile:
            key = asked[role][0]
            return read_file(layout.file_of(mine[key], within)) if key in mine else read_weights(key)

        version = parameters.version
        restorer = stage1_of(read("stage1"), self.device, version) if "stage1" in asked else None
        base = mine.get(asked["base"][0])
        folder = base is not None and base.is_dir()
        self.nets, inside, self.texts = networks_of(read, self.device, layout.SIZES, version, folder=folder)
        self.stage1: nn.Module = restorer or stage1_of(inside, self.device, version)
        self.how = how_of(parameters)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; stage 1 and its latent are computed once."""
        height, width = lr.shape[1:]
        canvas = CANVASES[self.parameters.version](height, width, self.parameters.tile)
        with torch.inference_mode():
            smooth = canvas.smoothed(lr, self.stage1, self.device)
            chain = DiffBIRChain(self.nets, self.texts, self.how, smooth, canvas)
        return draw_samples(chain, draws, self.device, self.parameters.batch)

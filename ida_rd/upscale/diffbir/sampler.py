"""Sample DiffBIR v1: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_file, read_weights
from ida_rd.models.latent.networks import controlled, decoded, encoded
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffbir import FACTOR, FULL, STEP_BYTES, SWINIR, Parameters, layout, own, weights_of
from ida_rd.upscale.diffbir.networks import Networks, complete, stage1_of
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.diffusion.sampler import Sampler, State
from ida_rd.upscale.diffusion.samplers import sampler_of
from ida_rd.upscale.diffusion.schedule import scaled_linear

__all__ = ["Canvas", "DiffBIRChain", "DiffBIRUpscaler", "prepared"]

SCALE = 0.18215  # of latents
LEAST = 512  # pixels of the short side at which an image is made
MULTIPLE = 64
LATENT = 8  # pixels of an image per pixel of its latent, along a side


def _pixels(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def _channels(image: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


class Canvas:
    """The sizes of an image on its way.

    Attributes
    ----------
    final : tuple of int
        Height and width of the HR image.
    size : tuple of int
        Those at which it is made: at least 512.
    padding : tuple of int
        Rows and columns that are added to that at the bottom and right, and cropped.
    """

    def __init__(self, height: int, width: int) -> None:
        self.final = height * FACTOR, width * FACTOR
        short = min(self.final)
        scale = (LEAST, short) if short < LEAST else (1, 1)
        self.size = self._scaled(0, *scale), self._scaled(1, *scale)
        self.padding = tuple(-side % MULTIPLE for side in self.size)

    def _scaled(self, axis: int, up: int, down: int) -> int:
        return -(-self.final[axis] * up // down)  # whole numbers: in floating point a side of 512 may become 513

    def reduced(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image of the final size, of one (3, H, W) of the size at which it is made."""
        if image.shape[1:] == self.final:
            return image
        return _channels(_pixels(image).resize(self.final[::-1], Image.Resampling.LANCZOS))


def prepared(lr: NDArray[np.uint8], canvas: Canvas) -> Tensor:
    """What the network of stage 1 is given of an LR image (3, h, w): enlarged in 8 bits, padded by black; in [0, 1]."""
    image = _pixels(lr).resize(canvas.final[::-1], Image.Resampling.BICUBIC)
    if canvas.size != canvas.final:
        image = image.resize(canvas.size[::-1], Image.Resampling.BICUBIC)
    bottom, right = canvas.padding
    return F.pad(torch.from_numpy(_channels(image))[None].float() / 255, (0, right, 0, bottom))


class DiffBIRChain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Parameters
    ----------
    nets : Networks
    text : Tensor
        (1, T, D), of the empty prompt.
    sampler : Sampler
    smooth : Tensor
        (1, 3, H, W), what stage 1 made of the padded image.
    canvas : Canvas
    colour : callable
        One of `ida_rd.upscale.diffusion.colour.FIXES`.
    official : bool
        Whether 8 bits are truncated.
    """

    def __init__(
        self,
        nets: Networks,
        text: Tensor,
        sampler: Sampler,
        smooth: Tensor,
        canvas: Canvas,
        colour: Callable[[Tensor, Tensor], Tensor],
        *,
        official: bool = False,
    ) -> None:
        self.nets, self.text, self.by, self.smooth = nets, text, sampler, smooth
        self.canvas, self.colour, self.official = canvas, colour, official
        self.condition = encoded(nets.autoencoder, smooth * 2 - 1) * SCALE
        self.shape = tuple(self.condition.shape[1:])
        self.steps = sampler.steps
        self.each = STEP_BYTES * self.shape[1] * self.shape[2] * LATENT**2

    def begin(self, noise: Noise) -> State:
        """A latent of noise alone."""
        return self.by.begin(noise.start(self.shape))

    def step(self, number: int, state: State, noise: Noise) -> State:
        """As the sampler does it."""
        return self.by.step(number, state, self._network, noise)

    def _network(self, x: Tensor, time: float) -> Tensor:
        text, condition = (one.expand(len(x), *one.shape[1:]) for one in (self.text, self.condition))
        return controlled(self.nets.unet, self.nets.control, x, time, text, condition)

    def end(self, state: State) -> Tensor:
        """The images of the latents, one by one, with the colours of stage 1, without padding, in [0, 1]."""
        return torch.cat([self._image(latent) for latent in state.x.split(1)])

    def _image(self, latent: Tensor) -> Tensor:
        found = self.colour((decoded(self.nets.autoencoder, latent / SCALE) + 1) / 2, self.smooth)
        found = found[:, :, : self.canvas.size[0], : self.canvas.size[1]]
        reduce = self.canvas.size != self.canvas.final
        if not torch.isfinite(found).all():  # is told as what it is, and not as an image
            return torch.full((1, 3, *self.canvas.final), torch.nan, device=found.device)
        if not (reduce or self.official):
            return found
        levels = found[0].clamp(0, 1) * 255
        eight = (levels if self.official else levels.round()).to(torch.uint8).cpu().numpy()
        return torch.from_numpy(self.canvas.reduced(eight)).to(found.device)[None].float() / 255


class DiffBIRUpscaler:
    """DiffBIR on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        plain_arithmetic()
        self.batch, self.device = parameters.batch, torch.device(device)
        read: dict[str, Any] = {key: read_weights(key) for key in weights_of(parameters)}
        read |= {key: read_file(path) for key, path in own(parameters).items()}
        self.nets, inside, self.text = complete(read.pop(FULL), self.device, layout.SIZES)
        self.stage1: nn.Module = stage1_of(read.get(SWINIR), inside, self.device)
        self.sampler = sampler_of(parameters.sampler, scaled_linear(), parameters.steps)
        self.colour, self.official = FIXES[parameters.colour], parameters.compat == "official"

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; stage 1 and its latent are computed once."""
        canvas = Canvas(*lr.shape[1:])
        with torch.inference_mode():
            smooth = self.stage1(prepared(lr, canvas).to(self.device))
            chain = DiffBIRChain(
                self.nets, self.text, self.sampler, smooth, canvas, self.colour, official=self.official
            )
        return draw_samples(chain, draws, self.device, self.batch)

"""Sample StableSR: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import Draw
from ida_rd.models.stablesr.fusion import encoded
from ida_rd.models.stablesr.structure import Maps
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.diffusion.guidance import guided
from ida_rd.upscale.diffusion.sampler import Network, State
from ida_rd.upscale.diffusion.schedule import scaled_linear
from ida_rd.upscale.diffusion.spaced import Spaced
from ida_rd.upscale.diffusion.start import posterior, towards
from ida_rd.upscale.diffusion.tiles import Window, tiled
from ida_rd.upscale.stablesr import FACTOR, STEP_BYTES, VARIANTS, Parameters, layout, sides_of
from ida_rd.upscale.stablesr.networks import Networks, networks_of, read

__all__ = ["Begun", "Canvas", "StableSRChain", "StableSRUpscaler", "prepared"]

SCALE = 0.18215  # of latents
LATENT = 8  # pixels of an image per pixel of its latent, along a side


class Canvas:
    """The sizes of an image on its way.

    Attributes
    ----------
    final : tuple of int
        Height and width of the HR image.
    size : tuple of int
        Those at which it is made: at least those of a tile.
    padding : tuple of int
        Rows and columns that are added to that at the bottom and right, and cropped.
    """

    def __init__(self, height: int, width: int, least: int) -> None:
        self.final = height * FACTOR, width * FACTOR
        self.size, self.padding = sides_of(*self.final, least)


def prepared(lr: NDArray[np.uint8], canvas: Canvas) -> Tensor:
    """An LR image (3, h, w), enlarged, and padded by reflection: (1, 3, H, W), in [-1, 1]."""
    image = torch.from_numpy(np.ascontiguousarray(lr))[None].float() / 255 * 2 - 1
    image = F.interpolate(image, size=canvas.size, mode="bicubic", align_corners=False).clamp(-1, 1)
    bottom, right = canvas.padding
    return F.pad(image, (0, right, 0, bottom), mode="reflect")


class Begun(NamedTuple):
    """What a step leaves to the next: the sampler's state, and the LR image's latent, (1 or B, C, h, w)."""

    state: State
    condition: Tensor


class StableSRChain:
    """The way from noise to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    Parameters
    ----------
    nets : Networks
    texts : sequence of Tensor
        (1, T, D): of the empty prompt, and of that which guidance leads away from, if there is any.
    parameters : Parameters
    image : Tensor
        (1, 3, H, W), the enlarged and padded LR image in [-1, 1].
    canvas : Canvas
    """

    def __init__(
        self, nets: Networks, texts: Sequence[Tensor], parameters: Parameters, image: Tensor, canvas: Canvas
    ) -> None:
        self.nets, self.texts, self.parameters, self.image, self.canvas = nets, texts, parameters, image, canvas
        self.encoded = encoded(nets.autoencoder, image)
        self.features = nets.fused.encode(image).features if parameters.fidelity else {}
        self.by = Spaced.of(scaled_linear(), parameters.taken(), VARIANTS[parameters.variant].predicts)
        self.colour = FIXES[parameters.colour]
        self.shape = tuple(self.encoded.mean.shape[1:])
        self.steps = self.by.steps
        tile, stride = parameters.tiles()
        self.tile, self.stride = tile // LATENT, stride // LATENT
        self.each = STEP_BYTES * tile**2

    def begin(self, noise: Noise) -> Begun:
        """The LR image's latent, and noise, which holds what is left of that."""
        mean, log_variance, _ = self.encoded
        drawn = self.parameters.latent == "drawn"
        condition = SCALE * (posterior(mean, log_variance, noise) if drawn else mean)
        start = noise.start(self.shape)
        if self.parameters.start == "lr":
            start = towards(condition, float(self.by.kept[-1]), start)
        return Begun(self.by.begin(start), condition)

    def step(self, number: int, state: Begun, noise: Noise) -> Begun:
        """From a time to the one before."""
        return state._replace(state=self.by.step(number, state.state, self.network(state.condition), noise))

    def network(self, condition: Tensor) -> Network:
        """What is found in a noisy latent, tile by tile."""

        def whole(x: Tensor, time: float) -> Tensor:
            at = torch.tensor([time], device=x.device)

            def one(part: Tensor, window: Window) -> Tensor:
                maps = self.nets.structure(window.of(condition), at)  # whichever the prompt
                nets = [self._with(text, maps) for text in self.texts]
                network = nets[0] if len(nets) == 1 else guided(nets[0], nets[1], self.parameters.guidance)
                return network(part, time)

            return tiled(one, x, self.tile, self.stride)

        return whole

    def _with(self, text: Tensor, maps: Maps) -> Network:
        return lambda x, time: self.nets.unet(x, torch.tensor([time], device=x.device), text, maps)

    def end(self, state: Begun) -> Tensor:
        """The images of the latents, one by one, of the final size, in [0, 1]."""
        found = torch.cat([self._final(self.full(latent)) for latent in state.state.x.split(1)])
        return (found.clamp(0, 1) * 255).floor() / 255 if self.parameters.compat == "official" else found

    def full(self, latent: Tensor) -> Tensor:
        """The padded image of a latent, (1, 3, H, W), of which nothing is clamped."""
        found = self.nets.fused.decode(latent / SCALE, self.features, self.parameters.fidelity)
        return (self.colour(found, self.image) + 1) / 2

    def _final(self, image: Tensor) -> Tensor:
        image = image[:, :, : self.canvas.size[0], : self.canvas.size[1]]
        if self.canvas.size == self.canvas.final:
            return image
        reduced = F.interpolate(image.clamp(0, 1), size=self.canvas.final, mode="bicubic", align_corners=False)
        return reduced.clamp(0, 1)


class StableSRUpscaler:
    """StableSR on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        plain_arithmetic()
        self.parameters, self.device = parameters, torch.device(device)
        prompts = [[], parameters.negative] if parameters.negative else [[]]
        self.nets, self.texts = networks_of(read(parameters), layout.SIZES, prompts, self.device)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; the image is encoded once."""
        canvas = Canvas(lr.shape[1], lr.shape[2], self.parameters.tiles()[0])
        with torch.inference_mode():
            image = prepared(lr, canvas).to(self.device)
            chain = StableSRChain(self.nets, self.texts, self.parameters, image, canvas)
        return draw_samples(chain, draws, self.device, self.parameters.batch)

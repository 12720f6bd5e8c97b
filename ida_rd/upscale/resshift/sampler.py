"""Sample ResShift: 8-bit images in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import Draw
from ida_rd.core.weights import read_weights
from ida_rd.models.resshift.autoencoder import Autoencoder
from ida_rd.models.resshift.checkpoint import load_autoencoder, load_unet
from ida_rd.models.resshift.config import FACTOR
from ida_rd.models.resshift.layout import IMAGE
from ida_rd.models.resshift.network import UNet
from ida_rd.models.resshift.schedule import Shifting
from ida_rd.upscale.contract import Samples
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, plain_arithmetic
from ida_rd.upscale.resshift import AUTOENCODER, BYTES, Parameters, check_tile, unet_id, variant_of
from ida_rd.upscale.resshift.tiles import padded, tiles_of

__all__ = ["ResShiftChain", "ResShiftUpscaler", "State"]


class State(NamedTuple):
    """What one step leaves to the next.

    Attributes
    ----------
    latents : tuple of Tensor
        Of each tile, (B, 3, h, w).
    field : Tensor or None
        Noise of the step that is being done, of the whole image.
    image : Tensor or None
        Sum of the tiles that are decoded, (B, 3, H, W).
    """

    latents: tuple[Tensor, ...]
    field: Tensor | None = None
    image: Tensor | None = None


class ResShiftChain:
    """The way from the enlarged LR image to samples; see `ida_rd.upscale.diffusion.chain.Chain`.

    A step is one of the network's for one tile: all tiles take the first, then all the second. The last steps decode.

    Parameters
    ----------
    unet : UNet
    autoencoder : Autoencoder
    by : Shifting
        Coefficients of the network's steps.
    lr : Tensor
        (1 or B, 3, h, w), LR images in [-1, 1], of any sides of 2 or more.
    tile, stride : int
        Side of the tiles, a multiple of the network's, and from one to the next, in LR pixels.
    official : bool
        Whether each tile has noise of its own.
    """

    def __init__(
        self, unet: UNet, autoencoder: Autoencoder, by: Shifting, lr: Tensor, tile: int, stride: int, official: bool
    ) -> None:
        self.unet, self.autoencoder, self.by, self.official = unet, autoencoder, by, official
        self.size = FACTOR * lr.shape[2], FACTOR * lr.shape[3]
        self.tiles = tiles_of(lr.shape[2], lr.shape[3], tile, stride)
        self.lr = [padded(one.of(lr), unet.config.multiple) for one in self.tiles]
        self.y = [autoencoder.encode(_enlarged(one)) for one in self.lr]
        height, width = self.lr[0].shape[2:]  # of all tiles
        self.shape = (IMAGE, self.tiles[-1].top + height, self.tiles[-1].left + width)
        self.own = (IMAGE, height, width)
        self.times = len(by.eta)
        self.steps = (self.times + 1) * len(self.tiles)
        self.each = BYTES * FACTOR**2 * height * width

    def begin(self, noise: Noise) -> State:
        """The latents of the enlarged image, and noise."""
        field = None if self.official else noise.start(self.shape)
        return State(
            tuple(self.by.begin(y, self._noise(noise, i, 0, field)) for i, y in enumerate(self.y)),
        )

    def step(self, number: int, state: State, noise: Noise) -> State:
        """Take one tile from t to t - 1, or decode it."""
        done, i = divmod(number, len(self.tiles))
        if done == self.times:
            return self._decoded(i, state)
        t, x = self.times - 1 - done, state.latents[i]
        at = torch.tensor([t], device=x.device)
        new = self.by.mean(t, x, self.unet(self.by.scaled(t, x), at, self.lr[i]))
        field = state.field
        if t:
            if i == 0 and not self.official:
                field = noise.step(done, self.shape)
            new = new + float(self.by.spread[t]) * self._noise(noise, i, done + 1, field)
        return State((*state.latents[:i], new, *state.latents[i + 1 :]), field)

    def _noise(self, noise: Noise, tile: int, number: int, field: Tensor | None) -> Tensor:
        """That of a tile, in the order in which the published program draws it, or what it covers of a field."""
        if field is None:
            return noise.step(tile * (self.times + 1) + number, self.own)
        return self.tiles[tile]._replace(height=self.own[1], width=self.own[2]).of(field)

    def _decoded(self, i: int, state: State) -> State:
        tile, found = self.tiles[i], self.autoencoder.decode(state.latents[i])
        found = found[:, :, : FACTOR * tile.height, : FACTOR * tile.width]
        if len(self.tiles) == 1:  # whose share of clipped sub-pixels is told
            return State(state.latents, None, found)
        image = found.new_zeros(len(found), IMAGE, *self.size) if state.image is None else state.image
        tile.of(image, FACTOR).add_(found.clamp(-1, 1))
        return State(state.latents, None, image)

    def end(self, state: State) -> Tensor:
        """Means of the tiles where they overlap, in [0, 1]."""
        assert state.image is not None
        count = state.image.new_zeros(self.size)
        for tile in self.tiles:
            tile.of(count, FACTOR).add_(1)
        return (state.image / count + 1) / 2


def _enlarged(lr: Tensor) -> Tensor:
    return F.interpolate(lr, scale_factor=float(FACTOR), mode="bicubic", align_corners=False)


class ResShiftUpscaler:
    """ResShift on a device; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        plain_arithmetic()
        self.parameters, self.device, paths = parameters, torch.device(device), parameters.paths
        self.unet = load_unet(read_weights(unet_id(parameters), paths.get("unet"))).to(self.device)
        check_tile(parameters, self.unet.config)
        read = read_weights(AUTOENCODER, paths.get("autoencoder"))
        self.autoencoder = load_autoencoder(read).to(self.device)
        self.by = Shifting.of(variant_of(parameters))

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw; the image is encoded once."""
        given = torch.from_numpy(lr).to(self.device)[None].float() / 255
        p = self.parameters
        with torch.inference_mode():
            chain = ResShiftChain(
                self.unet, self.autoencoder, self.by, (given - 0.5) / 0.5, p.tile, p.apart(), p.chop == "official"
            )
        return draw_samples(chain, draws, self.device, p.batch)

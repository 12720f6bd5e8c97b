"""The sizes of an image on its way through DiffBIR, which makes it at 512 pixels at least, and what is done at each.

v1 is as it was published, with 8-bit images in between; v2 and v2.1 are as the later program has them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ida_rd.upscale.diffbir.versions import FACTOR, LEAST, MULTIPLE, Name

__all__ = ["CANVASES", "LATENT", "Canvas", "EnlargedCanvas", "LaterCanvas", "resized"]

LATENT = 8  # pixels of an image per pixel of its latent, along a side
Images = Callable[[Tensor], Tensor]


def _pixels(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def _channels(image: Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _eight_bit(images: Tensor, *, official: bool) -> Tensor:
    levels = images.clamp(0, 1) * 255
    return (levels if official else levels.round()).to(torch.uint8)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) of another size: bicubic, and blurred before they are made smaller."""
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def _extended(images: Tensor, padding: tuple[int, ...]) -> Tensor:
    return F.pad(images, (0, padding[1], 0, padding[0]))


class Canvas:
    """That of v1.

    Parameters
    ----------
    height, width : int
        Of the LR image.
    tile : int or None
        Side of the tiles of a latent, in pixels of the image; None: there are none.

    Attributes
    ----------
    final : tuple of int
        Height and width of the HR image.
    size : tuple of int
        Those at which it is made: at least 512.
    padding : tuple of int
        Rows and columns that are added to that at the bottom and right, and cropped.
    """

    def __init__(self, height: int, width: int, tile: int | None = None) -> None:
        self.final, self.tile = (height * FACTOR, width * FACTOR), tile
        short = min(self.final)
        self.size = self.final if short >= LEAST else (self._scaled(0, short), self._scaled(1, short))
        self.padding = self._padding()

    def _scaled(self, axis: int, short: int) -> int:
        return -(-self.final[axis] * LEAST // short)  # whole numbers: in floating point a side of 512 may become 513

    def _padding(self) -> tuple[int, ...]:
        return tuple(-side % MULTIPLE for side in self.size)

    def smoothed(self, lr: NDArray[np.uint8], stage1: Images, device: torch.device) -> Tensor:
        """What stage 1 makes of an LR image (3, h, w): (1, 3, H, W), nominally in [0, 1]; padded by black before."""
        return stage1(self.prepared(lr).to(device))

    def prepared(self, lr: NDArray[np.uint8]) -> Tensor:
        """What stage 1 is given: enlarged in 8 bits, and padded; in [0, 1]."""
        image = _pixels(lr).resize(self.final[::-1], Image.Resampling.BICUBIC)
        if self.size != self.final:
            image = image.resize(self.size[::-1], Image.Resampling.BICUBIC)
        return _extended(torch.from_numpy(_channels(image))[None].float() / 255, self.padding)

    def controlling(self, smooth: Tensor) -> Tensor:
        """The image whose latent controls the network, by the smooth image."""
        return smooth

    def finished(self, images: Tensor, smooth: Tensor, colour: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """An image of the final size, by a decoded one and the smooth one; without padding, and with its colours."""
        return colour(images, smooth)[:, :, : self.size[0], : self.size[1]]

    def delivered(self, image: Tensor, *, official: bool) -> Tensor:
        """That image as it is given out, (1, 3, H, W), in [0, 1]; `official`: 8 bits are truncated, and not rounded.

        One that is reduced is of 8 bits before; of another, what lies outside of these is kept, to be counted.
        """
        if not torch.isfinite(image).all():  # is told as what it is, and not as an image
            return torch.full((1, 3, *self.final), torch.nan, device=image.device)
        if self.size == self.final and not official:
            return image
        eight = _eight_bit(image, official=official)
        if self.size != self.final:
            small = _pixels(eight[0].cpu().numpy()).resize(self.final[::-1], Image.Resampling.LANCZOS)
            eight = torch.from_numpy(_channels(small))[None].to(image.device)
        return eight.float() / 255


class LaterCanvas(Canvas):
    """That of v2.1: no image in between is of 8 bits but the enlarged one, and only what a network sees is padded.

    A latent of more than one tile need not be of whole windows of the network: its tiles are.
    """

    def _scaled(self, axis: int, short: int) -> int:
        return max(int(self.final[axis] * (LEAST / short)), LEAST)  # in double precision, as published

    def _padding(self) -> tuple[int, ...]:
        tile = self.tile or max(self.size)
        return tuple(-side % (MULTIPLE if side <= tile else LATENT) for side in self.size)

    def smoothed(self, lr: NDArray[np.uint8], stage1: Images, device: torch.device) -> Tensor:
        """As that of v1; without padding."""
        return stage1(self.prepared(lr).to(device))[:, :, : self.size[0], : self.size[1]]

    def prepared(self, lr: NDArray[np.uint8]) -> Tensor:
        """As that of v1; enlarged by the network's factor in 8 bits, and to the size at which it is made in float32."""
        image = _channels(_pixels(lr).resize(self.final[::-1], Image.Resampling.BICUBIC))
        enlarged = resized(torch.from_numpy(image)[None].float() / 255, self.size)
        return _extended(enlarged, tuple(-side % MULTIPLE for side in self.size))

    def controlling(self, smooth: Tensor) -> Tensor:
        """The smooth image, padded by black."""
        return _extended(smooth, self.padding)

    def finished(self, images: Tensor, smooth: Tensor, colour: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """As that of v1; the final size is reached in float32."""
        return resized(colour(images[:, :, : self.size[0], : self.size[1]], smooth), self.final)

    def delivered(self, image: Tensor, *, official: bool) -> Tensor:
        """As that of v1; nothing is left to be reduced."""
        return _eight_bit(image, official=True).float() / 255 if official and torch.isfinite(image).all() else image


class EnlargedCanvas(LaterCanvas):
    """That of v2, whose network of stage 1 enlarges."""

    def smoothed(self, lr: NDArray[np.uint8], stage1: Images, device: torch.device) -> Tensor:
        """As that of v2.1; of the LR image as it is."""
        return resized(stage1(torch.from_numpy(lr)[None].to(device).float() / 255), self.size)


CANVASES: dict[Name, type[Canvas]] = {"v1": Canvas, "v2": EnlargedCanvas, "v2.1": LaterCanvas}

"""SSIM, MS-SSIM and VIF: local means, variances and covariances of two images.

The constants, the treatment of borders and the order of means are those of ``piq``, the official code's library, to
which they are equal but for rounding. Local variances are differences of large numbers: float64.

References
----------
.. [1] Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
   similarity", TIP 2004 (SSIM).
.. [2] Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003.
.. [3] Sheikh, Bovik, "Image information and visual quality", TIP 2006 (VIF; here in the pixel domain).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.distort._windows import bands, gaussian, halved, luma, pooled, slid

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SSIM", "VIF", "MultiScaleSSIM"]

WINDOW = gaussian(11, 1.5)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents, from the finest; [2]_
KEPT = 2**23  # values of an image whose moments are kept between samples; those of larger ones are computed again
NOISE = 2.0  # variance of that of the eye; [3]_
EPSILON = 1e-8  # piq's, against division by zero


class Moments(NamedTuple):
    """Of the HR image under each window."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Level:
    """An HR image, (C, H, W) of 0 to 255, and its moments band by band, or None if it is too large to keep them."""

    plane: Tensor
    window: list[float]
    moments: list[Moments] | None


def _level(plane: Tensor, window: list[float]) -> Level:
    if plane.numel() > KEPT:
        return Level(plane, window, None)
    return Level(plane, window, [_moments(plane[:, rows].double(), window) for rows in _bands(plane, window)])


def _bands(plane: Tensor, window: list[float]) -> Iterator[slice]:
    return bands(plane.shape[1], plane.shape[0] * plane.shape[2], len(window))


def _moments(values: Tensor, window: list[float]) -> Moments:
    import torch

    mean, square = slid(torch.stack([values, values * values]), window)
    return Moments(mean, square.sub_(mean * mean))


def _compared(level: Level, other: Tensor) -> Iterator[tuple[Moments, Moments, Tensor]]:
    """Moments of HR and of another image, and their covariance, band by band."""
    import torch

    for i, rows in enumerate(_bands(level.plane, level.window)):
        own, values = level.plane[:, rows].double(), other[:, rows].double()
        kept = level.moments[i] if level.moments is not None else _moments(own, level.window)
        mean, square, product = slid(torch.stack([values, values * values, values * own]), level.window)
        yield kept, Moments(mean, square.sub_(mean * mean)), product.sub_(mean * kept.mean)


def _ssim(level: Level, other: Tensor) -> tuple[Tensor, Tensor]:
    """Means over each channel of SSIM, and of its part without luminance; (C,) each."""
    whole = part = other.new_zeros(len(other)).double()
    count = 0
    for hr, sr, covariance in _compared(level, other):
        contrast = covariance.mul_(2).add_(C2).div_(sr.variance.add_(hr.variance).add_(C2))
        product = hr.mean * sr.mean
        squares = (hr.mean * hr.mean).addcmul_(sr.mean, sr.mean)
        luminance = product.mul_(2).add_(C1).div_(squares.add_(C1))
        part = part + contrast.sum(dim=(1, 2))
        whole = whole + luminance.mul_(contrast).sum(dim=(1, 2))
        count += contrast[0].numel()
    return whole / count, part / count


def _plane(image: NDArray[np.uint8], device: str) -> Tensor:
    """(3, H, W), uint8, as float32: also its halves' halves are exact in it."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image)).to(device).float()


class SSIM:
    """Equation 13 of [1]_, averaged over places and channels."""

    def __init__(self, device: str) -> None:
        self.device = device

    def reference(self, hr: NDArray[np.uint8]) -> Level:
        """The HR image's half."""
        return _level(self._shrunk(hr), WINDOW)

    def value(self, reference: Level, sr: NDArray[np.uint8]) -> float:
        """SSIM of (3, H, W)."""
        return float(_ssim(reference, self._shrunk(sr))[0].mean())

    def _shrunk(self, image: NDArray[np.uint8]) -> Tensor:
        import torch

        # Channel by channel: means are not exact in float32, and a large image in float64 is large.
        return torch.cat([pooled(_plane(channel[None], self.device).double()) for channel in image])


class MultiScaleSSIM:
    """Equation 7 of [2]_ per channel; what lies below zero of a contrast term counts as zero."""

    def __init__(self, device: str) -> None:
        self.device = device

    def reference(self, hr: NDArray[np.uint8]) -> list[Level]:
        """The HR image's half, of each scale."""
        return [_level(plane, WINDOW) for plane in self._pyramid(hr)]

    def value(self, reference: list[Level], sr: NDArray[np.uint8]) -> float:
        """MS-SSIM of (3, H, W)."""
        result = None
        for i, (level, plane) in enumerate(zip(reference, self._pyramid(sr), strict=True)):
            whole, part = _ssim(level, plane)
            term = (part if i + 1 < len(SCALES) else whole).clamp(min=0) ** SCALES[i]
            result = term if result is None else result * term
        assert result is not None
        return float(result.mean())

    def _pyramid(self, image: NDArray[np.uint8]) -> Iterator[Tensor]:
        plane = _plane(image, self.device)
        yield plane
        for _ in SCALES[1:]:
            plane = halved(plane)
            yield plane


class VIF:
    """Information that the SR image keeps of the HR image: [3]_ on four scales of luma, windows of 17 to 3 pixels."""

    WINDOWS = tuple(gaussian(size, size / 5) for size in (17, 9, 5, 3))

    def __init__(self, device: str) -> None:
        self.device = device

    def reference(self, hr: NDArray[np.uint8]) -> tuple[list[Level], float]:
        """The HR image's half: levels, and the information in it."""
        levels = [_level(plane, window) for plane, window in zip(self._pyramid(hr), self.WINDOWS, strict=True)]
        total = 0.0
        for level in levels:
            for i, rows in enumerate(_bands(level.plane, level.window)):
                kept = level.moments[i] if level.moments else _moments(level.plane[:, rows], level.window)
                total += float((_varying(kept.variance) / NOISE).log1p_().sum())
        return levels, total / np.log(10)

    def value(self, reference: tuple[list[Level], float], sr: NDArray[np.uint8]) -> float:
        """VIF of (3, H, W)."""
        levels, information = reference
        total = 0.0
        for level, plane in zip(levels, self._pyramid(sr), strict=True):
            for hr, other, covariance in _compared(level, plane):
                total += float(_kept(hr.variance, other.variance, covariance).sum())
        return (total / np.log(10) + EPSILON) / (information + EPSILON)

    def _pyramid(self, image: NDArray[np.uint8]) -> Iterator[Tensor]:
        plane = luma(image, self.device)[None]
        yield plane
        for window in self.WINDOWS[1:]:
            plane = slid(plane, window, step=2)
            yield plane


def _varying(variance: Tensor) -> Tensor:
    """Variances, of which those that rounding leaves of none are zero."""
    return variance.masked_fill(variance < EPSILON, 0)


def _kept(own: Tensor, other: Tensor, covariance: Tensor) -> Tensor:
    """Information, in nats: that of a channel with a gain and white noise, where both images vary."""
    own, other = _varying(own), _varying(other)
    gain = covariance / (own + EPSILON)
    noise = other - gain * covariance
    gain = gain.masked_fill_((own == 0) | (other == 0), 0).clamp_(min=0)  # an inverted image tells nothing
    return (gain * gain * own / (noise.clamp_(min=EPSILON) + NOISE)).log1p_()

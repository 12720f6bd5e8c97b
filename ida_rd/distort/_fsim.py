"""FSIM with colour: phase congruency and gradients of luma, and the chrominance.

The phase congruency is Kovesi's, on log-Gabor filters of four scales and four orientations, with the noise estimated
from the finest scale. The constants are those of [1]_; equal to ``piq``, the official code's library, but for rounding.

References
----------
.. [1] Zhang, Zhang, Mou, Zhang, "FSIM: a feature similarity index for image quality assessment", TIP 2011.
.. [2] Kovesi, "Image features from phase congruency", Videre 1(3), 1999.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.distort._windows import pooled

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FSIM"]

SCALES, ORIENTATIONS = 4, 4
SHORTEST, RATIO = 6, 2  # wavelength of the finest filter in pixels; of one scale to the next
BANDWIDTH, ANGLE = 0.55, 1.2  # of a log-Gabor filter; angle between two orientations over the deviation of one
CUTOFF, SHARPNESS = 0.45, 15  # of the low-pass filter that keeps the corners of the spectrum out
NOISE_DEVIATIONS, SHRINK = 2.0, 1.7  # how far above the noise's mean energy counts; an empirical divisor of both
EPSILON, TINY = float(np.finfo(np.float32).eps), 1e-12  # against division by zero
T1, T2, T3, T4 = 0.85, 160.0, 200.0, 200.0
CHROMA = 0.03  # exponent
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


class Features(NamedTuple):
    """Of an image, (H, W) each."""

    congruency: Tensor
    gradient: Tensor
    i: Tensor
    q: Tensor


class Bank(NamedTuple):
    """Filters (orientations, scales, H, W), and per orientation what turns the noise's power into its threshold."""

    filters: Tensor
    thresholds: list[float]


class FSIM:
    """Equations 5 to 11 of [1]_."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._banks: dict[tuple[int, int], Bank] = {}

    def reference(self, hr: NDArray[np.uint8]) -> Features:
        """The HR image's half."""
        import torch

        image = pooled(torch.from_numpy(np.ascontiguousarray(hr)).to(self.device).float())
        y, i, q = (sum(w * channel for w, channel in zip(row, image, strict=True)) for row in YIQ)
        assert isinstance(y, torch.Tensor)
        assert isinstance(i, torch.Tensor)
        assert isinstance(q, torch.Tensor)
        return Features(self._congruency(y), _gradient(y), i, q)

    def value(self, reference: Features, sr: NDArray[np.uint8]) -> float:
        """FSIM of (3, H, W)."""
        import torch

        other = self.reference(sr)
        likeness = _similar(reference.congruency, other.congruency, T1)
        likeness *= _similar(reference.gradient, other.gradient, T2)
        chroma = _similar(reference.i, other.i, T3) * _similar(reference.q, other.q, T4)
        likeness *= chroma.abs_().pow_(CHROMA)
        weight = torch.maximum(reference.congruency, other.congruency)
        if not weight.any():  # both are constant: every place counts alike
            return float(likeness.mean())
        return float((likeness * weight).sum() / weight.sum())

    def _congruency(self, luma: Tensor) -> Tensor:
        import torch

        bank = self._bank(*luma.shape)
        spectrum = torch.fft.fft2(luma)
        energies = amplitudes = None
        for filters, threshold in zip(bank.filters, bank.thresholds, strict=True):
            responses = torch.fft.ifft2(spectrum * filters)
            amplitude = responses.abs()
            total = responses.sum(dim=0)
            direction = total / (total.abs() + EPSILON)
            aligned = torch.view_as_real(responses * direction.conj())
            energy = aligned[..., 0].sum(dim=0) - aligned[..., 1].abs().sum(dim=0)
            # The finest scale is noise almost everywhere; squares of its amplitude have an exponential distribution.
            power = float(amplitude[0].square().median()) / math.log(2)
            energy = (energy - threshold * math.sqrt(power)).clamp_(min=0)
            sums = amplitude.sum(dim=0)
            energies = energy if energies is None else energies.add_(energy)
            amplitudes = sums if amplitudes is None else amplitudes.add_(sums)
        assert energies is not None
        assert amplitudes is not None
        return energies / amplitudes.add_(TINY)  # a constant image has neither

    def _bank(self, height: int, width: int) -> Bank:
        if (height, width) not in self._banks:
            self._banks.clear()  # one size is kept
            self._banks[height, width] = _bank(height, width, self.device)
        return self._banks[height, width]


def _bank(height: int, width: int, device: str) -> Bank:
    import torch

    y, x = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    # The order decides where the highest frequency of an even side belongs, whose two ends are one.
    radius, angle = np.hypot(x, y), np.arctan2(-x, y)
    radius[0, 0] = 1
    low_pass = 1 / (1 + (radius / CUTOFF) ** (2 * SHARPNESS))
    rings = []
    for scale in range(SCALES):
        ring = np.exp(-(np.log(radius * SHORTEST * RATIO**scale) ** 2) / (2 * math.log(BANDWIDTH) ** 2)) * low_pass
        ring[0, 0] = 0
        rings.append(ring)
    deviation = math.pi / ORIENTATIONS / ANGLE
    filters = np.empty((ORIENTATIONS, SCALES, height, width), np.float32)
    thresholds = []
    for orientation in range(ORIENTATIONS):
        turned = angle - orientation * math.pi / ORIENTATIONS
        distance = np.abs(np.arctan2(np.sin(turned), np.cos(turned)))
        mine = np.stack(rings) * np.exp(-(distance**2) / (2 * deviation**2))
        filters[orientation] = mine
        thresholds.append(_threshold(mine))
    return Bank(torch.from_numpy(filters).to(device), thresholds)


def _threshold(filters: NDArray[np.float64]) -> float:
    """How much energy noise has, whose squared amplitude after the first filter is one: section 5 of [2]_."""
    inside = np.fft.ifft2(filters).real * math.sqrt(filters[0].size)
    squares = (inside**2).sum()
    products = ((inside.sum(axis=0) ** 2).sum() - squares) / 2
    variance = (2 * squares + 4 * products) / (filters[0] ** 2).sum() / 2
    mean, deviation = math.sqrt(variance * math.pi / 2), math.sqrt(variance * (2 - math.pi / 2))
    return (mean + NOISE_DEVIATIONS * deviation) / SHRINK


def _frequencies(side: int) -> NDArray[np.float64]:
    """Of a discrete spectrum, zero first; an odd side's reach to one half on both ends, as Kovesi's do."""
    centred = np.arange(side) - side // 2
    return np.fft.ifftshift(centred / (side - side % 2))


def _gradient(luma: Tensor) -> Tensor:
    """Magnitude by Scharr's operator, zeros around the image."""
    import torch

    padded = torch.nn.functional.pad(luma, (1, 1, 1, 1))
    across = padded[:, :-2] - padded[:, 2:]
    down = padded[:-2] - padded[2:]
    horizontal = (3 * across[:-2]).add_(across[1:-1], alpha=10).add_(across[2:], alpha=3)
    vertical = (3 * down[:, :-2]).add_(down[:, 1:-1], alpha=10).add_(down[:, 2:], alpha=3)
    return horizontal.div_(16).square_().add_(vertical.div_(16).square_()).sqrt_()


def _similar(one: Tensor, two: Tensor, constant: float) -> Tensor:
    squares = (one * one).addcmul_(two, two)
    return (one * two).mul_(2).add_(constant).div_(squares.add_(constant))

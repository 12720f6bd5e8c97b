"""The energy score of samples in features of fixed filters: what the flow can be trained by besides its likelihood.

The likelihood weighs every sub-pixel alike, so a small flow spends itself on faint noise and leaves its samples
too much alike where a viewer, or LPIPS, would look. The energy score [1]_ is a strictly proper scoring rule of
samples: in expectation it is least where they are distributed as the images themselves are. Its features are of
oriented filters at three scales with divisive normalisation, a plain model of early vision; nothing in them is learned
from any image.

References
----------
.. [1] Gneiting, Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007, eq. (21).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LEAST_SIDE", "OrientedFeatures", "energy_score"]

SCALES = 3  # of 1, 2 and 4 pixels
ORIENTATIONS = 4
SIDE = 7  # pixels, of a filter
FREQUENCY = 0.2  # cycles per pixel
ENVELOPE = 1.6  # pixels, standard deviation
CONTRAST = 0.02  # response below which normalisation stops, so that what nobody would see does not count
LEAST_SIDE = SIDE * 2 ** (SCALES - 1)  # of an image: the coarsest scale has one position left
# Brightness, and two opponent colours; orthonormal.
OPPONENT = ((1 / 3**0.5,) * 3, (1 / 2**0.5, 0, -(1 / 2**0.5)), (1 / 6**0.5, -2 / 6**0.5, 1 / 6**0.5))


def _filters() -> Tensor:
    """Quadrature pairs (even, odd) of oriented filters without response to a constant, (2 * ORIENTATIONS, 1, 7, 7)."""
    y, x = torch.meshgrid(*(torch.arange(SIDE, dtype=torch.float64) - SIDE // 2,) * 2, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * ENVELOPE**2))
    filters = []
    for i in range(ORIENTATIONS):
        angle = math.pi * i / ORIENTATIONS
        phase = 2 * math.pi * FREQUENCY * (x * math.cos(angle) + y * math.sin(angle))
        for wave in (phase.cos(), phase.sin()):
            wave = wave - (wave * window).sum() / window.sum()
            filters.append(wave * window / (wave * window).norm())
    return torch.stack(filters)[:, None].float()


class OrientedFeatures(nn.Module):
    """Locally normalised responses of oriented filters, one tensor per scale."""

    def __init__(self) -> None:
        super().__init__()
        binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("colours", torch.tensor(OPPONENT)[:, :, None, None])
        self.register_buffer("filters", _filters())
        self.register_buffer("blur", (binomial[:, None] * binomial)[None, None])

    def _blurred(self, x: Tensor, stride: int = 1) -> Tensor:
        kernel = cast(Tensor, self.blur).expand(x.shape[1], -1, -1, -1)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=stride, groups=x.shape[1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the features of images.

        Parameters
        ----------
        image : Tensor
            (B, 3, H, W), sRGB, range about [0, 1]; H and W at least `LEAST_SIDE`.

        Returns
        -------
        list of Tensor
            Per scale (B, C, h, w): responses, and their amplitudes whatever the phase, both divided by the
            length of the responses in the neighbourhood, so that strong and faint texture count alike.
        """
        x = F.conv2d(image, cast(Tensor, self.colours))
        found = []
        for scale in range(SCALES):
            if scale:
                x = self._blurred(x, stride=2)
            batch, colours, height, width = x.shape
            response = F.conv2d(x.reshape(batch * colours, 1, height, width), cast(Tensor, self.filters))
            response = response.reshape(batch, -1, *response.shape[2:])
            even, odd = response[:, 0::2], response[:, 1::2]
            amplitude = (even.square() + odd.square() + 1e-8).sqrt()
            energy = response.square().sum(1, keepdim=True)
            if min(energy.shape[2:]) > 2:  # otherwise there is no neighbourhood
                energy = self._blurred(energy)
                amplitude = self._blurred(amplitude)
            found.append(torch.cat([response, amplitude], 1) / (energy + CONTRAST**2).sqrt())
        return found


def _distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Length of the difference at each position, averaged over positions and scales: (B,)."""
    return torch.stack(
        [((p - q).square().sum(1) + 1e-8).sqrt().mean(dim=(1, 2)) for p, q in zip(a, b, strict=True)]
    ).mean(0)


def energy_score(features: OrientedFeatures, hr: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Energy score of two independent samples, unbiased: ``(|f1 - f| + |f2 - f| - |f1 - f2|) / 2`` [1]_.

    Parameters
    ----------
    features : OrientedFeatures
    hr, first, second : Tensor
        The image and two samples given its LR image, (B, 3, H, W), range about [0, 1].

    Returns
    -------
    Tensor
        (B,); lower is better; a single draw can be below zero, the expectation cannot.
    """
    of_hr, of_first, of_second = (features(image) for image in (hr, first, second))
    return (_distance(of_first, of_hr) + _distance(of_second, of_hr) - _distance(of_first, of_second)) / 2

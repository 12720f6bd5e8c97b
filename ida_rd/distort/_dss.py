"""DSS: similarity of the subbands of a block-wise cosine transform of luma.

Equal to ``piq``, the official code's library, but for rounding.

References
----------
.. [1] Balanov, Schwartz, Moshe, Peleg, "Image quality assessment based on DCT subband similarity", ICIP 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.distort._windows import gaussian, luma, slid

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DSS"]

BLOCK = 8
SPREAD, LEAST = 1.55, 0.01  # of the weights of subbands; those below the least count nothing
WINDOW = gaussian(3, 1.5)
WORST = 0.05  # share of the places that are averaged
C_DC, C_AC = 1000.0, 300.0


class Subbands(NamedTuple):
    """Of an image: values (S, h, w), and their local means and variances."""

    values: Tensor
    mean: Tensor
    variance: Tensor


class DSS:
    """Equations 1 to 7 of [1]_."""

    def __init__(self, device: str) -> None:
        import torch

        self.device = device
        places = np.arange(BLOCK) + 0.5
        weights = np.exp(-np.add.outer(places**2, places**2) / (2 * SPREAD**2))
        self._kept = np.flatnonzero(weights >= LEAST)
        kept = weights.ravel()[self._kept]
        self._weights = torch.from_numpy(kept / kept.sum()).to(device)
        rows = np.cos(np.pi / BLOCK * np.outer(np.arange(BLOCK), places)) * np.sqrt(2 / BLOCK)
        rows[0] /= np.sqrt(2)
        self._cosines = torch.from_numpy(rows).to(device)

    def reference(self, hr: NDArray[np.uint8]) -> Subbands:
        """The HR image's half."""
        import torch

        height, width = (side // BLOCK for side in hr.shape[1:])
        blocks = luma(hr[:, : height * BLOCK, : width * BLOCK], self.device).view(height, BLOCK, width, BLOCK)
        both = torch.einsum("ui,hiwj,vj->uvhw", self._cosines, blocks, self._cosines)
        values = both.reshape(BLOCK * BLOCK, height, width)[torch.from_numpy(self._kept).to(self.device)]
        mean, square = _means(torch.stack([values, values * values]))
        return Subbands(values, mean, square.sub_(mean * mean).clamp_(min=0))

    def value(self, reference: Subbands, sr: NDArray[np.uint8]) -> float:
        """DSS of (3, H, W)."""
        other = self.reference(sr)
        deviations = (reference.variance * other.variance).sqrt_()
        constant = deviations.new_full((len(self._kept), 1, 1), C_AC)
        constant[0] = C_DC
        contrast = (2 * deviations + constant) / (reference.variance + other.variance + constant)
        scores = _worst(contrast)
        covariance = _means(reference.values[0] * other.values[0]) - reference.mean[0] * other.mean[0]
        scores[0] *= _worst((covariance + C_DC) / (deviations[0] + C_DC))
        return float((scores * self._weights).sum())


def _means(values: Tensor) -> Tensor:
    """Under the window around every place, zeros beyond the border."""
    import torch

    return slid(torch.nn.functional.pad(values, (1, 1, 1, 1)), WINDOW)


def _worst(scores: Tensor) -> Tensor:
    """Mean of the smallest few, over (..., h, w)."""
    flat = scores.flatten(start_dim=-2)
    return flat.topk(max(1, round(WORST * flat.shape[-1])), largest=False).values.mean(dim=-1)

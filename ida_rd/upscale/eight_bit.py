"""Float images to 8-bit samples: the one place where that happens."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.upscale.contract import Samples

__all__ = ["to_samples", "to_samples_official"]


def to_samples(sr: Tensor) -> Samples:
    """Round images in [0, 1], (K, 3, H, W), to 8 bits, and report what is lost by it."""
    return Samples.joined([_rounded(one) for one in sr.split(1)])  # one by one, for the memory


def _rounded(sr: Tensor) -> Samples:
    finite = torch.isfinite(sr).flatten(1).all(dim=1)
    levels = torch.nan_to_num(sr, nan=0.0, posinf=0.0, neginf=0.0) * 255
    eight = levels.round().clamp(0, 255).to(torch.uint8)
    return Samples(
        eight.cpu().numpy(), finite.cpu().numpy(), _clipped(levels, torch.zeros_like(levels, dtype=torch.bool))
    )


def to_samples_official(sr: Tensor) -> Samples:
    """Do as SRFlow's and IDA-RD's own scripts do: truncate, and turn what is not a number into black.

    Both are wrong, and here only to reproduce published numbers: truncation darkens by half a level,
    and a failed reconstruction is scored as if it were one. Every sample counts as finite; its pixels
    that were not finite count as clipped.
    """
    return Samples.joined([_truncated(one) for one in sr.split(1)])


def _truncated(sr: Tensor) -> Samples:
    lost = ~torch.isfinite(sr)
    levels = torch.nan_to_num(sr, nan=0.0, posinf=1.0, neginf=0.0) * 255
    eight = levels.clamp(0, 255).to(torch.uint8)
    finite = torch.ones(len(sr), dtype=torch.bool)
    return Samples(eight.cpu().numpy(), finite.numpy(), _clipped(levels, lost))


def _clipped(levels: Tensor, lost: Tensor) -> NDArray[np.float64]:
    outside = (levels < -0.5) | (levels > 255.5) | lost
    return outside.flatten(1).double().mean(dim=1).cpu().numpy()

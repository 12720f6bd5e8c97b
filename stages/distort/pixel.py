"""Pixel-wise measures: PSNR, as ``piq`` (the official code's library) defines it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.core.methods import Parameters as Base
from stages.distort.contract import Descriptor

__all__ = ["PSNR", "Parameters", "describe", "load"]

EPSILON = 1e-8  # piq's: keeps the value of identical images finite, at 80 dB


class Parameters(Base):
    """``metric``: ``psnr``."""

    metric: Literal["psnr"] = "psnr"


def describe(parameters: Parameters) -> Descriptor:
    """Describe PSNR: in dB, higher is better, 80 for identical images."""
    return Descriptor(better="higher", perfect=80.0, low=0.0, high=80.0, minimum_side=1, label="PSNR (dB)")


def load(parameters: Parameters, device: str) -> PSNR:
    """Return the measure; it computes in exact integers, on the CPU."""
    return PSNR()


class PSNR:
    """``-10 log10(MSE + 1e-8)`` over all sub-pixels of images in [0, 1]."""

    def reference(self, hr: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The HR image (3, H, W), uint8, as integers."""
        return hr.astype(np.int64)

    def distance(self, reference: NDArray[np.int64], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """PSNR of (K, 3, H, W), uint8, to the reference; (K,), dB."""
        squares = np.square(sr.astype(np.int64) - reference).sum(axis=(1, 2, 3))
        mse = squares / (reference.size * 255.0**2)
        return np.clip(-10 * np.log10(mse + EPSILON), 0.0, 80.0)

"""Pixel-wise measures: MSE, and PSNR as ``piq`` (the official code's library) defines it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.distort.contract import Descriptor, mean_to_others

__all__ = ["MSE", "PSNR", "Parameters", "describe", "load"]

HARMLESS = ("metric",)
MAPS = False  # none of them tells where in an image it lies
EPSILON = 1e-8  # piq's: keeps the value of identical images finite, at 80 dB


class Parameters(Base):
    """Which measure."""

    metric: Literal["psnr", "mse"] = Field(
        default="psnr", description="psnr: in dB, higher is better; mse: of values in [0, 1], lower is better"
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe PSNR (in dB, 80 for identical images) or MSE (of pixels in [0, 1])."""
    if parameters.metric == "mse":
        return Descriptor(
            better="lower", perfect=0.0, low=0.0, high=1.0, minimum_side=1, label="MSE", kind="pixel", squared=True
        )
    return Descriptor(
        better="higher", perfect=80.0, low=0.0, high=80.0, minimum_side=1, label="PSNR (dB)", kind="pixel"
    )


def load(parameters: Parameters, device: str) -> MSE:
    """Return the measure; it computes in exact integers, on the CPU."""
    return MSE() if parameters.metric == "mse" else PSNR()


class MSE:
    """Mean squared error over all sub-pixels of images in [0, 1]."""

    def reference(self, hr: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The HR image (3, H, W), uint8, as integers."""
        return hr.astype(np.int32)

    def distance(self, reference: NDArray[np.int32], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """MSE of (K, 3, H, W), uint8, to the reference; (K,), in [0, 1]."""
        # One by one: a photograph of 12 megapixels takes 140 MB.
        squares = [int(np.square(sample - reference).sum(dtype=np.int64)) for sample in sr]
        return np.array(squares) / (reference.size * 255.0**2)

    def with_spread(
        self, reference: NDArray[np.int32], sr: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`distance`, and the mean distance of each sample to the others; (K,) each, K >= 2."""
        mean = sr.mean(axis=0)
        squares = [np.square(sr[k : k + 1] - mean).sum(axis=(1, 2, 3)) for k in range(len(sr))]
        to_mean = np.concatenate(squares) / (reference.size * 255.0**2)
        return self.distance(reference, sr), mean_to_others(to_mean)


class PSNR(MSE):
    """``-10 log10(MSE + 1e-8)`` over all sub-pixels of images in [0, 1]."""

    def distance(self, reference: NDArray[np.int32], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """PSNR of (K, 3, H, W), uint8, to the reference; (K,), dB."""
        return np.clip(-10 * np.log10(super().distance(reference, sr) + EPSILON), 0.0, 80.0)

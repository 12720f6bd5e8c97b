"""Pixel-wise measures: MSE, and PSNR as ``piq`` (the official code's library) defines it.

Of all sub-pixels, or of luma without a border, as papers about rescaling give it (`ida_rd.distort._view`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.distort._view import UNIT, Border, Channel, StatedIfSet, View
from ida_rd.distort.contract import Descriptor, mean_to_others

__all__ = ["MSE", "PSNR", "Parameters", "describe", "load"]

HARMLESS = ("metric", "channel", "border")
MAPS = False  # none of them tells where in an image it lies
EPSILON = 1e-8  # piq's: keeps the value of identical images finite, at 80 dB


class Parameters(StatedIfSet, Base):
    """Which measure, and of what."""

    metric: Literal["psnr", "mse"] = Field(
        default="psnr", description="psnr: in dB, higher is better; mse: of values in [0, 1], lower is better"
    )
    channel: Channel = "rgb"
    border: Border = 0

    def view(self) -> View:
        """What is seen of an image."""
        return View(self.channel, self.border)


def describe(parameters: Parameters) -> Descriptor:
    """Describe PSNR (in dB, 80 for identical images) or MSE (of values in [0, 1])."""
    view = parameters.view()
    side = view.side(1)
    if parameters.metric == "mse":
        return Descriptor(
            better="lower",
            perfect=0.0,
            low=0.0,
            high=1.0,
            minimum_side=side,
            label=view.label("MSE"),
            kind="pixel",
            squared=True,
        )
    label = view.label("PSNR", "dB")
    return Descriptor(better="higher", perfect=80.0, low=0.0, high=80.0, minimum_side=side, label=label, kind="pixel")


def load(parameters: Parameters, device: str) -> MSE:
    """Return the measure; it computes on the CPU, and differences are exact integers."""
    view = parameters.view()
    return MSE(view) if parameters.metric == "mse" else PSNR(view)


class MSE:
    """Mean squared error over all values, as parts of 255, that the view sees; of RGB all sub-pixels.

    Parameters
    ----------
    view : View, optional
        By default all sub-pixels.
    """

    def __init__(self, view: View | None = None) -> None:
        self.view = view or View()
        self.luma = self.view.channel == "y"
        self.peak = 255.0 * UNIT if self.luma else 255.0

    def reference(self, hr: NDArray[np.uint8]) -> NDArray[np.int32]:
        """What is seen of the HR image (3, H, W), uint8, as integers."""
        return self._seen(hr).astype(np.int32)

    def distance(self, reference: NDArray[np.int32], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """MSE of (K, 3, H, W), uint8, to the reference; (K,), in [0, 1]."""
        # One by one: a photograph of 12 megapixels takes 140 MB.
        squares = [self._squares(self._seen(sample) - reference) for sample in sr]
        return np.array(squares) / (reference.size * self.peak**2)

    def with_spread(
        self, reference: NDArray[np.int32], sr: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`distance`, and the mean distance of each sample to the others; (K,) each, K >= 2."""
        seen = self._seen(sr)
        mean = seen.mean(axis=0)
        squares = [np.square(seen[k : k + 1] - mean).sum(axis=(1, 2, 3)) for k in range(len(seen))]
        to_mean = np.concatenate(squares) / (reference.size * self.peak**2)
        return self.distance(reference, sr), mean_to_others(to_mean)

    def _seen(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Of (..., 3, H, W): whole numbers."""
        return self.view.sums(images) if self.luma else self.view.inner(images)

    def _squares(self, differences: NDArray[Any]) -> float:
        """Sum of squares. Those of luma are exact in float64; their sum, too large for an integer, is rounded."""
        if self.luma:
            return float(np.square(differences, dtype=np.float64).sum())
        return int(np.square(differences).sum(dtype=np.int64))


class PSNR(MSE):
    """``-10 log10(MSE + 1e-8)`` over all values that the view sees, as parts of 255."""

    def distance(self, reference: NDArray[np.int32], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """PSNR of (K, 3, H, W), uint8, to the reference; (K,), dB."""
        return np.clip(-10 * np.log10(super().distance(reference, sr) + EPSILON), 0.0, 80.0)

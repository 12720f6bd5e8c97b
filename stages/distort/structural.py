"""Structural distances without weights, by the ``piq`` library (the official code's).

References
----------
.. [1] Zhang, Zhang, Mou, Zhang, "FSIM: a feature similarity index for image quality assessment", TIP 2011.
.. [2] Balanov, Schwartz, Moshe, Peleg, "Image quality assessment based on DCT subband similarity", ICIP 2015.
.. [3] Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stages.core.methods import Parameters as Base
from stages.distort.contract import Descriptor, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Parameters", "Structural", "describe", "load"]

# Metric: label, smallest side. MS-SSIM halves the image four times under an 11-pixel window.
METRICS = {"fsim": ("1 - FSIM", 32), "dss": ("1 - DSS", 32), "ms-ssim": ("1 - MS-SSIM", 161)}


class Parameters(Base):
    """``metric``: ``fsim`` (colour, FSIMc), ``dss`` or ``ms-ssim``; each is one minus the similarity."""

    metric: Literal["fsim", "dss", "ms-ssim"]


def describe(parameters: Parameters) -> Descriptor:
    """Describe the distance, which is one minus the similarity."""
    label, side = METRICS[parameters.metric]
    return Descriptor(better="lower", perfect=0.0, low=0.0, high=1.0, minimum_side=side, label=label)


def load(parameters: Parameters, device: str) -> Structural:
    """Return the distance on a device."""
    return Structural(parameters, device)


class Structural:
    """One minus a structural similarity in [0, 1]."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        import piq

        self.device = device
        similarity = {"fsim": piq.fsim, "dss": piq.dss, "ms-ssim": piq.multi_scale_ssim}
        self.similarity = similarity[parameters.metric]

    def reference(self, hr: NDArray[np.uint8]) -> Tensor:
        """The HR image (3, H, W), uint8, as a batch of one."""
        return unit_range(hr[None], self.device)

    def distance(self, reference: Tensor, sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """One minus the similarity of (K, 3, H, W), uint8, to the reference; (K,), in [0, 1]."""
        import torch

        with torch.inference_mode():
            other = unit_range(sr, self.device)
            value = self.similarity(other, reference.expand_as(other), data_range=1.0, reduction="none")
        # Rounding can put the similarity of equal images a hair above one.
        return (1 - value.double()).clamp(0, 1).cpu().numpy()

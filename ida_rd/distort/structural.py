"""Structural measures without weights, by the ``piq`` library (the official code's).

References
----------
.. [1] Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
   similarity", TIP 2004 (SSIM).
.. [2] Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003.
.. [3] Zhang, Zhang, Mou, Zhang, "FSIM: a feature similarity index for image quality assessment", TIP 2011.
.. [4] Zhang, Shen, Li, "VSI: a visual saliency-induced index for perceptual image quality assessment", TIP 2014.
.. [5] Balanov, Schwartz, Moshe, Peleg, "Image quality assessment based on DCT subband similarity", ICIP 2015.
.. [6] Reisenhofer, Bosse, Kutyniok, Wiegand, "A Haar wavelet-based perceptual similarity index for image
   quality assessment", Signal Processing: Image Communication 61, 2018.
.. [7] Zhang, Li, "SR-SIM: a fast and high performance IQA index based on spectral residual", ICIP 2012.
.. [8] Xue, Zhang, Mou, Bovik, "Gradient magnitude similarity deviation", TIP 2014.
.. [9] Zhang, Sun, Shi, "Gradient magnitude similarity deviation on multiple scales for color image quality
   assessment", ICASSP 2017.
.. [10] Nafchi, Shahkolaei, Hedjam, Cheriet, "Mean deviation similarity index", IEEE Access 2016.
.. [11] Sheikh, Bovik, "Image information and visual quality", TIP 2006 (VIF, in the pixel domain).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.distort.contract import Descriptor, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["METRICS", "Parameters", "Structural", "describe", "load"]

HARMLESS = ("metric",)


class Metric(NamedTuple):
    """A function of piq: what it returns, the smallest side that it takes, in pixels, and whether it needs float64."""

    function: str
    label: str
    minimum_side: int
    kind: Literal["similarity", "distance", "information"]
    high: float | None = 1.0
    double: bool = False


# Local variances are differences of large numbers, and HaarPSI's last step is steep: float64, to be right to 1e-5.
# A similarity becomes a distance, one minus it. VIF, which exceeds one where contrast was raised, stays as it is.
METRICS = {
    "ssim": Metric("ssim", "1 - SSIM", 11, "similarity", 2.0, True),
    "ms-ssim": Metric("multi_scale_ssim", "1 - MS-SSIM", 161, "similarity", 1.0, True),
    "fsim": Metric("fsim", "1 - FSIM", 32, "similarity"),
    "vsi": Metric("vsi", "1 - VSI", 32, "similarity"),
    "dss": Metric("dss", "1 - DSS", 32, "similarity"),
    "haarpsi": Metric("haarpsi", "1 - HaarPSI", 16, "similarity", 1.0, True),
    "srsim": Metric("srsim", "1 - SR-SIM", 40, "similarity"),
    "gmsd": Metric("gmsd", "GMSD", 16, "distance", None),
    "ms-gmsd": Metric("multi_scale_gmsd", "MS-GMSD", 17, "distance", None),
    "mdsi": Metric("mdsi", "MDSI", 16, "distance", None),
    "vif": Metric("vif_p", "VIF", 41, "information", None, True),
}


Name = Literal["ssim", "ms-ssim", "fsim", "vsi", "dss", "haarpsi", "srsim", "gmsd", "ms-gmsd", "mdsi", "vif"]


class Parameters(Base):
    """Which measure."""

    metric: Name = Field(
        description="ssim to srsim: the similarity, as one minus itself; gmsd, ms-gmsd, mdsi: a distance; vif:"
        " visual information, higher is better"
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe the measure; all but VIF are distances."""
    metric = METRICS[parameters.metric]
    information = metric.kind == "information"
    return Descriptor(
        better="higher" if information else "lower",
        perfect=1.0 if information else 0.0,
        low=0.0,
        high=metric.high,
        minimum_side=metric.minimum_side,
        label=metric.label,
        kind="structural",
    )


def load(parameters: Parameters, device: str) -> Structural:
    """Return the measure on a device."""
    return Structural(parameters, device)


class Structural:
    """A measure of piq."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        import piq

        self.device = device
        self.metric = METRICS[parameters.metric]
        self.function = getattr(piq, self.metric.function)

    def reference(self, hr: NDArray[np.uint8]) -> Tensor:
        """The HR image (3, H, W), uint8, as a batch of one."""
        image = unit_range(hr[None], self.device)
        return image.double() if self.metric.double else image

    def distance(self, reference: Tensor, sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Measure (K, 3, H, W), uint8, against the reference; (K,), in the range that `describe` gives."""
        import torch

        with torch.inference_mode():
            # One by one: some of piq's measures of an image depend on which others are in the batch.
            others = unit_range(sr, self.device).to(reference.dtype).split(1)
            value = torch.cat([self.function(other, reference, data_range=1.0).reshape(1) for other in others]).double()
        if self.metric.kind == "similarity":
            value = 1 - value
        # Rounding can put the similarity of equal images a hair above one.
        return value.clamp(0, self.metric.high).cpu().numpy()

"""Structural measures without weights, as the ``piq`` library (the official code's) defines them.

SSIM, MS-SSIM, VIF, FSIM and DSS are computed by modules of this room, piq computes the others. Of luma alone (`channel:
y`), a measure of colours sees an image in grey. SSIM averages images first whose shorter side has 384 pixels or more;
of smaller ones, SSIM of `channel: y` is the one that papers about rescaling give.

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

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.distort._dss import DSS
from ida_rd.distort._fsim import FSIM
from ida_rd.distort._similarity import SSIM, VIF, MultiScaleSSIM
from ida_rd.distort._view import Border, Channel, StatedIfSet, View
from ida_rd.distort.contract import Descriptor, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["METRICS", "Parameters", "Structural", "describe", "load"]

HARMLESS = ("metric", "channel", "border")
MAPS = False  # none of them tells where in an image it lies


class Metric(NamedTuple):
    """What computes it (a class of this room, or a function of piq and whether it needs float64), and its values."""

    computed: type[Measure] | str
    label: str
    minimum_side: int
    kind: Literal["similarity", "distance", "information"]
    high: float | None = 1.0
    double: bool = False


class Measure(Protocol):
    """A measure on a device: the HR image's half once, and one SR image against it."""

    def __init__(self, device: str) -> None: ...

    def reference(self, hr: NDArray[np.uint8]) -> Any:
        """What depends on the HR image (3, H, W) alone."""
        ...

    def value(self, reference: Any, sr: NDArray[np.uint8]) -> float:
        """Measure an SR image (3, H, W)."""
        ...


# HaarPSI's last step is steep: float64, to be right to 1e-5.
# A similarity becomes a distance, one minus it. VIF, which exceeds one where contrast was raised, stays as it is.
METRICS = {
    "ssim": Metric(SSIM, "1 - SSIM", 11, "similarity", 2.0),
    "ms-ssim": Metric(MultiScaleSSIM, "1 - MS-SSIM", 161, "similarity", 1.0),
    "fsim": Metric(FSIM, "1 - FSIM", 32, "similarity"),
    "vsi": Metric("vsi", "1 - VSI", 32, "similarity"),
    "dss": Metric(DSS, "1 - DSS", 32, "similarity"),
    "haarpsi": Metric("haarpsi", "1 - HaarPSI", 16, "similarity", 1.0, True),
    "srsim": Metric("srsim", "1 - SR-SIM", 40, "similarity"),
    "gmsd": Metric("gmsd", "GMSD", 16, "distance", None),
    "ms-gmsd": Metric("multi_scale_gmsd", "MS-GMSD", 17, "distance", None),
    "mdsi": Metric("mdsi", "MDSI", 16, "distance", None),
    "vif": Metric(VIF, "VIF", 41, "information", None),
}


Name = Literal["ssim", "ms-ssim", "fsim", "vsi", "dss", "haarpsi", "srsim", "gmsd", "ms-gmsd", "mdsi", "vif"]


class Parameters(StatedIfSet, Base):
    """Which measure, and of what."""

    metric: Name = Field(
        description="ssim to srsim: the similarity, as one minus itself; gmsd, ms-gmsd, mdsi: a distance; vif:"
        " visual information, higher is better"
    )
    channel: Channel = "rgb"
    border: Border = 0

    def view(self) -> View:
        """What is seen of an image."""
        return View(self.channel, self.border)


def describe(parameters: Parameters) -> Descriptor:
    """Describe the measure; all but VIF are distances."""
    metric = METRICS[parameters.metric]
    information = metric.kind == "information"
    view = parameters.view()
    return Descriptor(
        better="higher" if information else "lower",
        perfect=1.0 if information else 0.0,
        low=0.0,
        high=metric.high,
        minimum_side=view.side(metric.minimum_side),
        label=view.label(metric.label),
        kind="structural",
    )


def load(parameters: Parameters, device: str) -> Structural:
    """Return the measure on a device."""
    return Structural(parameters, device)


class Piq:
    """A measure that piq computes: it has no half of its own for the HR image."""

    def __init__(self, function: str, double: bool, device: str) -> None:
        import piq

        self.function, self.double, self.device = getattr(piq, function), double, device

    def reference(self, hr: NDArray[np.uint8]) -> Tensor:
        """The HR image as a batch of one."""
        image = unit_range(hr[None], self.device)
        return image.double() if self.double else image

    def value(self, reference: Tensor, sr: NDArray[np.uint8]) -> float:
        """Measure an SR image, alone: some of piq's measures depend on which others are in the batch."""
        return float(self.function(self.reference(sr), reference, data_range=1.0))


class Structural:
    """A structural measure; SR images one by one, so that neither memory nor values depend on how many there are."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        self.metric = metric = METRICS[parameters.metric]
        computed = metric.computed
        self.measure = Piq(computed, metric.double, device) if isinstance(computed, str) else computed(device)
        self.view = parameters.view()
        # By these a channel at a time is measured; the others expect three.
        self.channels = 1 if computed in (SSIM, MultiScaleSSIM) else 3

    def reference(self, hr: NDArray[np.uint8]) -> Any:
        """What depends on the HR image (3, H, W), uint8, alone."""
        import torch

        with torch.inference_mode():
            return self.measure.reference(self._seen(hr))

    def distance(self, reference: Any, sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Measure (K, 3, H, W), uint8, against the reference; (K,), in the range that `describe` gives."""
        import torch

        with torch.inference_mode():
            value = np.array([self.measure.value(reference, self._seen(one)) for one in sr], np.float64)
        if self.metric.kind == "similarity":
            value = 1 - value
        # Rounding can put the similarity of equal images a hair above one.
        return value.clip(0, self.metric.high)

    def _seen(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        if self.view.channel == "rgb":
            return self.view.inner(image)
        return self.view.levels(image).repeat(self.channels, axis=0)

"""ST-LPIPS: LPIPS of networks that tolerate small shifts; its weights need no download.

They lie in the package ``stlpips-pytorch`` (extra ``perceptual``), of which the weight file alone is read. A shift of
the image by a pixel costs next to nothing.

References
----------
.. [1] Ghildyal, Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022.
.. [2] Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a
   perceptual metric", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import read_weights
from ida_rd.distort.contract import Descriptor, unit_range
from ida_rd.distort.lpips import EPSILON, LPIPS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["STLPIPS", "Parameters", "describe", "load"]

HARMLESS = ("backbone",)


class Parameters(Base):
    """Which network."""

    backbone: Literal["alex", "vgg"] = Field(
        default="alex", description="network that gives the features: AlexNet or VGG-16, with filters before strides"
    )
    path: str | None = Field(
        default=None, description="your own copy of its weight file; null: the one in the package stlpips-pytorch"
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe ST-LPIPS with a backbone."""
    return Descriptor(
        better="lower",
        perfect=0.0,
        low=0.0,
        high=None,
        minimum_side=32,
        label=f"ST-LPIPS ({ {'alex': 'AlexNet', 'vgg': 'VGG'}[parameters.backbone] })",
        kind="learned",
        weights={f"st-lpips.{parameters.backbone}": parameters.path},
        squared=True,
    )


def load(parameters: Parameters, device: str) -> STLPIPS:
    """Load the network onto a device."""
    return STLPIPS(parameters, device)


class STLPIPS(LPIPS):
    """ST-LPIPS [1]_ with a backbone: equation 1 of [2]_, of other features and with other heads."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        import torch

        from ida_rd.models.shift_tolerant import ShiftTolerant

        found = read_weights(f"st-lpips.{parameters.backbone}", parameters.path)
        network = ShiftTolerant(parameters.backbone)
        with decoding(f"{found.path}: not ST-LPIPS's {parameters.backbone} weights"):
            network.load_state_dict(found.tensors())
        self.device = device
        self.network = network.to(device).eval().requires_grad_(False)
        if device == "cpu":  # as for LPIPS
            self.network.to(memory_format=torch.channels_last)

    def _unit_features(self, images: NDArray[np.uint8]) -> list[Tensor]:
        import torch

        layout = torch.channels_last if self.device == "cpu" else torch.contiguous_format
        with torch.inference_mode():
            features = self.network((2 * unit_range(images, self.device) - 1).contiguous(memory_format=layout))
            return [f / (torch.linalg.vector_norm(f, dim=1, keepdim=True) + EPSILON) for f in features]

    def _layers(self, one: list[Tensor], many: list[Tensor]) -> Iterator[Tensor]:
        """Per layer, weighted squared differences of features of one image and of several, (K, h, w)."""
        for weights, own, other in zip(self.network.weights(), one, many, strict=True):
            yield (other - own).square_().movedim(1, -1) @ weights

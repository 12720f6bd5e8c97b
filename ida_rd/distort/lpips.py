"""LPIPS v0.1: distance of deep features, with the linear heads of the ``lpips`` package.

References
----------
.. [1] Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a
   perceptual metric", CVPR 2018.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import read_weights
from ida_rd.distort.contract import Descriptor, mean_to_others, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LPIPS", "Parameters", "describe", "load"]

HARMLESS = ("backbone",)
WEIGHTS = {"alex": "torchvision.alexnet", "vgg": "torchvision.vgg16", "squeeze": "torchvision.squeezenet1_1"}
EPSILON = 1e-10  # the package's, added to the norm of features
# Of a batch: on an accelerator, and on a CPU.
BATCH_PIXELS = (2**22, 2**20)


class Parameters(Base):
    """Which network."""

    backbone: Literal["alex", "vgg", "squeeze"] = Field(
        default="alex", description="network that gives the features: AlexNet, VGG-16 or SqueezeNet 1.1"
    )
    path: str | None = Field(
        default=None, description="your own file of its torchvision weights; null: torch's cache, or a download"
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe LPIPS with a backbone."""
    return Descriptor(
        better="lower",
        perfect=0.0,
        low=0.0,
        high=None,
        minimum_side=32,
        label=f"LPIPS ({ {'alex': 'AlexNet', 'vgg': 'VGG', 'squeeze': 'SqueezeNet'}[parameters.backbone] })",
        kind="learned",
        weights={WEIGHTS[parameters.backbone]: parameters.path},
        squared=True,
    )


def load(parameters: Parameters, device: str) -> LPIPS:
    """Load backbone and heads onto a device."""
    return LPIPS(parameters, device)


class LPIPS:
    """LPIPS v0.1 with a backbone; equation 1 of [1]_."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        import lpips
        import torch

        found = read_weights(WEIGHTS[parameters.backbone], parameters.path)
        # The package prints, and warns about the way it asks torchvision for an untrained network.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = lpips.LPIPS(net=parameters.backbone, version="0.1", pnet_rand=True, verbose=False)
        convolutions = _features(found.tensors())
        # The package files torchvision's layers under slices, keeping their numbers.
        own = network.net.state_dict()
        with decoding(f"{found.path}: not torchvision's {parameters.backbone} weights"):
            network.net.load_state_dict({name: convolutions[name.split(".", 1)[1]] for name in own})
        self.device = device
        self.network = network.to(device).eval().requires_grad_(False)
        if device == "cpu":  # convolution and pooling are faster this way
            self.network.to(memory_format=torch.channels_last)

    def _unit_features(self, images: NDArray[np.uint8]) -> list[Tensor]:
        import torch

        layout = torch.channels_last if self.device == "cpu" else torch.contiguous_format
        with torch.inference_mode():
            scaled = self.network.scaling_layer(2 * unit_range(images, self.device) - 1)
            features = self.network.net.forward(scaled.contiguous(memory_format=layout))
            return [f / (torch.linalg.vector_norm(f, dim=1, keepdim=True) + EPSILON) for f in features]

    def _batches(self, sr: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Samples, as many at once as suit the machine.

        On a CPU larger blocks of memory than glibc's allocator keeps (32 MB) are requested from the system each
        time, and cost more than batching saves.
        """
        size = max(1, BATCH_PIXELS[self.device == "cpu"] // (sr.shape[2] * sr.shape[3]))
        return (sr[k : k + size] for k in range(0, len(sr), size))

    def reference(self, hr: NDArray[np.uint8]) -> list[Tensor]:
        """Normalised features of the HR image (3, H, W), uint8, per layer."""
        return self._unit_features(hr[None])

    def distance(self, reference: list[Tensor], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """LPIPS of (K, 3, H, W), uint8, to the reference; (K,), at least 0."""
        batches = [self._between(reference, self._unit_features(some)).cpu().numpy() for some in self._batches(sr)]
        return np.concatenate(batches)

    def with_spread(
        self, reference: list[Tensor], sr: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`distance`, and the mean distance of each sample to the others; (K,) each, K >= 2."""
        import torch

        with torch.inference_mode():
            batches = [self._unit_features(some) for some in self._batches(sr)]
            mean = [torch.cat(layers).mean(dim=0, keepdim=True) for layers in zip(*batches, strict=True)]
            to_hr = np.concatenate([self._between(reference, some).cpu().numpy() for some in batches])
            to_mean = np.concatenate([self._between(mean, some).cpu().numpy() for some in batches])
        return to_hr, mean_to_others(to_mean)

    def maps(self, reference: list[Tensor], sr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Where the distance lies: (K, H, W), each layer's map enlarged bilinearly; their mean is near the distance."""
        import torch
        from torch.nn.functional import interpolate

        size = sr.shape[2:]
        with torch.inference_mode():
            layers = [
                interpolate(values[:, None], size, mode="bilinear", align_corners=False)
                for values in self._layers(reference, self._unit_features(sr))
            ]
            return torch.stack(layers).sum(dim=0)[:, 0].cpu().numpy()

    def _layers(self, one: list[Tensor], many: list[Tensor]) -> Iterator[Tensor]:
        """Per layer, weighted squared differences of features of one image and of several, (K, h, w)."""
        for head, own, other in zip(self.network.lins, one, many, strict=True):
            weights = head.model[-1].weight[0, :, 0, 0]  # of a 1x1 convolution, past its dropout
            yield (other - own).square_().movedim(1, -1) @ weights

    def _between(self, one: list[Tensor], many: list[Tensor]) -> Tensor:
        """Distances of features of one image to those of several, (K,), float64."""
        import torch

        with torch.inference_mode():
            layers = [values.mean(dim=(1, 2), dtype=torch.float64) for values in self._layers(one, many)]
            return torch.stack(layers).sum(dim=0)


def _features(state: dict[str, Any]) -> dict[str, Any]:
    """Layers of the feature part, by torchvision's numbers; a whole network's file is accepted too."""
    return {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}

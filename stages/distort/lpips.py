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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.methods import Parameters as Base
from stages.core.weights import load_tensors, locate
from stages.distort.contract import Descriptor, mean_to_others, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LPIPS", "Parameters", "describe", "load"]

WEIGHTS = {"alex": "torchvision.alexnet", "vgg": "torchvision.vgg16", "squeeze": "torchvision.squeezenet1_1"}


class Parameters(Base):
    """``backbone``: the feature network; ``path``: your own file of its torchvision weights."""

    backbone: Literal["alex", "vgg", "squeeze"] = "alex"
    path: str | None = None


def describe(parameters: Parameters) -> Descriptor:
    """Describe LPIPS with a backbone."""
    return Descriptor(
        better="lower",
        perfect=0.0,
        low=0.0,
        high=None,
        minimum_side=32,
        label=f"LPIPS ({ {'alex': 'AlexNet', 'vgg': 'VGG', 'squeeze': 'SqueezeNet'}[parameters.backbone] })",
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

        found = locate(WEIGHTS[parameters.backbone], parameters.path, download=False)
        # The package prints, and warns about the way it asks torchvision for an untrained network.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = lpips.LPIPS(net=parameters.backbone, version="0.1", pnet_rand=True, verbose=False)
        convolutions = _features(load_tensors(found.path))
        # The package files torchvision's layers under slices, keeping their numbers.
        own = network.net.state_dict()
        try:
            network.net.load_state_dict({name: convolutions[name.split(".", 1)[1]] for name in own})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{found.path}: not torchvision's {parameters.backbone} weights ({error})") from None
        self.device = device
        self.network = network.to(device).eval().requires_grad_(False)

    def _unit_features(self, images: NDArray[np.uint8]) -> list[Tensor]:
        import lpips
        import torch

        with torch.inference_mode():
            scaled = self.network.scaling_layer(2 * unit_range(images, self.device) - 1)
            return [lpips.normalize_tensor(f) for f in self.network.net.forward(scaled)]

    def reference(self, hr: NDArray[np.uint8]) -> list[Tensor]:
        """Normalised features of the HR image (3, H, W), uint8, per layer."""
        return self._unit_features(hr[None])

    def distance(self, reference: list[Tensor], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """LPIPS of (K, 3, H, W), uint8, to the reference; (K,), at least 0."""
        return self._between(reference, self._unit_features(sr)).cpu().numpy()

    def with_spread(
        self, reference: list[Tensor], sr: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`distance`, and the mean distance of each sample to the others; (K,) each, K >= 2."""
        features = self._unit_features(sr)
        samples = [[layer[k : k + 1] for layer in features] for k in range(len(sr))]
        spread = mean_to_others(lambda i, j: float(self._between(samples[i], samples[j])), len(sr))
        return self._between(reference, features).cpu().numpy(), spread

    def maps(self, reference: list[Tensor], sr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Where the distance lies: (K, H, W), each layer's map enlarged bilinearly; their mean is near the distance."""
        import torch
        from torch.nn.functional import interpolate

        size = sr.shape[2:]
        with torch.inference_mode():
            layers = [
                interpolate(self._head(i, (own - other) ** 2), size, mode="bilinear", align_corners=False)
                for i, (own, other) in enumerate(zip(reference, self._unit_features(sr), strict=True))
            ]
            return torch.stack(layers).sum(dim=0)[:, 0].cpu().numpy()

    def _head(self, layer: int, squares: Tensor) -> Tensor:
        return self.network.lins[layer].model[-1](squares)  # the head's 1x1 convolution, past its dropout

    def _between(self, one: list[Tensor], many: list[Tensor]) -> Tensor:
        """Distances of features of one image to those of several, (K,), float64."""
        import torch

        with torch.inference_mode():
            layers = [
                self._head(i, (own - other) ** 2).mean(dim=(1, 2, 3), dtype=torch.float64)
                for i, (own, other) in enumerate(zip(one, many, strict=True))
            ]
            return torch.stack(layers).sum(dim=0)


def _features(state: dict[str, Any]) -> dict[str, Any]:
    """Layers of the feature part, by torchvision's numbers; a whole network's file is accepted too."""
    return {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}

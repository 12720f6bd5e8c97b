"""DISTS: similarity of structure and texture of VGG-16's features, as the ``piq`` library defines it.

One minus the similarity. It is no squared distance, so it does not split into variance and bias. An image whose
shorter side has more than 256 pixels is first reduced to that. The two weights of each channel, 12 KB, lie in the
package ``dists-pytorch``, of which that file alone is read; VGG-16's are those of ``{method: lpips, backbone: vgg}``.

References
----------
.. [1] Ding, Ma, Wang, Simoncelli, "Image quality assessment: unifying structure and texture similarity", IEEE
   TPAMI 44(5), 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import read_weights
from ida_rd.distort.contract import Descriptor, unit_range

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DISTS", "Parameters", "describe", "load"]

HARMLESS = ()
MAPS = False  # statistics of whole feature maps: it does not tell where
VGG, CHANNEL_WEIGHTS = "torchvision.vgg16", "dists.channels"
LAYERS = {"3": 64, "8": 128, "15": 256, "22": 512, "29": 512}  # the last activation before each pooling; its channels
CHANNELS = [3, *LAYERS.values()]  # the image itself comes first
SIDE = 256


class Parameters(Base):
    """Where its files are."""

    paths: dict[Literal["vgg16", "channels"], str] = Field(
        default_factory=dict,
        description="your own files: vgg16, of torchvision's weights, otherwise in torch's cache or downloaded;"
        " channels, of DISTS's weights of channels, otherwise in the package dists-pytorch",
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe DISTS; correlations may be negative, so that a distance may exceed 1."""
    return Descriptor(
        better="lower",
        perfect=0.0,
        low=0.0,
        high=2.0,
        minimum_side=32,
        label="DISTS",
        kind="learned",
        weights={VGG: parameters.paths.get("vgg16"), CHANNEL_WEIGHTS: parameters.paths.get("channels")},
    )


def load(parameters: Parameters, device: str) -> DISTS:
    """Load VGG-16 and the weights of channels onto a device."""
    return DISTS(parameters, device)


def _network(features: Any, weights: list[Tensor]) -> Any:
    """The network of piq, of tensors that are here: its own constructor downloads both files."""
    import piq
    from piq.perceptual import ContentLoss

    network = piq.DISTS.__new__(piq.DISTS)
    ContentLoss.__init__(
        network, features, layers=[*LAYERS], weights=weights, replace_pooling=True, allow_layers_weights_mismatch=True
    )
    return network


class DISTS:
    """DISTS [1]_, for one image at a time: its statistics are those of whole feature maps."""

    def __init__(self, parameters: Parameters, device: str) -> None:
        import torch
        import torchvision

        vgg = read_weights(VGG, parameters.paths.get("vgg16"))
        heads = read_weights(CHANNEL_WEIGHTS, parameters.paths.get("channels"))
        with torch.device("meta"):  # 138 million random numbers less
            features = torchvision.models.vgg16(weights=None, init_weights=False).features
        with decoding(f"{vgg.path}: not torchvision's VGG-16 weights"):
            own = {k.removeprefix("features."): v for k, v in vgg.tensors().items() if k.startswith("features.")}
            features.load_state_dict(own, assign=True)
        with decoding(f"{heads.path}: not DISTS's weights of channels"):
            found = heads.tensors()
            weights = [part for key in ("alpha", "beta") for part in found[key].split(CHANNELS, dim=1)]
            if {w.shape[0] for w in weights} | {w[0, 0].numel() for w in weights} != {1}:
                raise ValueError(f"tensors of shape {tuple(found['alpha'].shape)}")
        self.device = device
        self.network = _network(features.eval(), weights).to(device)
        self.weights = [weight.to(device, torch.float64) for weight in weights]

    def _features(self, image: NDArray[np.uint8]) -> list[Tensor]:
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode():
            x = unit_range(image[None], self.device)
            side = min(x.shape[2:])
            if side > SIDE:
                x = interpolate(x, scale_factor=SIDE / side, recompute_scale_factor=False, mode="bilinear")
            found: list[Tensor] = self.network.get_features(x)
            return found

    def reference(self, hr: NDArray[np.uint8]) -> list[Tensor]:
        """Features of the HR image (3, H, W), uint8."""
        return self._features(hr)

    def distance(self, reference: list[Tensor], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """DISTS of (K, 3, H, W), uint8, to the reference; (K,), at least 0."""
        return np.array([self._between(reference, self._features(image)) for image in sr])

    def _between(self, one: list[Tensor], other: list[Tensor]) -> float:
        """One minus the weighted similarities of means and of the maps, over all channels."""
        import torch

        with torch.inference_mode():
            parts = self.network.compute_distance(other, one)
            similar = sum(float((part * weight).sum()) for part, weight in zip(parts, self.weights, strict=True))
        return max(0.0, 1 - similar)

"""Features in which reconstructions are compared: a trained network's, whose weights are here, or fixed filters'."""

from __future__ import annotations

from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.foreign import decoding
from ida_rd.core.weights import read_weights
from ida_rd.training.losses import LEAST_SIDE, OrientedFeatures

__all__ = ["FEATURES", "LayerFeatures", "features_of"]

# The last convolution that is run, before its ReLU: of VGG19 conv5_4, as published; AlexNet's last one.
LAST = {"vgg19": 34, "alexnet": 10}
FEATURES = (*LAST, "filters")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class LayerFeatures(nn.Module):
    """One layer's responses of torchvision's network `name`; its weights are still to be loaded."""

    def __init__(self, name: str) -> None:
        super().__init__()
        with torch.device("meta"):
            layers = getattr(torchvision.models, name)(weights=None).features[: LAST[name] + 1]
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the images' gradient needs what it would write over
        self.features = layers.to_empty(device="cpu")
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W), range [0, 1], to one tensor (B, C, h, w)."""
        return [self.features((image - cast(Tensor, self.mean)) / cast(Tensor, self.std))]


def features_of(name: str, patch: int, path: str | None = None) -> nn.Module:
    """The features called `name`, for patches of `patch` pixels: a module from images to a list of tensors.

    `path` is the file of their weights; None: it is in torch's cache.

    Raises
    ------
    UserError
        There are none of that name, the patches are too small, or the weights are not here.
    """
    if name not in FEATURES:
        raise UserError(f"--features {name}: {did_you_mean(name, FEATURES)}")
    if name == "filters":
        if patch < LEAST_SIDE:
            raise UserError(f"--patch {patch}: the filters need patches of {LEAST_SIDE} pixels or more")
        return OrientedFeatures()
    file = read_weights(f"torchvision.{name}", path)
    network = LayerFeatures(name)
    with decoding(f"{file.path}: not the weights of torchvision's {name}"):
        found = file.tensors()
        wanted = {key: found[key] for key in network.state_dict() if key.startswith("features.")}
        network.load_state_dict(wanted, strict=False)
    return network.requires_grad_(False).eval()

"""The likelihood of the embedded flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.weights import catalogue, read_weights
from ida_rd.surprise.contract import Network

if TYPE_CHECKING:
    from ida_rd.surprise.contract import Reader

__all__ = ["load", "network"]


def network(parameters: Any, factor: int) -> Network | None:
    """The network of a factor; None where a factor takes two."""
    weight = f"{parameters.weights}.x{factor}"
    return Network(weight, parameters.path) if weight in catalogue() else None


def load(network: Network, factor: int, device: str) -> Reader:
    """Load it; see `ida_rd.surprise.contract`."""
    import torch

    from ida_rd.models.flow import bits_per_dimension, load_network

    torch.backends.cudnn.allow_tf32 = False
    net = load_network(read_weights(network.weight, network.path)).to(device)

    @torch.inference_mode()
    def read(hr: NDArray[np.float32], lr: NDArray[np.uint8]) -> tuple[float, float]:
        image = torch.from_numpy(np.ascontiguousarray(hr)).to(device)[None]
        small = torch.from_numpy(np.ascontiguousarray(lr)).to(device)[None].float() / 255
        z, logdet = net.encode(image, net.condition(small))
        return float(bits_per_dimension(z, logdet)), float(z.square().mean())

    return read

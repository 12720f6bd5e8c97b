"""The likelihood of SRFlow.

It was trained without noise, or with that of another number of levels, so its bits are no code length; as a
difference between two downscalers, with the same noise, they mean what others mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.weights import read_weights
from ida_rd.models.srflow.config import CELEBA_X8, DF2K_X4, DF2K_X8
from ida_rd.surprise.contract import Network

if TYPE_CHECKING:
    from ida_rd.surprise.contract import Reader

__all__ = ["load", "network"]

CONFIGS = {"df2k_x4": DF2K_X4, "celeba_x8": CELEBA_X8, "df2k_x8": DF2K_X8}
OFFICIAL = {4: "df2k_x4", 8: "celeba_x8"}  # the network of a factor where none is named; 32 takes two


def network(parameters: Any, factor: int) -> Network | None:
    """The network of a factor; None where a factor takes two."""
    name = parameters.weights or OFFICIAL.get(factor)
    return None if name is None else Network(f"srflow.{name}", parameters.paths.get(name))


def load(network: Network, factor: int, device: str) -> Reader:
    """Load it; see `ida_rd.surprise.contract`."""
    import torch

    from ida_rd.models.srflow.checkpoint import load_network
    from ida_rd.models.srflow.network import SRFlowNet

    torch.backends.cudnn.allow_tf32 = False
    net = SRFlowNet(CONFIGS[network.weight.removeprefix("srflow.")]).requires_grad_(False).eval()
    load_network(read_weights(network.weight, network.path), net)
    net = net.to(device)

    @torch.inference_mode()
    def read(hr: NDArray[np.float32], lr: NDArray[np.uint8]) -> tuple[float, float]:
        image = torch.from_numpy(np.ascontiguousarray(hr)).to(device)[None]
        small = torch.from_numpy(np.ascontiguousarray(lr)).to(device)[None].float() / 255
        nll, latents, _ = net.nll(image, small)
        dims = image[0].numel()
        squares = sum(float(latent.double().square().sum()) for latent in latents)
        return float(nll) / 3 + math.log2(255), squares / dims  # of three sub-pixels and of the unit [0, 1], to levels

    return read

"""A U-Net whose residual blocks are modulated by maps of their sides [1]_ (equation 3), [2]_.

References
----------
.. [1] Wang et al., "Exploiting diffusion prior for real-world image super-resolution", IJCV 2024.
.. [2] Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019: section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ida_rd.models.latent.config import UNetConfig
from ida_rd.models.latent.networks import unet_of
from ida_rd.models.stablesr.config import GROUPS, SHARED
from ida_rd.models.stablesr.layout import MODULATION
from ida_rd.models.stablesr.structure import Maps

__all__ = ["ModulatedUNet", "modulated_of"]


class _Modulated(nn.Module):
    """The last layer of a residual block's branch, and the modulation of what it gives: nothing follows but the sum."""

    def __init__(self, conv: nn.Conv2d, maps: int, current: Maps) -> None:
        super().__init__()
        width = conv.out_channels
        self.conv, self.current = conv, current
        self.param_free_norm = nn.GroupNorm(GROUPS, width)  # which has parameters, whatever the file calls it
        self.mlp_shared = nn.Sequential(nn.Conv2d(maps, SHARED, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(SHARED, width, 3, padding=1)
        self.mlp_beta = nn.Conv2d(SHARED, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        shared = self.mlp_shared(self.current[found.shape[3]])
        return self.param_free_norm(found) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class ModulatedUNet(nn.Module):
    """A U-Net of diffusers, with modulated residual blocks.

    Parameters
    ----------
    unet : Module
        Whose residual blocks are changed.
    maps : int
        Channels of the maps.
    """

    def __init__(self, unet: nn.Module, maps: int) -> None:
        super().__init__()
        self.unet: Any = unet
        self.current: Maps = {}
        self.blocks: dict[str, _Modulated] = {}
        for name, block in list(unet.named_modules()):
            if isinstance(conv := getattr(block, "conv2", None), nn.Conv2d):
                self.blocks[name] = _Modulated(conv, maps, self.current)
                block.conv2 = self.blocks[name]

    def forward(self, x: Tensor, t: Tensor, text: Tensor, maps: Maps) -> Tensor:
        """What it finds in (B, C, h, w) at times (B,) or (1,), with texts (B or 1, T, D) and maps by their width."""
        self.current.update(maps)
        try:
            return self.unet(x, t, encoder_hidden_states=text.expand(len(x), -1, -1), return_dict=False)[0]
        finally:
            self.current.clear()


def modulated_of(config: UNetConfig, maps: int, state: Mapping[str, Tensor]) -> ModulatedUNet:
    """A modulated U-Net with given tensors, frozen."""
    plain = {name: value for name, value in state.items() if MODULATION not in name}
    unet = unet_of(config, plain)
    with torch.device("meta"):
        net = ModulatedUNet(unet, maps)
    for name, block in net.blocks.items():
        within = f"{name}{MODULATION}"
        own = {key.removeprefix(within): value for key, value in state.items() if key.startswith(within)}
        block.load_state_dict(
            {f"conv.{key}": value for key, value in block.conv.state_dict().items()} | own, assign=True
        )
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()

"""Networks by their configurations: the package diffusers is imported when one is built, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ida_rd.models.latent.config import AutoencoderConfig, UNetConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["autoencoder_of", "decoded", "noise_of", "unet_of"]


def unet_of(config: UNetConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """A U-Net with given tensors, frozen."""
    from diffusers import UNet2DModel

    kinds = [level in config.attention for level in range(len(config.widths))]
    with torch.device("meta"):
        net = UNet2DModel(
            in_channels=config.inside,
            out_channels=config.outside,
            block_out_channels=config.widths,
            layers_per_block=config.blocks,
            down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in kinds),
            up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(kinds)),
            attention_head_dim=config.head,
            norm_num_groups=config.groups,
        )
    return _filled(net, state)


def autoencoder_of(config: AutoencoderConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """An autoencoder with given tensors, frozen."""
    from diffusers import VQModel

    levels = len(config.widths)
    with torch.device("meta"):
        net = VQModel(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.blocks,
            latent_channels=config.latent,
            num_vq_embeddings=config.codes,
            norm_num_groups=config.groups,
        )
    return _filled(net, state)


def _filled(net: Any, state: Mapping[str, Tensor]) -> nn.Module:
    net.load_state_dict(state, assign=True)
    # In this order of its numbers the convolutions of a processor need no other: faster, and less memory.
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def noise_of(unet: nn.Module, x: Tensor, time: float) -> Tensor:
    """The noise that a U-Net finds in (B, C, h, w) at a time."""
    return unet(x, torch.tensor([time], device=x.device), return_dict=False)[0]


def decoded(autoencoder: nn.Module, latent: Tensor) -> Tensor:
    """Images (B, 3, H, W) of latents, each pixel of which is rounded to the nearest of the known vectors first."""
    return autoencoder.decode(latent, return_dict=False)[0]  # type: ignore[operator]

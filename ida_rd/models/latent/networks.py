"""Networks by their configurations: their packages are imported when one is built, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ida_rd.models.latent.config import AutoencoderConfig, TextConfig, UNetConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["autoencoder_of", "control_of", "controlled", "decoded", "encoded", "noise_of", "text_of", "unet_of"]


def unet_of(config: UNetConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """A U-Net with given tensors, frozen."""
    from diffusers import UNet2DConditionModel, UNet2DModel

    ways = {
        f"{way}_block_types": tuple(f"{_attention(config, level)}{way.capitalize()}Block2D" for level in levels)
        for way, levels in (("down", range(len(config.widths))), ("up", range(len(config.widths) - 1, -1, -1)))
    }
    family = UNet2DModel if config.context is None else UNet2DConditionModel
    with torch.device("meta"):
        net = family(in_channels=config.inside, out_channels=config.outside, **ways, **_common(config))
    return _filled(net, state)


def control_of(config: UNetConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """A control of a U-Net with given tensors, frozen: its first layer sees two latents, and no picture."""
    from diffusers import ControlNetModel
    from torch import nn

    kinds = tuple(f"{_attention(config, level)}DownBlock2D" for level in range(len(config.widths)))
    with torch.device("meta"):
        net: Any = ControlNetModel(in_channels=config.inside, down_block_types=kinds, **_common(config))
        net.controlnet_cond_embedding = nn.Conv2d(config.inside, config.widths[0], 3, padding=1, bias=False)
    return _filled(net, state)


def _attention(config: UNetConfig, level: int) -> str:
    return "" if level not in config.attention else "Attn" if config.context is None else "CrossAttn"


def _common(config: UNetConfig) -> dict[str, Any]:
    """What a U-Net and its control have in common; diffusers' name for the number of heads is another's."""
    found: dict[str, Any] = {
        "block_out_channels": config.widths,
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
        "attention_head_dim": config.head,
    }
    if config.context is not None:
        heads = tuple(max(1, width // config.head) for width in config.widths)
        found |= {"attention_head_dim": heads, "cross_attention_dim": config.context, "use_linear_projection": True}
    return found


def autoencoder_of(config: AutoencoderConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """An autoencoder with given tensors, frozen."""
    from diffusers import AutoencoderKL, VQModel

    levels = len(config.widths)
    with torch.device("meta"):
        net = (AutoencoderKL if config.codes is None else VQModel)(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.widths,
            layers_per_block=config.blocks,
            latent_channels=config.latent,
            norm_num_groups=config.groups,
            **({} if config.codes is None else {"num_vq_embeddings": config.codes}),
        )
    return _filled(net, state)


def text_of(config: TextConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """A text encoder with given tensors, frozen."""
    from transformers import CLIPTextConfig, CLIPTextModel

    told = CLIPTextConfig(
        vocab_size=config.words,
        hidden_size=config.width,
        intermediate_size=config.inside,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.positions,
        hidden_act="gelu",
    )
    with torch.device("meta"):
        net: Any = CLIPTextModel(told)
    net.load_state_dict(state, assign=True)
    net.embeddings.position_ids = torch.arange(config.positions)[None]  # which no file has
    return net.requires_grad_(False).eval()


def _filled(net: Any, state: Mapping[str, Tensor]) -> nn.Module:
    net.load_state_dict(state, assign=True)
    # In this order of its numbers the convolutions of a processor need no other: faster, and less memory.
    return net.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def noise_of(unet: nn.Module, x: Tensor, time: float) -> Tensor:
    """What a U-Net finds in (B, C, h, w) at a time."""
    return unet(x, torch.tensor([time], device=x.device), return_dict=False)[0]


def controlled(
    unet: nn.Module, control: nn.Module, x: Tensor, time: float, text: Tensor, condition: Tensor, strength: float = 1
) -> Tensor:
    """What a U-Net finds in (B, C, h, w) at a time, with a text (B, T, D) and a condition (B, C, h, w)."""
    at = torch.tensor([time], device=x.device)
    across, middle = control(
        x, at, encoder_hidden_states=text, controlnet_cond=condition, conditioning_scale=strength, return_dict=False
    )
    return unet(
        x,
        at,
        encoder_hidden_states=text,
        down_block_additional_residuals=across,
        mid_block_additional_residual=middle,
        return_dict=False,
    )[0]


def encoded(autoencoder: nn.Module, images: Tensor) -> Tensor:
    """The mean of what an autoencoder that is not of codes makes of images."""
    return autoencoder.encode(images, return_dict=False)[0].mode()  # type: ignore[operator]


def decoded(autoencoder: nn.Module, latent: Tensor) -> Tensor:
    """Images (B, 3, H, W) of latents, each pixel of which is rounded to a code first, where there are codes."""
    return autoencoder.decode(latent, return_dict=False)[0]  # type: ignore[operator]

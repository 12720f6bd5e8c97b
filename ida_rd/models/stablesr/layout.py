"""Names and shapes of the tensors of StableSR's own modules: known without torch, since ``plan`` asks.

The structure encoder's names are those of the published file. Those of modulation and fusion follow the names that
diffusers has for what they are put into (`ida_rd.models.latent.names`).
"""

from __future__ import annotations

from ida_rd.models.latent.config import AutoencoderConfig, UNetConfig
from ida_rd.models.latent.layout import Shapes, autoencoder_shapes, unet_shapes
from ida_rd.models.stablesr.config import FUSED, GROWTH, SHARED, StructureConfig

__all__ = ["FUSION", "MODULATION", "fused_shapes", "modulated_shapes", "structure_shapes"]

MODULATION = ".spade."  # in the names of tensors of a U-Net
FUSION = "decoder.fusion_layer_"  # what names of tensors of an autoencoder begin with


def structure_shapes(config: StructureConfig) -> Shapes:
    """Name and shape of each tensor of a structure encoder."""
    found: Shapes = {}
    first = config.widths[0]
    _add(found, "time_embed.0", config.embedded, first)
    _add(found, "time_embed.2", config.embedded, config.embedded)
    _add(found, "input_blocks.0.0", first, config.latent, 3, 3)
    channels, number = first, 1
    for level, width in enumerate(config.widths):
        for _ in range(config.blocks):
            _residual(found, f"input_blocks.{number}.0", channels, width, config.embedded)
            channels = width
            if level in config.attention:
                _attention(found, f"input_blocks.{number}.1", width)
            number += 1
        if level < len(config.widths) - 1:
            _add(found, f"input_blocks.{number}.0.op", width, width, 3, 3)
            number += 1
    _residual(found, "middle_block.0", channels, channels, config.embedded)
    _attention(found, "middle_block.1", channels)
    _residual(found, "middle_block.2", channels, channels, config.embedded)
    for level, width in enumerate(config.widths):
        _residual(found, f"fea_tran.{level}", width, config.outside, config.embedded)
    return found


def modulated_shapes(unet: UNetConfig, maps: int) -> Shapes:
    """Name and shape of each tensor of a U-Net whose residual blocks are modulated by maps of so many channels."""
    found = unet_shapes(unet)
    for name, shape in list(found.items()):
        if name.endswith(".conv2.weight"):
            block, width = name.removesuffix(".conv2.weight"), shape[0]
            _add(found, f"{block}{MODULATION}param_free_norm", width)
            _add(found, f"{block}{MODULATION}mlp_shared.0", SHARED, maps, 3, 3)
            _add(found, f"{block}{MODULATION}mlp_gamma", width, SHARED, 3, 3)
            _add(found, f"{block}{MODULATION}mlp_beta", width, SHARED, 3, 3)
    return found


def fused_shapes(autoencoder: AutoencoderConfig) -> Shapes:
    """Name and shape of each tensor of an autoencoder whose decoder mixes in what its encoder makes of the LR image."""
    found = autoencoder_shapes(autoencoder)
    for level in FUSED:
        name, width = f"{FUSION}{level}", autoencoder.widths[level]
        _block(found, f"{name}.encode_enc_1", 2 * width, width)
        for i in (0, 1):
            for j in (1, 2, 3):
                for k in range(1, 6):
                    inside, outside = width + (k - 1) * GROWTH, width if k == 5 else GROWTH
                    _add(found, f"{name}.encode_enc_2.{i}.rdb{j}.conv{k}", outside, inside, 3, 3)
        _block(found, f"{name}.encode_enc_3", width, width)
    return found


def _add(found: Shapes, name: str, *weight: int) -> None:
    found[f"{name}.weight"] = weight
    found[f"{name}.bias"] = weight[:1]


def _residual(found: Shapes, name: str, inside: int, outside: int, embedded: int) -> None:
    _add(found, f"{name}.in_layers.0", inside)
    _add(found, f"{name}.in_layers.2", outside, inside, 3, 3)
    _add(found, f"{name}.emb_layers.1", outside, embedded)
    _add(found, f"{name}.out_layers.0", outside)
    _add(found, f"{name}.out_layers.3", outside, outside, 3, 3)
    if inside != outside:
        _add(found, f"{name}.skip_connection", outside, inside, 1, 1)


def _attention(found: Shapes, name: str, width: int) -> None:
    _add(found, f"{name}.norm", width)
    _add(found, f"{name}.qkv", 3 * width, width, 1)
    _add(found, f"{name}.proj_out", width, width, 1)


def _block(found: Shapes, name: str, inside: int, outside: int) -> None:
    _add(found, f"{name}.norm1", inside)
    _add(found, f"{name}.conv1", outside, inside, 3, 3)
    _add(found, f"{name}.norm2", outside)
    _add(found, f"{name}.conv2", outside, outside, 3, 3)
    if inside != outside:
        _add(found, f"{name}.conv_out", outside, inside, 1, 1)

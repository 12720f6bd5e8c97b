"""Names of tensors in files of LDM, and what the same tensors are called in a diffusers folder.

Each function takes a name without what comes before a part's names in a file, and returns those of the tensors that
its rows are: one, or three for the layers that hold queries, keys and values; none for a tensor that is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from ida_rd.models.latent.layout import plain_name

__all__ = ["autoencoder_names", "folder_names", "folder_text_names", "text_names", "unet_names"]

Rules = Sequence[tuple[str, str]]

_AUTOENCODER: Rules = (
    (r"^encoder\.down\.(\d+)\.block\.(\d+)", r"encoder.down_blocks.\1.resnets.\2"),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.(\d+)", r"decoder.up_blocks.\1.resnets.\2"),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
_RESNET: Rules = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)
_UNET: Rules = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"^zero_convs\.(\d+)\.0\.", r"controlnet_down_blocks.\1."),
    (r"^middle_block_out\.0\.", "controlnet_mid_block."),
)
_TEXT: Rules = (
    (r"^token_embedding\.", "embeddings.token_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_final\.", "final_layer_norm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def autoencoder_names(name: str, *, levels: int) -> tuple[str, ...]:
    """Of an autoencoder with so many levels, which diffusers counts from the deepest one in the decoder."""
    turned = partial(re.sub, r"(?<=^decoder\.up_blocks\.)\d+", lambda found: str(levels - 1 - int(found[0])))
    return (turned(_renamed(name, _AUTOENCODER)),)


def unet_names(name: str, *, blocks: int = 2, control: bool = False) -> tuple[str, ...]:
    """Of a U-Net with so many residual blocks per level, or of its control, whose first layer sees two latents."""
    if control and name == "input_blocks.0.0.weight":
        return "conv_in.weight", "controlnet_cond_embedding.weight"
    found = _renamed(name, _UNET)
    if found == name and (entry := re.match(r"(input|output)_blocks\.(\d+)\.(\d+)\.(conv\.|op\.)?", name)):
        way, number, layer, conv = entry[1], int(entry[2]), int(entry[3]), entry[4]
        level, j = divmod(number - 1 if way == "input" else number, blocks + 1)
        within = f"down_blocks.{level}." if way == "input" else f"up_blocks.{level}."
        if conv:
            within += "downsamplers.0.conv." if conv == "op." else "upsamplers.0.conv."
        else:
            within += f"attentions.{j}." if layer else f"resnets.{j}."
        found = within + name[entry.end() :]
    return (_renamed(found, _RESNET),)


def folder_names(name: str) -> tuple[str, ...]:
    """Of a U-Net or an autoencoder in a diffusers folder."""
    return (plain_name(name),)


def folder_text_names(name: str, *, layers: int) -> tuple[str, ...]:
    """Of a text encoder in a diffusers folder, as `text_names`."""
    found = name.removeprefix("text_model.")  # which transformers had before 5
    if found in ("embeddings.position_ids", "text_projection.weight"):
        return ()
    return _used((found,), layers)


def text_names(name: str, *, layers: int) -> tuple[str, ...]:
    """Of a text encoder of which so many layers are used, without what maps a text beside images."""
    if name in ("text_projection", "logit_scale"):
        return ()
    found = _renamed(name, _TEXT)
    if joined := re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", found):
        return _used(tuple(f"{joined[1]}.self_attn.{one}_proj.{joined[2]}" for one in "qkv"), layers)
    return _used((found,), layers)


def _used(names: tuple[str, ...], layers: int) -> tuple[str, ...]:
    """None where they are of a layer that is not used."""
    layer = re.match(r"encoder\.layers\.(\d+)\.", names[0])
    return () if layer and int(layer[1]) >= layers else names

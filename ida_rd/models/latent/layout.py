"""Names and shapes of the tensors of a network in a diffusers folder: known without torch, since ``plan`` asks."""

from __future__ import annotations

from ida_rd.models.latent.config import AutoencoderConfig, TextConfig, UNetConfig

__all__ = ["OLD", "Shapes", "autoencoder_shapes", "control_shapes", "plain_name", "text_shapes", "unet_shapes"]

IMAGE = 3  # channels of an image
# What layers of attention were called until diffusers 0.18, as in the published files.
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
Shapes = dict[str, tuple[int, ...]]


def plain_name(name: str) -> str:
    """A tensor's name today."""
    parts = name.split(".")
    if len(parts) > 3 and parts[-4] == "attentions":
        parts[-2] = OLD.get(parts[-2], parts[-2])
    return ".".join(parts)


def _way_down(config: UNetConfig) -> tuple[Shapes, list[int]]:
    """The part that a U-Net and its control have in common, and the channels of what is passed across."""
    found: Shapes = {}
    widths, first = config.widths, config.widths[0]
    time = 4 * first
    _add(found, "conv_in", first, config.inside, 3, 3)
    _add(found, "time_embedding.linear_1", time, first)
    _add(found, "time_embedding.linear_2", time, time)
    skips, channels = [first], first
    for level, width in enumerate(widths):
        name = f"down_blocks.{level}"
        for j in range(config.blocks):
            _resnet(found, f"{name}.resnets.{j}", channels, width, time)
            channels = width
            if level in config.attention:
                _attention(found, f"{name}.attentions.{j}", width, config.context)
            skips.append(width)
        if level < len(widths) - 1:
            _add(found, f"{name}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    _middle(found, "mid_block", widths[-1], time, config.context)
    return found, skips


def unet_shapes(config: UNetConfig) -> Shapes:
    """Name and shape of each tensor of a U-Net."""
    found, skips = _way_down(config)
    widths, first = config.widths, config.widths[0]
    channels, time = widths[-1], 4 * first
    for i, level in enumerate(reversed(range(len(widths)))):
        name, width = f"up_blocks.{i}", widths[level]
        for j in range(config.blocks + 1):
            _resnet(found, f"{name}.resnets.{j}", channels + skips.pop(), width, time)
            channels = width
            if level in config.attention:
                _attention(found, f"{name}.attentions.{j}", width, config.context)
        if level:
            _add(found, f"{name}.upsamplers.0.conv", width, width, 3, 3)
    _add(found, "conv_norm_out", first)
    _add(found, "conv_out", config.outside, first, 3, 3)
    return found


def control_shapes(config: UNetConfig) -> Shapes:
    """Name and shape of each tensor of a control, which sees a second latent beside that of its U-Net."""
    found, skips = _way_down(config)
    found["controlnet_cond_embedding.weight"] = (config.widths[0], config.inside, 3, 3)
    for i, width in enumerate(skips):
        _add(found, f"controlnet_down_blocks.{i}", width, width, 1, 1)
    _add(found, "controlnet_mid_block", config.widths[-1], config.widths[-1], 1, 1)
    return found


def autoencoder_shapes(config: AutoencoderConfig) -> Shapes:
    """Name and shape of each tensor of an autoencoder."""
    found: Shapes = {}
    widths, first, deepest, latent = config.widths, config.widths[0], config.widths[-1], config.latent
    _add(found, "encoder.conv_in", first, IMAGE, 3, 3)
    channels = first
    for level, width in enumerate(widths):
        name = f"encoder.down_blocks.{level}"
        for j in range(config.blocks):
            _resnet(found, f"{name}.resnets.{j}", channels, width)
            channels = width
        if level < len(widths) - 1:
            _add(found, f"{name}.downsamplers.0.conv", width, width, 3, 3)
    _middle(found, "encoder.mid_block", deepest)
    _add(found, "encoder.conv_norm_out", deepest)
    encoded = latent if config.codes else 2 * latent
    _add(found, "encoder.conv_out", encoded, deepest, 3, 3)
    _add(found, "quant_conv", encoded, encoded, 1, 1)
    if config.codes:
        found["quantize.embedding.weight"] = (config.codes, latent)
    _add(found, "post_quant_conv", latent, latent, 1, 1)
    _add(found, "decoder.conv_in", deepest, latent, 3, 3)
    _middle(found, "decoder.mid_block", deepest)
    channels = deepest
    for i, width in enumerate(reversed(widths)):
        name = f"decoder.up_blocks.{i}"
        for j in range(config.blocks + 1):
            _resnet(found, f"{name}.resnets.{j}", channels, width)
            channels = width
        if i < len(widths) - 1:
            _add(found, f"{name}.upsamplers.0.conv", width, width, 3, 3)
    _add(found, "decoder.conv_norm_out", first)
    _add(found, "decoder.conv_out", IMAGE, first, 3, 3)
    return found


def text_shapes(config: TextConfig) -> Shapes:
    """Name and shape of each tensor of a text encoder."""
    width = config.width
    found: Shapes = {
        "embeddings.token_embedding.weight": (config.words, width),
        "embeddings.position_embedding.weight": (config.positions, width),
    }
    for layer in range(config.layers):
        name = f"encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            _add(found, f"{name}.self_attn.{part}", width, width)
        _add(found, f"{name}.layer_norm1", width)
        _add(found, f"{name}.mlp.fc1", config.inside, width)
        _add(found, f"{name}.mlp.fc2", width, config.inside)
        _add(found, f"{name}.layer_norm2", width)
    _add(found, "final_layer_norm", width)
    return found


def _add(found: Shapes, name: str, *weight: int) -> None:
    found[f"{name}.weight"] = weight
    found[f"{name}.bias"] = weight[:1]


def _resnet(found: Shapes, name: str, inside: int, outside: int, time: int | None = None) -> None:
    _add(found, f"{name}.norm1", inside)
    _add(found, f"{name}.conv1", outside, inside, 3, 3)
    if time is not None:
        _add(found, f"{name}.time_emb_proj", outside, time)
    _add(found, f"{name}.norm2", outside)
    _add(found, f"{name}.conv2", outside, outside, 3, 3)
    if inside != outside:
        _add(found, f"{name}.conv_shortcut", outside, inside, 1, 1)


def _attention(found: Shapes, name: str, width: int, context: int | None = None) -> None:
    if context is not None:
        _transformer(found, name, width, context)
        return
    _add(found, f"{name}.group_norm", width)
    for layer in OLD.values():
        _add(found, f"{name}.{layer}", width, width)


def _transformer(found: Shapes, name: str, width: int, context: int) -> None:
    _add(found, f"{name}.norm", width)
    _add(found, f"{name}.proj_in", width, width)
    block = f"{name}.transformer_blocks.0"
    for part, seen in (("attn1", width), ("attn2", context)):
        found[f"{block}.{part}.to_q.weight"] = (width, width)
        found[f"{block}.{part}.to_k.weight"] = found[f"{block}.{part}.to_v.weight"] = (width, seen)
        _add(found, f"{block}.{part}.to_out.0", width, width)
    _add(found, f"{block}.ff.net.0.proj", 8 * width, width)
    _add(found, f"{block}.ff.net.2", width, 4 * width)
    for i in (1, 2, 3):
        _add(found, f"{block}.norm{i}", width)
    _add(found, f"{name}.proj_out", width, width)


def _middle(found: Shapes, name: str, width: int, time: int | None = None, context: int | None = None) -> None:
    _resnet(found, f"{name}.resnets.0", width, width, time)
    _attention(found, f"{name}.attentions.0", width, context)
    _resnet(found, f"{name}.resnets.1", width, width, time)

"""What the blocks of the networks are, and names and shapes of their tensors: known without torch, since ``plan`` asks.

The layouts are those of the published files: ``input_blocks.1.1.blocks.0.attn.qkv.weight``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ida_rd.models.resshift.config import WINDOW, AutoencoderConfig, UNetConfig

__all__ = ["AUTOENCODER", "IMAGE", "UNET", "Entry", "Part", "Parts", "autoencoder_shapes", "parts_of", "plain_name"]
__all__ += ["unet_shapes"]

Kind = Literal["conv", "block", "swin", "down", "up"]
IMAGE = 3  # channels of an image, and of a latent
UNET = ("time_embed.", "input_blocks.", "middle_block.", "output_blocks.", "out.")  # how names begin
AUTOENCODER = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")
PREFIXES = ("module.", "_orig_mod.")
# Both are computed. The mask of a file was never read: it is one of Swin's definition, and the published program has
# another, see `ida_rd.models.resshift.swin`.
BUFFERS = (".relative_position_index", ".attn_mask")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """One layer of an entry.

    Attributes
    ----------
    kind : str
        ``conv``: the first convolution; ``block``: a residual block; ``swin``: a Swin layer; ``down``, ``up``: half
        and twice the sides.
    inside, outside : int
        Channels of input and output.
    shifted : bool
        Whether the windows of a Swin layer's second block are shifted.
    """

    kind: Kind
    inside: int
    outside: int
    shifted: bool = False


Entry = tuple[Part, ...]


@dataclass(frozen=True)
class Parts:
    """The entries of a U-Net, in order; the outputs of all `downs` are inputs of `ups`."""

    downs: tuple[Entry, ...]
    mid: Entry
    ups: tuple[Entry, ...]


def parts_of(config: UNetConfig) -> Parts:
    """The entries of a U-Net: a Swin layer follows the first block of each level, down and up."""
    last = len(config.widths) - 1
    downs: list[Entry] = [(Part("conv", 2 * IMAGE, config.base),)]
    channels = config.base
    for level, width in enumerate(config.widths):
        for i in range(config.blocks):
            swin = [Part("swin", width, width, shifted=level < last)] if i == 0 else []
            downs.append((Part("block", channels, width), *swin))
            channels = width
        if level < last:
            downs.append((Part("down", width, width),))
    mid = (Part("block", channels, channels), Part("swin", channels, channels), Part("block", channels, channels))
    skips = [entry[-1].outside for entry in downs]
    ups: list[Entry] = []
    for level in range(last, -1, -1):
        width = config.widths[level]
        for i in range(config.blocks + 1):
            entry = [Part("block", channels + skips.pop(), width)]
            if i == 0:
                entry.append(Part("swin", width, width, shifted=level < last))
            if i == config.blocks and level:
                entry.append(Part("up", width, width))
            ups.append(tuple(entry))
            channels = width
    return Parts(tuple(downs), mid, tuple(ups))


class _Listed:
    """Collects names and shapes."""

    def __init__(self) -> None:
        self.found: Shapes = {}

    def add(self, name: str, *weight: int) -> None:
        """A layer's weight, and its bias."""
        self.found |= {f"{name}.weight": weight, f"{name}.bias": weight[:1]}

    def conv(self, name: str, inside: int, outside: int, side: int = 3) -> None:
        self.add(name, outside, inside, side, side)


def unet_shapes(config: UNetConfig) -> Shapes:
    """Name and shape of each tensor of a U-Net, without buffers."""
    to, embedded = _Listed(), 4 * config.base
    to.add("time_embed.0", embedded, config.base)
    to.add("time_embed.2", embedded, embedded)
    parts = parts_of(config)
    entries = {f"input_blocks.{i}": entry for i, entry in enumerate(parts.downs)} | {"middle_block": parts.mid}
    entries |= {f"output_blocks.{i}": entry for i, entry in enumerate(parts.ups)}
    for where, entry in entries.items():
        for i, part in enumerate(entry):
            _add_part(to, f"{where}.{i}", part, config)
    to.add("out.0", config.widths[0])
    to.conv("out.2", config.widths[0], IMAGE)
    return to.found


def _add_part(to: _Listed, name: str, part: Part, config: UNetConfig) -> None:
    if part.kind == "block":
        to.add(f"{name}.in_layers.0", part.inside)
        to.conv(f"{name}.in_layers.2", part.inside, part.outside)
        to.add(f"{name}.emb_layers.1", 2 * part.outside, 4 * config.base)
        to.add(f"{name}.out_layers.0", part.outside)
        to.conv(f"{name}.out_layers.3", part.outside, part.outside)
        if part.inside != part.outside:
            to.conv(f"{name}.skip_connection", part.inside, part.outside, 1)
    elif part.kind == "swin":
        width = config.width
        to.conv(f"{name}.patch_embed.proj", part.inside, width, 1)
        to.conv(f"{name}.patch_unembed.proj", width, part.outside, 1)
        for block in (f"{name}.blocks.0", f"{name}.blocks.1"):
            to.add(f"{block}.norm1", width)
            to.found[f"{block}.attn.relative_position_bias_table"] = ((2 * WINDOW - 1) ** 2, width // config.head)
            to.add(f"{block}.attn.qkv", 3 * width, width)
            to.add(f"{block}.attn.proj", width, width)
            to.add(f"{block}.norm2", width)
            to.conv(f"{block}.mlp.fc1", width, config.ratio * width, 1)
            to.conv(f"{block}.mlp.fc2", config.ratio * width, width, 1)
    else:
        to.conv(name + {"conv": "", "down": ".op", "up": ".conv"}[part.kind], part.inside, part.outside)


def autoencoder_shapes(config: AutoencoderConfig) -> Shapes:
    """Name and shape of each tensor of an autoencoder."""
    to, widths = _Listed(), config.widths
    last, deepest = len(widths) - 1, widths[-1]

    def block(name: str, inside: int, outside: int) -> None:
        to.add(f"{name}.norm1", inside)
        to.conv(f"{name}.conv1", inside, outside)
        to.add(f"{name}.norm2", outside)
        to.conv(f"{name}.conv2", outside, outside)
        if inside != outside:
            to.conv(f"{name}.nin_shortcut", inside, outside, 1)

    def middle(name: str) -> None:
        block(f"{name}.mid.block_1", deepest, deepest)
        to.add(f"{name}.mid.attn_1.norm", deepest)
        for one in ("q", "k", "v", "proj_out"):
            to.conv(f"{name}.mid.attn_1.{one}", deepest, deepest, 1)
        block(f"{name}.mid.block_2", deepest, deepest)

    to.conv("encoder.conv_in", IMAGE, config.base)
    channels = config.base
    for level, width in enumerate(widths):
        for i in range(config.blocks):
            block(f"encoder.down.{level}.block.{i}", channels, width)
            channels = width
        if level < last:
            to.conv(f"encoder.down.{level}.downsample.conv", width, width)
    middle("encoder")
    to.add("encoder.norm_out", deepest)
    to.conv("encoder.conv_out", deepest, IMAGE)
    to.conv("decoder.conv_in", IMAGE, deepest)
    middle("decoder")
    channels = deepest
    for level in range(last, -1, -1):
        for i in range(config.blocks + 1):
            block(f"decoder.up.{level}.block.{i}", channels, widths[level])
            channels = widths[level]
        if level:
            to.conv(f"decoder.up.{level}.upsample.conv", channels, channels)
    to.add("decoder.norm_out", channels)
    to.conv("decoder.conv_out", channels, IMAGE)
    to.found["quantize.embedding.weight"] = (config.codes, IMAGE)
    to.conv("quant_conv", IMAGE, IMAGE, 1)
    to.conv("post_quant_conv", IMAGE, IMAGE, 1)
    return to.found


def plain_name(name: str) -> str | None:
    """A tensor's name without what training put before it; None for a buffer."""
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return None if name.endswith(BUFFERS) else name

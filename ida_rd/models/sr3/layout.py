"""What the blocks of a network are, and the names and shapes of its tensors: known without torch, since ``plan`` asks.

The layout is that of the public re-implementation: ``denoise_fn.downs.1.res_block.block1.block.3.weight``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ida_rd.models.sr3.config import SR3Config

__all__ = ["BUFFERS", "Part", "Parts", "listed", "parts_of", "plain_name", "shapes_of"]

Kind = Literal["conv", "block", "down", "up"]
IMAGE = 3  # channels of an image
SHOWN = 4
# Of the schedule that a network was trained with; another may be used, and is computed.
BUFFERS = frozenset(
    {
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
        "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One entry of the way down, the middle or the way up.

    Attributes
    ----------
    kind : str
        ``conv``: the first convolution; ``block``: a residual block; ``down``, ``up``: half and twice the sides.
    inside, outside : int
        Channels of input and output.
    attention : bool
        Whether a block is followed by attention.
    """

    kind: Kind
    inside: int
    outside: int
    attention: bool = False


@dataclass(frozen=True)
class Parts:
    """The entries of a network, in order; the outputs of all `downs` are inputs of the blocks of `ups`."""

    downs: tuple[Part, ...]
    mid: tuple[Part, ...]
    ups: tuple[Part, ...]
    last: int


def parts_of(config: SR3Config) -> Parts:
    """The entries of a network."""
    downs = [Part("conv", 2 * IMAGE, config.base)]
    last = len(config.widths) - 1
    for level, width in enumerate(config.widths):
        for _ in range(config.blocks):
            downs.append(Part("block", downs[-1].outside, width, level in config.attention))
        if level < last:
            downs.append(Part("down", width, width))
    deepest = config.widths[-1]
    mid = (Part("block", deepest, deepest, True), Part("block", deepest, deepest))
    skips = [part.outside for part in downs]
    ups: list[Part] = []
    channels = deepest
    for level in range(last, -1, -1):
        for _ in range(config.blocks + 1):
            width = config.widths[level]
            ups.append(Part("block", channels + skips.pop(), width, level in config.attention))
            channels = width
        if level:
            ups.append(Part("up", channels, channels))
    return Parts(tuple(downs), mid, tuple(ups), channels)


def shapes_of(config: SR3Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a network, without what comes before ``downs`` in a file."""
    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, *weight: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = weight
        if bias:
            found[f"{name}.bias"] = weight[:1]

    def add_block(name: str, inside: int, outside: int) -> None:
        add(f"{name}.block.0", inside)
        add(f"{name}.block.3", outside, inside, 3, 3)

    add("noise_level_mlp.1", 4 * config.base, config.base)
    add("noise_level_mlp.3", config.base, 4 * config.base)
    parts = parts_of(config)
    for where, entries in (("downs", parts.downs), ("mid", parts.mid), ("ups", parts.ups)):
        for i, part in enumerate(entries):
            if part.kind != "block":
                dot = "" if part.kind == "conv" else ".conv"
                add(f"{where}.{i}{dot}", part.outside, part.inside, 3, 3)
                continue
            name = f"{where}.{i}.res_block"
            add(f"{name}.noise_func.noise_func.0", part.outside, config.base)
            add_block(f"{name}.block1", part.inside, part.outside)
            add_block(f"{name}.block2", part.outside, part.outside)
            if part.inside != part.outside:
                add(f"{name}.res_conv", part.outside, part.inside, 1, 1)
            if part.attention:
                add(f"{where}.{i}.attn.norm", part.outside)
                add(f"{where}.{i}.attn.qkv", 3 * part.outside, part.outside, 1, 1, bias=False)
                add(f"{where}.{i}.attn.out", part.outside, part.outside, 1, 1)
    add_block("final_conv", parts.last, IMAGE)
    return found


def plain_name(name: str) -> str | None:
    """A tensor's name without what comes before it in a file; None for a buffer of the schedule."""
    name = name.removeprefix("module.")
    return None if name in BUFFERS else name.removeprefix("denoise_fn.")


def listed(what: str, names: Collection[str]) -> str:
    """The first of some names, for an error; empty if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(list(names)[:SHOWN])}{more}"

"""Names of tensors in files of LDM, and what the same tensors are called in a diffusers folder.

Each function takes a name without what comes before a part's names in a file, and returns those of the tensors that
its rows are: one, or three for the layers that hold queries, keys and values; none for a tensor that is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

__all__ = ["autoencoder_names"]

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


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def autoencoder_names(name: str, *, levels: int) -> tuple[str, ...]:
    """Of an autoencoder with so many levels, which diffusers counts from the deepest one in the decoder."""
    turned = partial(re.sub, r"(?<=^decoder\.up_blocks\.)\d+", lambda found: str(levels - 1 - int(found[0])))
    return (turned(_renamed(name, _AUTOENCODER)),)

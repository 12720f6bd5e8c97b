"""The tiny networks that the golden values of StableSR were computed with, and files of them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import diffbirs
import numpy as np
import torch
from diffbirs import weights
from torch import Tensor

from ida_rd.models.stablesr.config import StructureConfig
from ida_rd.upscale.stablesr.layout import CFW, Sizes
from ida_rd.upscale.stablesr.networks import Networks, networks_of

TINY = Sizes(
    diffbirs.UNET,
    StructureConfig(4, (32, 32, 64, 64), (0, 1, 2), 32),
    diffbirs.AUTOENCODER,
    diffbirs.TEXT,
)
MAIN = "stablesr.base"
CPU = torch.device("cpu")
TEXT = diffbirs.PREFIXES["text"]


@cache
def keys(shared: Path) -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the official files, and of the tiny ones."""
    return json.loads(gzip.decompress((shared / "golden" / "stablesr" / "keys.json.gz").read_bytes()))


@cache
def main_state(shared: Path) -> dict[str, Tensor]:
    """Tensors of the file with the tiny networks, the text encoder's too."""
    text = weights(diffbirs.part(shared, "text", "_tiny"), TEXT)
    return weights(keys(shared)["main_tiny"]) | {f"{TEXT}{key}": value for key, value in text.items()}


@cache
def cfw_state(shared: Path) -> dict[str, Tensor]:
    """Tensors of the file with the tiny decoder."""
    return weights(keys(shared)["cfw_tiny"], "cfw:")


@cache
def tiny(shared: Path) -> Networks:
    """The tiny networks."""
    files = {MAIN: (Path("main.ckpt"), main_state(shared)), CFW: (Path("cfw.ckpt"), cfw_state(shared))}
    return networks_of(files, TINY, [], CPU)[0]


def golden(shared: Path, name: str) -> dict[str, Any]:
    """Golden values."""
    return dict(np.load(shared / "golden" / "stablesr" / f"golden_{name}.npz"))

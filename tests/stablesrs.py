"""The tiny networks that the golden values of StableSR were computed with, and files of them."""

from __future__ import annotations

import gzip
import json
import sys
import types
from functools import cache
from pathlib import Path
from typing import Any

import diffbirs
import numpy as np
import pytest
import torch
from diffbirs import weights
from safetensors.torch import save_file
from torch import Tensor

from ida_rd.models.latent.config import AutoencoderConfig, UNetConfig
from ida_rd.models.stablesr.config import StructureConfig
from ida_rd.upscale.stablesr.layout import CFW, Sizes, parts_of
from ida_rd.upscale.stablesr.networks import Networks, networks_of

TINY = Sizes(
    diffbirs.UNET,
    StructureConfig(4, (32, 32, 64, 64), (0, 1, 2), 32),
    diffbirs.AUTOENCODER,
    diffbirs.TEXT,
)
# Smaller ones, for tiles of 64 pixels: torch normalises a single pixel of more channels than groups alone.
SMALL = Sizes(
    UNetConfig(4, 4, (32, 32, 64, 64), (0, 1, 2), head=8, context=32),
    StructureConfig(4, (64, 64, 64, 64), (0, 1, 2), 64),
    AutoencoderConfig((32, 32, 32, 32), 4, None),
    diffbirs.TEXT,
)
MAIN = "stablesr.base"
CPU = torch.device("cpu")
TEXT = diffbirs.PREFIXES["text"]
NAMED = "pytorch_lightning.callbacks.model_checkpoint"


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
    files = {MAIN: (Path("main.ckpt"), dict(main_state(shared))), CFW: (Path("cfw.ckpt"), dict(cfw_state(shared)))}
    return networks_of(files, TINY, [], CPU)[0]


def golden(shared: Path, name: str) -> dict[str, Any]:
    """Golden values."""
    return dict(np.load(shared / "golden" / "stablesr" / f"golden_{name}.npz"))


@cache
def small_state(shared: Path, weight: str) -> dict[str, Tensor]:
    """Tensors of a file with networks of the sizes `SMALL`."""
    parts = parts_of(SMALL, weight).values()
    found = {}
    for key in cfw_state(shared) if weight == CFW else main_state(shared):
        (part,) = (part for part in parts if part.of(key) is not None)
        targets = part.names(str(part.of(key)))
        if shape := part.shapes.get(targets[0] if targets else ""):  # where widths are equal, some are not there
            found[key] = [len(targets) * shape[0], *shape[1:]]
    return weights(found)


def saved(shared: Path, folder: Path, source: str = "") -> dict[str, str]:
    """Files of small networks as `ida-rd weights convert` writes them, and their paths as an entry has them."""
    told = {"source_sha256": source} if source else {}
    save_file(small_state(shared, MAIN) | {"betas": torch.zeros(1000)}, folder / "main.safetensors", told)
    save_file(small_state(shared, CFW) | {"loss.logvar": torch.zeros(1)}, folder / "cfw.safetensors", told)
    return {"path": str(folder / "main.safetensors"), "cfw": str(folder / "cfw.safetensors")}


def checkpoint(path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file as it is published: a pickle with the state of a training, which names a class of another package."""
    module = types.ModuleType(NAMED)
    named = type("ModelCheckpoint", (), {"__module__": NAMED})
    module.ModelCheckpoint = named  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        for i in range(1, NAMED.count(".") + 2):
            patched.setitem(sys.modules, ".".join(NAMED.split(".")[:i]), module)
        torch.save({"epoch": 117, "callbacks": {named: {"best": torch.ones(1)}}, "state_dict": state}, path)
    return path


def hollow(shared: Path, path: Path, file: str, *, without: str = "nothing") -> Path:
    """A small file with all names of an official one, but for some, and none of its numbers."""
    found = dict(keys(shared)[file])
    if file == "main":
        found |= {key: shape for key, shape in diffbirs.keys(shared)["sd"].items() if key.startswith(TEXT)}
    state = {key: torch.zeros(()).expand(shape) for key, shape in found.items() if not key.startswith(without)}
    torch.save({"state_dict": state}, path)
    return path

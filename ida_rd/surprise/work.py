"""Read one HR image by the likelihood of a decoder, given one LR image of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import open_method
from ida_rd.core.seeds import generator
from ida_rd.core.weights import expecting
from ida_rd.engine.store import Record
from ida_rd.surprise.contract import Network, Reader

__all__ = ["PART", "middle", "open_work", "read_pair"]

PART = "surprise"
EVEN = 2  # LR sides are multiples of it: SRFlow's must be
Given = tuple[str, Path, str, Path, str]  # image id; HR file and its sha256; LR file and its sha256


def middle(height: int, width: int, factor: int, side: int) -> tuple[slice, slice] | None:
    """Where the middle of an HR image lies: at most `side` pixels a side, on the LR grid. None: it is too small."""
    step = EVEN * factor
    found = []
    for length in (height, width):
        size = min(side, length) // step * step
        start = (length - size) // 2 // factor * factor
        found.append(slice(start, start + size))
    return None if any(s.stop == s.start for s in found) else (found[0], found[1])


def read_pair(
    reader: Reader, hr: NDArray[np.uint8], lr: NDArray[np.uint8], image_id: str, *, factor: int, side: int, seed: int
) -> dict[str, float | None]:
    """Bits per sub-pixel and the latents' mean square of the middle of an image.

    The noise that makes levels continuous is the same for all LR images of an HR image, so that it cancels in their
    difference.

    Parameters
    ----------
    reader : callable
    hr, lr : ndarray
        (H, W, 3) and (H / factor, W / factor, 3), uint8.
    """
    where = middle(hr.shape[0], hr.shape[1], factor, side)
    if where is None:
        return {"bits": None, "z2": None}
    y, x = where
    levels = hr[y, x].transpose(2, 0, 1)
    noise = generator("surprise", seed, image_id).random(levels.shape, dtype=np.float32)
    cut = lr[y.start // factor : y.stop // factor, x.start // factor : x.stop // factor].transpose(2, 0, 1)
    bits, z2 = reader((levels + noise - np.float32(0.5)) / np.float32(255), np.ascontiguousarray(cut))
    finite = np.isfinite(bits) and np.isfinite(z2)
    return {"bits": round(bits, 7), "z2": round(z2, 7)} if finite else {"bits": None, "z2": None}


def _reader(recipe: Mapping[str, Any], device: str) -> Reader:
    factor = recipe["factor"]
    if "parameters" in recipe:  # a method of the user's own
        method = open_method(recipe)
        return method.module.likelihood(method.parameters, factor, device)
    (weight,) = recipe["weights"]
    adapter = importlib.import_module(recipe["method"])
    with expecting(dict(recipe)):
        return adapter.load(Network(weight, recipe["path"]), factor, device)


def open_work(recipe: dict[str, Any], device: str) -> Callable[[Given, list[str]], dict[str, Record]]:
    """Load the likelihood of a recipe; return the function of one image."""
    return partial(_one, _reader(recipe, device), recipe)


def _one(reader: Reader, recipe: dict[str, Any], given: Given, parts: list[str]) -> dict[str, Record]:
    image_id, hr_path, hr_sha, lr_path, lr_sha = given
    images: list[NDArray[np.uint8]] = []
    for path, sha256, stage in ((hr_path, hr_sha, "balance"), (lr_path, lr_sha, "downscale")):
        try:
            images.append(read_image(path, sha256=sha256))
        except ImageError as error:
            raise UserError(f"{path}: {error}; run `dvc repro {stage}` again") from None
    hr, lr = images
    settings = {key: recipe[key] for key in ("factor", "side", "seed")}
    try:
        return {PART: Record(read_pair(reader, hr, lr, image_id, **settings))}
    except UserError as error:
        raise UserError(f"upscaler {recipe['name']}, image {image_id}: {error}") from None

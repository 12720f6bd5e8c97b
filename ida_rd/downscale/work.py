"""Downscale one image: the method, what is done before and after it, and what is checked."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, png_bytes, read_image
from ida_rd.core.methods import OpenedMethod, open_method
from ida_rd.core.seeds import generator
from ida_rd.engine.store import Record

__all__ = ["apply", "open_work", "reduce_image"]


def apply(
    method: ModuleType,
    hr: NDArray[np.uint8],
    factor: int,
    parameters: dict[str, Any],
    *,
    image_id: str,
    seed: int,
    draws: dict[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> NDArray[np.uint8]:
    """Downscale one image and check what comes back.

    Parameters
    ----------
    method : module
        With ``downscale(hr, size, *, rng, **parameters)``; it also gets ``image_id``, ``draws`` and ``files`` where
        its signature asks for them.
    hr : ndarray
        (H, W, 3), uint8; H and W multiples of `factor`.
    factor : int
    parameters : dict
    image_id : str
    seed : int
        The generator depends on (seed, image_id), not on order or worker.
    draws : dict, optional
        Where a random method can write what it drew, as JSON.
    files : mapping, optional
        Name of each of the method's own files to the sha256 by which its recipe knows it.

    Returns
    -------
    ndarray
        (H / factor, W / factor, 3), uint8.
    """
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    offered = {"image_id": image_id, "draws": {} if draws is None else draws, "files": files or {}}
    wanted = inspect.signature(method.downscale).parameters
    extra = {key: value for key, value in offered.items() if key in wanted and key not in parameters}
    rng = generator("downscale", seed, image_id)
    lr = method.downscale(hr, (height, width), rng=rng, **extra, **parameters)
    if not isinstance(lr, np.ndarray) or lr.dtype != np.uint8 or lr.shape != (height, width, 3):
        got = f"{lr.dtype} {lr.shape}" if isinstance(lr, np.ndarray) else type(lr).__name__
        raise UserError(f"{image_id}: the downscaler returned {got}, expected uint8 ({height}, {width}, 3)")
    return lr


def reduce_image(
    method: OpenedMethod, recipe: dict[str, Any], image_id: str, hr: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Do all that a recipe says to (H, W, 3), uint8: what comes before the method, the method, what comes after.

    Returns
    -------
    lr : ndarray
        (H / factor, W / factor, 3), uint8.
    drawn : dict
        What was drawn at random.
    """
    seed = recipe.get("seed", 0)
    draws: dict[str, Any] = {}
    parameters = method.parameters.model_dump()
    try:
        hr, before = _degrade(hr, recipe, "before", image_id)
        known = recipe.get("files")
        lr = apply(
            method.module, hr, recipe["factor"], parameters, image_id=image_id, seed=seed, draws=draws, files=known
        )
        lr, after = _degrade(lr, recipe, "after", image_id)
    except UserError as error:
        raise UserError(f"downscaler {recipe['name']}, image {image_id}: {error}") from None
    found = {"before": before, "downscaler": draws, "after": after}
    return lr, {side: drawn for side, drawn in found.items() if drawn}


def _degrade(
    image: NDArray[np.uint8], recipe: dict[str, Any], when: str, image_id: str
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    steps = recipe.get("degrade", [])
    if not steps:
        return image, []
    # Looked up at run time, as a method is: its code is part of the recipe where there are steps, and only there.
    degrade = importlib.import_module("ida_rd.downscale.degrade")
    return degrade.apply_steps(image, steps, when, factor=recipe["factor"], seed=recipe["seed"], image_id=image_id)


Given = tuple[str, Path, str]  # image id, HR file, its sha256: that of the unit's key


def open_work(recipe: dict[str, Any], device: str) -> Callable[[Given, list[str]], dict[str, Record]]:
    """Open the method of a recipe; return the function of one HR image: ``lr`` is its PNG, and what was drawn."""
    return partial(_one, open_method(recipe), recipe)


def _one(method: OpenedMethod, recipe: dict[str, Any], given: Given, parts: list[str]) -> dict[str, Record]:
    image_id, path, sha256 = given
    try:
        hr = read_image(path, sha256=sha256)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro balance`") from None
    lr, drawn = reduce_image(method, recipe, image_id, hr)
    return {"lr": Record(drawn, png_bytes(lr), ".png")}

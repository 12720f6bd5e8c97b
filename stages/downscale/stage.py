"""Downscale every HR image by one method and factor."""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.engine import run_units
from stages.core.errors import UserError
from stages.core.images import ImageError, image_files, read_image, read_size, write_png
from stages.core.methods import find_method
from stages.core.seeds import generator

__all__ = ["apply", "downscale_folder"]


def apply(
    method: ModuleType, hr: NDArray[np.uint8], factor: int, parameters: dict[str, Any], *, image_id: str, seed: int
) -> NDArray[np.uint8]:
    """Downscale one image and check what comes back.

    Parameters
    ----------
    method : module
        With ``downscale(hr, size, *, rng, **parameters)``; it also gets ``image_id`` where its
        signature asks for it.
    hr : ndarray
        (H, W, 3), uint8; H and W multiples of `factor`.
    factor : int
    parameters : dict
    image_id : str
    seed : int
        The generator depends on (seed, image_id), not on order or worker.

    Returns
    -------
    ndarray
        (H / factor, W / factor, 3), uint8.
    """
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    extra = {"image_id": image_id} if "image_id" in inspect.signature(method.downscale).parameters else {}
    rng = generator("downscale", seed, image_id)
    lr = method.downscale(hr, (height, width), rng=rng, **extra, **parameters)
    if not isinstance(lr, np.ndarray) or lr.dtype != np.uint8 or lr.shape != (height, width, 3):
        got = f"{lr.dtype} {lr.shape}" if isinstance(lr, np.ndarray) else type(lr).__name__
        raise UserError(f"{image_id}: the downscaler returned {got}, expected uint8 ({height}, {width}, 3)")
    return lr


def _make_worker(recipe: dict[str, Any], target: Path) -> partial:
    method = find_method("downscale", recipe["method"], where=f"downscalers.{recipe['name']}")
    return partial(_one, method, recipe, target)


def _one(method: ModuleType, recipe: dict[str, Any], target: Path, unit: tuple[str, Path]) -> None:
    image_id, path = unit
    try:
        hr = read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro balance`") from None
    steps, seed = recipe.get("degrade", []), recipe.get("seed", 0)
    try:
        hr = _degrade(hr, steps, "before", seed=seed, image_id=image_id)
        lr = apply(method, hr, recipe["factor"], recipe["parameters"], image_id=image_id, seed=seed)
        lr = _degrade(lr, steps, "after", seed=seed, image_id=image_id)
    except UserError as error:
        raise UserError(f"downscaler {recipe['name']}, image {image_id}: {error}") from None
    write_png(target / f"{image_id}.png", lr)


def _degrade(
    image: NDArray[np.uint8], steps: list[dict[str, Any]], when: str, *, seed: int, image_id: str
) -> NDArray[np.uint8]:
    if not steps:
        return image
    # Looked up at run time, as a method is: its code is part of the recipe where there are steps, and only there.
    degrade = importlib.import_module("stages.downscale.degrade")
    return degrade.apply_steps(image, steps, when, seed=seed, image_id=image_id)


def downscale_folder(recipe: dict[str, Any], hr_folder: Path, target: Path) -> None:
    """Downscale every image of `hr_folder` into `target` by a recipe."""
    images = image_files(hr_folder, what="HR images")
    factor = recipe["factor"]
    sizes = {}
    for image_id, path in images.items():
        width, height = read_size(path)
        if width % factor or height % factor:
            raise UserError(
                f"{path}: {width} x {height} pixels is not divisible by the factor {factor}; see images.crop"
            )
        sizes[image_id] = (height // factor, width // factor)
    method = find_method("downscale", recipe["method"], where=f"downscalers.{recipe['name']}")
    if hasattr(method, "check_inputs"):
        method.check_inputs(sizes, factor, **recipe["parameters"])
    units = list(images.items())
    for _ in run_units(partial(_make_worker, recipe, target), units, label=f"downscale {recipe['name']} x{factor}"):
        pass

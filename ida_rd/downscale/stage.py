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

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.images import ImageError, image_files, read_image, read_size, write_png
from ida_rd.core.methods import find_method
from ida_rd.core.seeds import generator
from ida_rd.core.software import write_skip_note
from ida_rd.engine.local import run_units

__all__ = ["apply", "downscale_folder", "reduce_image"]


def apply(
    method: ModuleType,
    hr: NDArray[np.uint8],
    factor: int,
    parameters: dict[str, Any],
    *,
    image_id: str,
    seed: int,
    draws: dict[str, Any] | None = None,
) -> NDArray[np.uint8]:
    """Downscale one image and check what comes back.

    Parameters
    ----------
    method : module
        With ``downscale(hr, size, *, rng, **parameters)``; it also gets ``image_id`` and ``draws`` where
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

    Returns
    -------
    ndarray
        (H / factor, W / factor, 3), uint8.
    """
    height, width = hr.shape[0] // factor, hr.shape[1] // factor
    offered = {"image_id": image_id, "draws": {} if draws is None else draws}
    wanted = inspect.signature(method.downscale).parameters
    extra = {key: value for key, value in offered.items() if key in wanted}
    rng = generator("downscale", seed, image_id)
    lr = method.downscale(hr, (height, width), rng=rng, **extra, **parameters)
    if not isinstance(lr, np.ndarray) or lr.dtype != np.uint8 or lr.shape != (height, width, 3):
        got = f"{lr.dtype} {lr.shape}" if isinstance(lr, np.ndarray) else type(lr).__name__
        raise UserError(f"{image_id}: the downscaler returned {got}, expected uint8 ({height}, {width}, 3)")
    return lr


def _make_worker(recipe: dict[str, Any], target: Path) -> partial:
    method = find_method("downscale", recipe["method"], where=f"downscalers.{recipe['name']}")
    return partial(_one, method, recipe, target)


def _one(method: ModuleType, recipe: dict[str, Any], target: Path, unit: tuple[str, Path]) -> dict[str, Any]:
    """Write one LR image; return what was drawn for it."""
    image_id, path = unit
    try:
        hr = read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro balance`") from None
    lr, drawn = reduce_image(method, recipe, image_id, hr)
    write_png(target / f"{image_id}.png", lr)
    return drawn


def reduce_image(
    method: ModuleType, recipe: dict[str, Any], image_id: str, hr: NDArray[np.uint8]
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
    try:
        hr, before = _degrade(hr, recipe, "before", image_id)
        lr = apply(method, hr, recipe["factor"], recipe["parameters"], image_id=image_id, seed=seed, draws=draws)
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


def downscale_folder(recipe: dict[str, Any], hr_folder: Path, target: Path) -> None:
    """Downscale every image of `hr_folder` into `target` by a recipe; ``draws.json`` says what was drawn at random.

    A method whose software is missing leaves a note there, and nothing else.
    """
    if "skipped" in recipe:
        print(f"downscale {recipe['name']}: skipped, {recipe['skipped']}", flush=True)
        write_skip_note(target, recipe["skipped"])
        return
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
    label = f"downscale {recipe['name']} x{factor}"
    drawn = {unit[0]: draws for unit, draws in run_units(partial(_make_worker, recipe, target), units, label=label)}
    if any(drawn.values()):
        write_json(target / "draws.json", drawn)

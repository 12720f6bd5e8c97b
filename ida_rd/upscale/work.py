"""Reconstruct one LR image: its samples, drawn again if they are not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import canonical_json
from ida_rd.core.images import ImageError, read_image, webp_bytes
from ida_rd.core.methods import open_method
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import expecting
from ida_rd.engine.store import Record
from ida_rd.upscale.contract import Problem, Samples, Upscaler

__all__ = ["MAX_ATTEMPTS", "ROW", "load_upscaler", "open_work", "problem_of", "sample_image"]

ROW = ("image_id", "sample", "finite", "attempts", "clipped")  # columns that every sample has
MAX_ATTEMPTS = 3  # one draw and two retries for a sample that is not finite


def problem_of(recipe: dict[str, Any]) -> Problem:
    """What the upscaler of a recipe is loaded for."""
    adapted = recipe.get("adapted")
    return Problem(recipe["factor"], recipe.get("downscaler"), Path(adapted["path"]) if adapted else None)


def load_upscaler(recipe: dict[str, Any], device: str) -> Upscaler:
    """Load the upscaler of a recipe onto a device.

    Raises
    ------
    UserError
        Weights, or presets beside them, that are not those of the recipe.
    """
    method = open_method(recipe)
    if "settings" in recipe:
        settings = method.module.describe(method.parameters, recipe["factor"]).settings
        if canonical_json(settings) != canonical_json(recipe["settings"]):
            raise UserError(f"upscaler {recipe['name']}: its settings changed since plan ran: run `dvc repro`")
    with expecting(recipe):
        return method.module.load(method.parameters, problem_of(recipe), device)


def sample_image(
    upscaler: Upscaler, lr: NDArray[np.uint8], image_id: str, samples: Sequence[int], seed: int
) -> tuple[Samples, NDArray[np.int64]]:
    """Draw samples of one LR image (h, w, 3), uint8, retrying those that are not finite.

    Parameters
    ----------
    upscaler : Upscaler
    lr : ndarray
        (h, w, 3), uint8.
    image_id : str
    samples : sequence of int
        Their indices k, (K,).
    seed : int

    Returns
    -------
    samples : Samples
        Images are (K, 3, H, W), uint8.
    attempts : ndarray
        (K,), how often each was drawn.
    """
    chw = np.ascontiguousarray(lr.transpose(2, 0, 1))
    drawn = upscaler.sample(chw, [Draw(seed, image_id, k) for k in samples])
    if taken := sorted(set(drawn.columns) & set(ROW)):
        raise UserError(f"its samples have a column {taken[0]}, as every sample has: give it another name")
    attempts = np.ones(len(samples), dtype=np.int64)
    for attempt in range(1, MAX_ATTEMPTS):
        failed = np.flatnonzero(~drawn.finite)
        if not len(failed):
            break
        again = upscaler.sample(chw, [Draw(seed, image_id, samples[int(i)], attempt) for i in failed])
        drawn = drawn.replaced(failed, again)
        attempts[failed] += 1
    return drawn, attempts


Given = tuple[str, Path, str]  # image id, LR file, its sha256: that of the unit's key


def open_work(recipe: dict[str, Any], device: str) -> Callable[[Given, list[str]], dict[str, Record]]:
    """Load the upscaler of a recipe; return the function of one LR image, whose parts are its samples by index."""
    return partial(_one, load_upscaler(recipe, device), recipe)


def _one(upscaler: Upscaler, recipe: dict[str, Any], given: Given, parts: list[str]) -> dict[str, Record]:
    image_id, path, sha256 = given
    indices = [int(part) for part in parts]
    try:
        lr = read_image(path, sha256=sha256)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro downscale` again") from None
    try:
        samples, attempts = sample_image(upscaler, lr, image_id, indices, recipe["seed"])
        return {part: _record(samples, i, int(attempts[i])) for i, part in enumerate(parts)}
    except UserError as error:
        raise UserError(f"upscaler {recipe['name']}, image {image_id}: {error}") from None


def _record(samples: Samples, i: int, attempts: int) -> Record:
    """What is kept of sample `i`: its row, and its image if it is finite."""
    finite = bool(samples.finite[i])
    row = {"finite": finite, "attempts": attempts, "clipped": round(float(samples.clipped[i]), 9)}
    row |= {name: values[i].item() for name, values in samples.columns.items()}
    if not finite:
        return Record(row)
    return Record(row, webp_bytes(np.ascontiguousarray(samples.sr[i].transpose(1, 2, 0))), ".webp")

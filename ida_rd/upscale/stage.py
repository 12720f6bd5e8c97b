"""Reconstruct every LR image K times by one upscaler.

The unit of work is one image with all its samples. Finished units are kept in a journal, so that a
killed run goes on where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, read_json, write_json
from ida_rd.core.images import ImageError, image_files, pixels_sha256, read_image, write_webp
from ida_rd.core.methods import find_method, validate
from ida_rd.core.seeds import Draw
from ida_rd.core.tables import write_table
from ida_rd.engine.device import device_name
from ida_rd.engine.environment import environment
from ida_rd.engine.local import run_units
from ida_rd.engine.store import Journal
from ida_rd.upscale.contract import Samples, Upscaler

__all__ = ["MAX_ATTEMPTS", "load_upscaler", "sample_image", "upscale_folder"]

PACKAGES = ("numpy", "pillow", "torch")
ROW = ["image_id", "sample", "finite", "attempts", "clipped"]
MAX_ATTEMPTS = 3  # one draw and two retries for a sample that is not finite


def load_upscaler(recipe: dict[str, Any], device: str) -> Upscaler:
    """Load the upscaler of a recipe onto a device."""
    where = f"upscalers.{recipe['name']}"
    method = find_method("upscale", recipe["method"], where=where)
    parameters = validate(method.Parameters, recipe["parameters"], where=where)
    return method.load(parameters, recipe["factor"], device)


def sample_image(
    upscaler: Upscaler, lr: NDArray[np.uint8], image_id: str, count: int, seed: int
) -> tuple[Samples, NDArray[np.int64]]:
    """Draw `count` samples of one LR image (h, w, 3), uint8, retrying those that are not finite.

    Returns
    -------
    samples : Samples
        Images are (K, 3, H, W), uint8.
    attempts : ndarray
        (K,), how often each was drawn.
    """
    chw = np.ascontiguousarray(lr.transpose(2, 0, 1))
    first = upscaler.sample(chw, [Draw(seed, image_id, k) for k in range(count)])
    sr, finite, clipped = first.sr.copy(), first.finite.copy(), first.clipped.copy()
    attempts = np.ones(count, dtype=np.int64)
    for attempt in range(1, MAX_ATTEMPTS):
        failed = np.flatnonzero(~finite)
        if not len(failed):
            break
        again = upscaler.sample(chw, [Draw(seed, image_id, int(k), attempt) for k in failed])
        sr[failed], finite[failed], clipped[failed] = again
        attempts[failed] += 1
    return Samples(sr, finite, clipped), attempts


def _make_worker(recipe: dict[str, Any], device: str) -> Callable[[tuple[str, Path, str]], None]:
    if device == "cpu":
        import torch

        torch.set_num_threads(1)  # one worker a core; and sums in one order for any number of workers
    return partial(_one, load_upscaler(recipe, device), recipe, Journal(recipe))


def _one(upscaler: Upscaler, recipe: dict[str, Any], journal: Journal, unit: tuple[str, Path, str]) -> None:
    image_id, path, key = unit
    try:
        samples, attempts = sample_image(upscaler, read_image(path), image_id, recipe["samples"], recipe["seed"])
    except UserError as error:
        raise UserError(f"upscaler {recipe['name']}, image {image_id}: {error}") from None
    with atomic_folder(journal.path(key)) as folder:
        for k, sr in enumerate(samples.sr):
            if samples.finite[k]:
                write_webp(folder / f"{k}.webp", np.ascontiguousarray(sr.transpose(1, 2, 0)))
        rows = [
            {
                "image_id": image_id,
                "sample": k,
                "finite": bool(samples.finite[k]),
                "attempts": int(attempts[k]),
                "clipped": round(float(samples.clipped[k]), 9),
            }
            for k in range(len(samples.sr))
        ]
        write_json(folder / "rows.json", rows)


def upscale_folder(recipe: dict[str, Any], lr_folder: Path, target: Path) -> None:
    """Reconstruct every image of `lr_folder` into ``target/<image_id>/<k>.webp``.

    Beside them, ``samples.csv`` has a row per image and sample (finite, attempts, clipped), and
    ``environment.json`` says what computed them. A sample that stayed not finite has a row, but
    no image.
    """
    images = image_files(lr_folder, what="LR images")
    journal = Journal(recipe)
    units = []
    for image_id, path in images.items():
        try:
            units.append((image_id, path, f"{image_id}:{pixels_sha256(read_image(path))}"))
        except ImageError as error:
            raise UserError(f"{path}: {error}; run `dvc repro downscale` again") from None
    device = device_name()
    open_units = [unit for unit in units if not (journal.path(unit[2]) / "rows.json").is_file()]
    label = f"upscale {recipe['name']} x{recipe['factor']} {lr_folder.name}"
    if len(open_units) < len(units):
        print(f"{label}: {len(units) - len(open_units)} of {len(units)} images were finished before", flush=True)
    make_worker = partial(_make_worker, recipe, device)
    for _ in run_units(make_worker, open_units, label=label, parallel=device == "cpu"):
        pass
    rows = []
    with atomic_folder(target) as folder:
        for image_id, _, key in units:
            finished = journal.path(key)
            rows += read_json(finished / "rows.json", hint="remove .ida-rd and run again")
            (folder / image_id).mkdir()
            for path in sorted(finished.glob("*.webp")):
                _link(path, folder / image_id / path.name)
        table = pd.DataFrame(rows)[ROW]
        write_table(folder / "samples.csv", table)
        write_json(folder / "environment.json", environment(device, PACKAGES))
    journal.discard()
    if lost := int((~table.finite).sum()):
        print(f"warning: {label}: {lost} of {len(table)} samples are not finite and are left out", flush=True)


def _link(source: Path, target: Path) -> None:
    # A hard link where the file system has them: a kill during assembly loses nothing.
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

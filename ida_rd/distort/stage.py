"""Measure every SR sample against its HR image: one row per image and sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.core.errors import UserError
from ida_rd.core.files import read_json, sha256_file, write_json
from ida_rd.core.images import ImageError, image_files, read_image
from ida_rd.core.methods import find_method, validate
from ida_rd.core.tables import read_table, spread_column
from ida_rd.distort.contract import Distortion
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units
from ida_rd.engine.store import Journal

__all__ = ["ROW", "distort_folder", "load_distortions"]

ROW = ["image_id", "sample", "finite", "attempts", "clipped"]
SR_NAMES = "{k}.webp"
Found = dict[str, list[float]]  # values of an image's samples by column


def load_distortions(recipe: dict[str, Any], device: str) -> dict[str, Distortion]:
    """Load the distortions of a recipe that are not skipped, by name, in order."""
    loaded = {}
    for name, entry in recipe["distortions"].items():
        where = f"distortions.{name}"
        method = find_method("distort", entry["method"], where=where)
        loaded[name] = method.load(validate(method.Parameters, entry["parameters"], where=where), device)
    return loaded


class _Unit:
    """One HR image, its SR samples, and which of them are finite."""

    def __init__(self, image_id: str, hr: Path, samples: list[Path], missing: list[str]) -> None:
        self.image_id, self.hr, self.samples, self.missing = image_id, hr, samples, missing


def _make_worker(recipe: dict[str, Any], device: str) -> Callable[[_Unit], dict[str, Found]]:
    if device == "cpu":
        import torch

        torch.set_num_threads(1)  # one worker a core; and sums in one order for any number of workers
    squared = {name: entry["squared"] for name, entry in recipe["distortions"].items()}
    return partial(_one, load_distortions(recipe, device), squared)


def _one(distortions: dict[str, Distortion], squared: dict[str, bool], unit: _Unit) -> dict[str, Found]:
    """What one image's samples measure, by distortion."""
    hr = _read(unit.hr)
    sr = np.stack([_read(path) for path in unit.samples])
    if sr.shape[1:] != hr.shape:
        size = f"{sr.shape[3]} x {sr.shape[2]}"
        raise UserError(f"{unit.samples[0].parent}: SR images are {size}, HR is {hr.shape[2]} x {hr.shape[1]}")
    result = {}
    for name in unit.missing:
        distortion = distortions[name]
        reference, columns = distortion.reference(hr), {}
        if squared[name] and len(sr) > 1:
            columns[name], columns[spread_column(name)] = distortion.with_spread(reference, sr)  # type: ignore[attr-defined]
        else:
            columns[name] = distortion.distance(reference, sr)
        if not all(np.isfinite(values).all() for values in columns.values()):
            raise UserError(f"distortion {name}, image {unit.image_id}: not a finite number; is the image constant?")
        result[name] = {column: [float(value) for value in values] for column, values in columns.items()}
    return result


def _read(path: Path) -> np.ndarray:
    try:
        return np.ascontiguousarray(read_image(path).transpose(2, 0, 1))
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` for its stage again") from None


def distort_folder(recipe: dict[str, Any], hr_folder: Path, sr_folder: Path) -> pd.DataFrame:
    """Compare the samples in ``sr_folder/<image_id>/<k>.webp`` with ``hr_folder/<image_id>.png``.

    Every distance is journalled by distortion and by the content of the images: adding a
    distortion computes that one alone, and removing one computes nothing.

    Returns
    -------
    DataFrame
        Columns image_id, sample, finite, attempts, clipped, and one per distortion (empty where
        a sample is not finite). Those that are squared distances of embeddings have a second one,
        ``<name>:spread``, the mean distance of a sample to the image's others (empty for one sample).
        Sorted by image id and sample.

    Raises
    ------
    UserError
        Names that do not pair, damaged images, sizes that differ.
    """
    hr = image_files(hr_folder, what="HR images")
    samples = _read_samples(sr_folder)
    names = set(samples.image_id)
    if odd := sorted(names ^ hr.keys()):
        raise UserError(f"{sr_folder} and {hr_folder} differ in images: {', '.join(odd[:5])}; run `dvc repro upscale`")
    journals = {name: Journal(entry) for name, entry in recipe["distortions"].items()}
    found: dict[tuple[str, str], Found] = {}
    units, targets = [], {}
    for image_id, rows in samples.groupby("image_id", sort=True):
        paths = [sr_folder / str(image_id) / SR_NAMES.format(k=k) for k in rows["sample"][rows.finite]]
        if absent := [str(path) for path in paths if not path.is_file()]:
            raise UserError(f"{', '.join(absent)}: no such file; run `dvc repro upscale` again")
        if not paths:
            continue
        key = ":".join(sha256_file(path) for path in [hr[str(image_id)], *paths])
        missing = []
        for name, journal in journals.items():
            target = targets[str(image_id), name] = journal.path(key, ".json")
            if target.is_file():
                found[str(image_id), name] = read_json(target, hint="remove .ida-rd and run again")
            else:
                missing.append(name)
        if missing:
            units.append(_Unit(str(image_id), hr[str(image_id)], paths, missing))
    device = device_name()
    label = f"distort {'/'.join(sr_folder.parts[-3:])}"
    make_worker = partial(_make_worker, recipe, device)
    for unit, result in run_units(make_worker, units, label=label, parallel=device == "cpu"):
        for name, values in result.items():
            write_json(targets[unit.image_id, name], values)
            found[unit.image_id, name] = values
    for name, entry in recipe["distortions"].items():
        samples[[name, spread_column(name)] if entry["squared"] else [name]] = math.nan
        for image_id in names:
            mask = (samples.image_id == image_id) & samples.finite
            if not mask.any():
                continue
            for column, numbers in found[image_id, name].items():
                samples.loc[mask, column] = numbers
    return samples


def _read_samples(sr_folder: Path) -> pd.DataFrame:
    table = read_table(sr_folder / "samples.csv", hint="run `dvc repro upscale` first")
    return table[ROW].sort_values(["image_id", "sample"], ignore_index=True)

"""Measure the SR samples of one image against its HR image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import open_method
from ida_rd.core.weights import expecting
from ida_rd.distort.contract import Distortion
from ida_rd.engine.store import Record

__all__ = ["Compared", "load_distortions", "open_work", "part_name", "squared"]


@dataclass(frozen=True)
class Compared:
    """An image's files: what a unit is given.

    Attributes
    ----------
    image_id : str
    hr : Path
    samples : mapping
        Sample index to its file; those that are finite.
    sha256 : mapping
        File to what its content is: that of the unit's keys.
    """

    image_id: str
    hr: Path
    samples: Mapping[int, Path]
    sha256: Mapping[Path, str]


def part_name(distortion: str, sample: int | None = None) -> str:
    """Name of a part of a unit: one sample by a distortion, or, for a squared one, all samples together.

    A squared distance also tells how far a sample lies from the others, which depends on the whole set.
    """
    return distortion if sample is None else f"{distortion}:{sample}"


def squared(recipe: Mapping[str, Any]) -> bool:
    """Whether the distortion of a recipe is a squared distance of embeddings."""
    method = open_method(recipe)
    return bool(method.module.describe(method.parameters).squared)


def load_distortions(recipe: dict[str, Any], device: str) -> dict[str, Distortion]:
    """Load the distortions of a recipe that are not skipped, by name, in order."""
    loaded = {}
    for name, entry in recipe["distortions"].items():
        method = open_method(entry)
        with expecting(entry):
            loaded[name] = method.module.load(method.parameters, device)
    return loaded


def open_work(recipe: dict[str, Any], device: str) -> Callable[[Compared, list[str]], dict[str, Record]]:
    """Load the distortions of a recipe; return the function of one image."""
    whole = {name: squared(entry) for name, entry in recipe["distortions"].items()}
    return partial(_one, load_distortions(recipe, device), whole)


def _one(
    distortions: dict[str, Distortion], whole: dict[str, bool], given: Compared, parts: list[str]
) -> dict[str, Record]:
    """What is asked for about one image's samples: values by sample, and for squared distances the spread."""
    hr = _read(given.hr, given)
    sr = {k: _read(path, given) for k, path in given.samples.items()}
    for k, image in sr.items():
        if image.shape != hr.shape:
            size = f"{image.shape[2]} x {image.shape[1]}"
            raise UserError(f"{given.samples[k].parent}: SR images are {size}, HR is {hr.shape[2]} x {hr.shape[1]}")
    result = {}
    for name, distortion in distortions.items():
        wanted = [k for k in sr if part_name(name, None if whole[name] else k) in parts]
        if not wanted:
            continue
        found = _values(distortion, whole[name], hr, np.stack([sr[k] for k in wanted]))
        if not all(np.isfinite(values).all() for values in found.values()):
            raise UserError(f"distortion {name}, image {given.image_id}: not a finite number; is the image constant?")
        if whole[name]:
            result[part_name(name)] = Record({key: values.tolist() for key, values in found.items()})
        else:
            result |= {part_name(name, k): Record(float(found["value"][i])) for i, k in enumerate(wanted)}
    return result


def _values(
    distortion: Distortion, whole: bool, hr: NDArray[np.uint8], sr: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    reference = distortion.reference(hr)
    if whole and len(sr) > 1:
        value, spread = distortion.with_spread(reference, sr)  # type: ignore[attr-defined]
        return {"value": value, "spread": spread}
    return {"value": np.asarray(distortion.distance(reference, sr), dtype=float)}


def _read(path: Path, given: Compared) -> NDArray[np.uint8]:
    try:
        return np.ascontiguousarray(read_image(path, sha256=given.sha256[path]).transpose(2, 0, 1))
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` on its stage again") from None

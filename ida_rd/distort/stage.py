"""Measure every SR sample of a branch against its HR image: one row per image and sample."""

from __future__ import annotations

import math
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.foreign import decoding
from ida_rd.core.images import ImageError, image_files, read_size, write_png
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import identity, read_recipe
from ida_rd.core.rows import failed_column, read_rows, spread_column, write_rows
from ida_rd.core.software import skip_note
from ida_rd.core.temporary import PROGRAM, temporary_folder
from ida_rd.distort.work import Compared, open_work, part_name, squared
from ida_rd.engine.environment import joined
from ida_rd.engine.store import Store
from ida_rd.engine.units import Timed, Unit, Work, run

__all__ = ["ROW", "distort_folder", "write_distances"]

PACKAGES = ("lpips", "numpy", "pillow", "piq", "torch", "torchvision")
ROW = ["image_id", "sample", "finite", "attempts", "clipped"]


def write_distances(project: Project, branch: Branch, store: Store) -> None:
    """Write ``data/distortion/<upscaler>/x<factor>/<downscaler>.csv``, and beside it what computed it, ``.json``."""
    target = project.rows_of(branch)
    sr = project.sr_of(branch)
    if reason := skip_note(sr):
        print(f"distort {branch.title}: skipped, {printable(reason)}", file=sys.stderr, flush=True)
        write_rows(target, ROW, [])
        write_json(target.with_suffix(".json"), {"skipped": reason})
        return
    columns, rows, measured = distort_folder(read_recipe(project, "distort"), project.hr, sr, store)
    sampled = read_json(sr / "environment.json", hint="run `dvc repro upscale`")
    write_rows(target, columns, rows)
    write_json(target.with_suffix(".json"), {"upscale": sampled, "distort": measured})


def _size(path: Path) -> tuple[int, int]:
    try:
        return read_size(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro balance`") from None


def distort_folder(
    recipe: dict[str, Any], hr_folder: Path, sr_folder: Path, store: Store
) -> tuple[list[str], list[dict[str, Any]], dict[str, str]]:
    """Compare the samples in ``sr_folder/<image_id>/<k>.webp`` with ``hr_folder/<image_id>.png``.

    Every distance is kept by distortion and by the content of the images: adding a
    distortion computes that one alone, and removing one computes nothing.

    Returns
    -------
    columns : list of str
    rows : list of dict
        Columns image_id, sample, finite, attempts, clipped, and one per distortion (empty where
        a sample is not finite). Those that are squared distances of embeddings have a second one,
        ``<name>:spread``, the mean distance of a sample to the image's others (empty for one sample). If a sample
        was not finite when first drawn, ``<name>:failed`` beside it is what a black image scores: what the official
        code makes of it. Sorted by image id and sample.
    environment : dict
        What computed them.

    Raises
    ------
    UserError
        Names that do not pair, damaged images, sizes that differ.
    """
    hr = image_files(hr_folder, what="HR images")
    samples = _read_samples(sr_folder)
    names = {row["image_id"] for row in samples}
    if odd := sorted(names ^ hr.keys()):
        raise UserError(
            f"{sr_folder} and {hr_folder} hold different images: {', '.join(odd[:5])}; run `dvc repro upscale`"
        )
    whole = {name: squared(entry) for name, entry in recipe["distortions"].items()}
    what = {name: identity(entry) for name, entry in recipe["distortions"].items()}
    units = []
    for image_id, group in groupby(samples, key=lambda row: row["image_id"]):
        drawn = [row["sample"] for row in group if row["finite"]]
        paths = {k: (sr_folder / image_id / f"{k}.webp").absolute() for k in drawn}
        if absent := [str(path) for path in paths.values() if not path.is_file()]:
            raise UserError(f"{', '.join(absent)}: no such file; run `dvc repro upscale` again")
        if not paths:
            continue
        content = {k: sha256_file(path) for k, path in paths.items()}
        hr_path = hr[image_id].absolute()
        original = sha256_file(hr_path)
        keys = {}
        for name in what:
            if whole[name]:
                keys[part_name(name)] = store.key(what[name], original, list(content.values()))
            else:
                keys |= {part_name(name, k): store.key(what[name], original, [sha]) for k, sha in content.items()}
        shas = {hr_path: original, **{path: content[k] for k, path in paths.items()}}
        units.append(Unit(image_id, keys, Compared(image_id, hr_path, paths, shas), _size(hr_path)))
    branch = "/".join(sr_folder.parts[-3:])
    timed = Timed("distort", branch, max((len(unit.given.samples) for unit in units), default=0))
    work = Work(open_work, f"distort {branch}", torch=True, packages=PACKAGES, timed=timed)
    found: dict[tuple[str, int, str], float] = {}
    environments = []
    for unit, parts in run(work, recipe, units, store):
        for name in what:
            for i, k in enumerate(unit.given.samples):
                if not whole[name]:
                    found[unit.name, k, name] = parts[part_name(name, k)].value
                    continue
                values = parts[part_name(name)].value
                found[unit.name, k, name] = values["value"][i]
                found[unit.name, k, spread_column(name)] = values["spread"][i] if "spread" in values else math.nan
        environments += [part.environment for part in parts.values()]
    columns = [*ROW]
    for name in what:
        for column in [name, spread_column(name)] if whole[name] else [name]:
            columns.append(column)
            for row in samples:
                row[column] = found.get((row["image_id"], row["sample"], column))
    failed = {id(row): row for row in samples if row["attempts"] > 1 or not row["finite"]}
    if failed:
        black, made = _black(recipe, hr, list(dict.fromkeys(row["image_id"] for row in failed.values())), store)
        environments += made
        columns += [failed_column(name) for name in what]
        for row in failed.values():
            row |= {failed_column(name): black.get((row["image_id"], name)) for name in what}
    return columns, samples, joined(environments)


def _black(
    recipe: dict[str, Any], hr: dict[str, Path], images: list[str], store: Store
) -> tuple[dict[tuple[str, str], float], list[dict[str, str]]]:
    """Distances of black images to the HR images, by image id and distortion, and what computed them."""
    names = recipe["distortions"]
    found, environments = {}, []
    with temporary_folder(Path(tempfile.gettempdir()), PROGRAM) as folder:
        units = []
        for image_id in images:
            width, height = _size(hr[image_id])
            path = folder / f"{width}x{height}.png"
            if not path.is_file():
                write_png(path, np.zeros((height, width, 3), np.uint8))
            original, content = sha256_file(hr[image_id]), sha256_file(path)
            hr_path = hr[image_id].absolute()
            parts = {n: part_name(n) if squared(entry) else part_name(n, 0) for n, entry in names.items()}
            keys = {parts[n]: store.key(identity(entry), original, [content]) for n, entry in names.items()}
            given = Compared(image_id, hr_path, {0: path}, {hr_path: original, path: content})
            units.append((Unit(image_id, keys, given, (width, height)), parts))
        work = Work(open_work, "distort, black images", torch=True, packages=PACKAGES)
        named = {unit.name: parts for unit, parts in units}
        for unit, done in run(work, recipe, [unit for unit, _ in units], store):
            for name, part in named[unit.name].items():
                value = done[part].value
                found[unit.name, name] = value["value"][0] if isinstance(value, dict) else value
            environments += [part.environment for part in done.values()]
    return found, environments


def _read_samples(sr_folder: Path) -> list[dict[str, Any]]:
    """The rows of ``samples.csv``, by image id and sample."""
    path, hint = sr_folder / "samples.csv", "run `dvc repro upscale` first"
    rows = read_rows(path, ROW, hint=hint)
    with decoding(f"{path} is not a table of samples", hint):
        found: list[dict[str, Any]] = [
            {
                "image_id": row["image_id"],
                "sample": int(row["sample"]),
                "finite": {"True": True, "False": False}[row["finite"]],
                "attempts": int(row["attempts"]),
                "clipped": float(row["clipped"]) if row["clipped"] else math.nan,
            }
            for row in rows
        ]
    return sorted(found, key=lambda row: (row["image_id"], row["sample"]))

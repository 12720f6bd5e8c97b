"""Describe every candidate by attributes: one row an image.

A source either measures images (``measure(parameters, wanted)``) or knows them by name (``lookup(parameters)``). Where
none measures, and whole images are candidates, no image is opened. A source that has a ``BATCH`` is given so many
images at a time; it is taken to be slow, and what it has told is kept when the run is stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.core.candidates import candidate_files, cut, read_candidate_file, rectangles, source_path
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.files import canonical_json, read_json, sha256_file, write_json
from ida_rd.core.images import ImageError
from ida_rd.core.methods import find_method, validate
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units
from ida_rd.engine.store import Journal

__all__ = ["PLACE", "attribute_table"]

PLACE = ["image_id", "file", "x", "y", "width", "height", "sha256"]
RESERVED = ("group", "order", "pixels_sha256", "pool", "chosen", "short")  # columns of the manifest and the report


def _source(name: str, entry: dict[str, Any]) -> tuple[Any, Any]:
    """Module and parameters of a source."""
    module = find_method("attributes", name, where="attributes.source")
    return module, validate(module.Parameters, entry["parameters"], where=f"attributes.{name}")


def _pick(found: dict[str, Any], wanted: list[str] | None) -> dict[str, Any]:
    """Wanted attributes and what is told about them (``age:probability``)."""
    if wanted is None:
        return found
    return {name: value for name, value in found.items() if name.split(":")[0] in wanted}


Measure = Callable[[list[NDArray[np.uint8]]], list[dict[str, Any]]]


class _Source(NamedTuple):
    """A source that measures images: its function, what is wanted of it, how many images it takes at a time."""

    measure: Measure
    wanted: list[str] | None
    batch: int | None
    journal: Journal | None


def _make_worker(recipe: dict[str, Any]) -> partial:
    sources = []
    for name, entry in recipe["sources"].items():
        module, parameters = _source(name, entry)
        if hasattr(module, "measure"):
            batch = getattr(module, "BATCH", None)
            measure = module.measure(parameters, entry["attributes"])
            sources.append(_Source(measure, entry["attributes"], batch, Journal(entry) if batch else None))
    return partial(_describe, recipe, sources)


def _describe(
    recipe: dict[str, Any], sources: list[_Source], unit: list[tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of some files' candidates, and why files of them cannot be used."""
    images = recipe["images"]
    folder = images.get("path")
    rows: list[dict[str, Any]] = []
    tiles: list[NDArray[np.uint8]] = []
    bad: list[str] = []
    for image_id, file in unit:
        try:
            image = read_candidate_file(file, folder)
            digest = sha256_file(source_path(file, folder))
            for place in rectangles(image_id, image.shape[1], image.shape[0], images["crop"], recipe["multiple"]):
                rows.append(dict(zip(PLACE, (place[0], file, *place[1:], digest), strict=True)))
                tiles.append(cut(image, *place[1:]))
        except ImageError as error:
            bad.append(f"{file}: {error}")
    if bad:
        return [], bad
    found = [_measure(source, rows, tiles) for source in sources]
    for i, row in enumerate(rows):
        for source, told in zip(sources, found, strict=True):
            row |= _pick(told[i], source.wanted)
    return rows, []


def _measure(source: _Source, rows: list[dict[str, Any]], tiles: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """What a source tells of each tile; what the journal has is not asked again."""
    if source.journal is None or source.batch is None:
        return source.measure(tiles)
    paths = [source.journal.path(canonical_json([row[key] for key in PLACE[2:]]), ".json") for row in rows]
    missing = [i for i, path in enumerate(paths) if not path.is_file()]
    for start in range(0, len(missing), source.batch):
        batch = missing[start : start + source.batch]
        for i, told in zip(batch, source.measure([tiles[i] for i in batch]), strict=True):
            write_json(paths[i], told)
    return [read_json(path, hint="remove .ida-rd and run again") for path in paths]


def attribute_table(recipe: dict[str, Any]) -> pd.DataFrame:
    """Return the attribute table of all candidates, sorted by image id.

    Columns: image_id, file, x, y, width, height (pixels), sha256, and one per attribute. Where no image had to be
    opened, the rectangle and the hash are missing: they are those of the whole image, found when it is chosen.

    Raises
    ------
    UserError
        Every file that cannot be used, with its reason, in one line.
    """
    images = recipe["images"]
    files = list(candidate_files(images["source"], images.get("path"), images.get("pattern")).items())
    if recipe["opens_images"]:
        table = _measured(recipe, files)
    else:
        table = pd.DataFrame([{"image_id": image_id, "file": file} for image_id, file in files])
        table[["x", "y", "width", "height"]] = np.nan
        table["sha256"] = ""
    table = table.sort_values("image_id", ignore_index=True)
    doubles = table.image_id[table.image_id.duplicated()]
    if len(doubles):
        raise UserError(f"two candidates are called {doubles.iloc[0]!r}: rename one of the files")
    for name, entry in recipe["sources"].items():
        module, parameters = _source(name, entry)
        if hasattr(module, "lookup"):
            table = join(table, name, module.lookup(parameters), entry["attributes"])
    return table


def _measured(recipe: dict[str, Any], files: list[tuple[str, str]]) -> pd.DataFrame:
    modules = [find_method("attributes", name, where="attributes.source") for name in recipe["sources"]]
    together = max(getattr(module, "BATCH", None) or 1 for module in modules)
    units = [files[start : start + together] for start in range(0, len(files), together)]
    # One process feeds a GPU.
    parallel = not any(getattr(module, "USES_TORCH", False) for module in modules) or device_name() == "cpu"
    label = "attributes" if together == 1 else f"attributes, {together} images at a time"
    rows: list[dict] = []
    bad: list[str] = []
    for _, (found, reasons) in run_units(partial(_make_worker, recipe), units, label=label, parallel=parallel):
        rows += found
        bad += reasons
    if bad:
        raise UserError(f"{len(bad)} of {len(files)} images cannot be used: {'; '.join(sorted(bad))}")
    table = pd.DataFrame(rows)
    for module, entry in zip(modules, recipe["sources"].values(), strict=True):
        for name in (entry["attributes"] or []) if hasattr(module, "measure") else []:
            if name not in table:
                table[name] = np.nan  # no image has it
    return table


def join(candidates: pd.DataFrame, source: str, known: pd.DataFrame, wanted: list[str] | None) -> pd.DataFrame:
    """Join what a source knows to the candidates, by the candidate's name or that of its file.

    Raises
    ------
    UserError
        Candidates of which the source knows nothing, an attribute that it does not have, or that is there already.
    """
    for name in wanted or []:
        if name not in known:
            raise UserError(f"attributes.source.{name}: {source} does not tell it; {did_you_mean(name, known.columns)}")
    known = known[[c for c in known.columns if wanted is None or c.split(":")[0] in wanted]]
    if twice := [name for name in known.columns if name in candidates or name in RESERVED]:
        raise UserError(f"attributes.{source}: {twice[0]!r} is the name of another column: rename it, or leave it out")
    stems = candidates.file.map(lambda file: PurePosixPath(file.rpartition(":")[2]).stem)
    key = candidates.image_id.where(candidates.image_id.isin(known.index), stems)
    if missing := sorted(candidates.image_id[~key.isin(known.index)]):
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"attributes.{source}: {len(missing)} images have no row ({some}): add them or remove the images"
        )
    return pd.concat([candidates, known.loc[key].reset_index(drop=True)], axis=1)

"""Describe every candidate by attributes: one row an image.

A source either measures an image (``measure(parameters)``) or knows it by name (``lookup(parameters)``). Where none
measures, and whole images are candidates, no image is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from stages.core.candidates import candidate_files, cut, read_candidate_file, rectangles, source_path
from stages.core.engine import run_units
from stages.core.errors import UserError, did_you_mean
from stages.core.files import read_json, sha256_file, write_json
from stages.core.images import ImageError
from stages.core.journal import Journal
from stages.core.methods import find_method, validate

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


def _make_worker(recipe: dict[str, Any]) -> partial:
    measures = {}
    for name, entry in recipe["sources"].items():
        module, parameters = _source(name, entry)
        if hasattr(module, "measure"):
            # A source that takes long keeps what it has measured.
            journal = Journal(entry) if getattr(module, "SLOW", False) else None
            measures[name] = (module.measure(parameters), entry["attributes"], journal)
    return partial(_describe, recipe, measures)


def _describe(
    recipe: dict[str, Any],
    measures: dict[str, tuple[Callable, list[str] | None, Journal | None]],
    unit: tuple[str, str],
) -> list[dict] | str:
    """Rows of one file's candidates, or the reason why the file cannot be used."""
    image_id, file = unit
    images = recipe["images"]
    folder = images.get("path")
    try:
        image = read_candidate_file(file, folder)
        digest = sha256_file(source_path(file, folder))
        rows = []
        for place in rectangles(image_id, image.shape[1], image.shape[0], images["crop"], recipe["multiple"]):
            row = dict(zip(PLACE, (place[0], file, *place[1:], digest), strict=True))
            for measure, wanted, journal in measures.values():
                path = journal.path(f"{digest}:{place}", ".json") if journal else None
                if path is not None and path.is_file():
                    found = read_json(path, hint="remove .ida-rd and run again")
                else:
                    found = measure(cut(image, *place[1:]))
                    if path is not None:
                        write_json(path, found)
                row |= _pick(found, wanted)
            rows.append(row)
    except ImageError as error:
        return f"{file}: {error}"
    return rows


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
    rows: list[dict] = []
    bad = []
    for _, result in run_units(partial(_make_worker, recipe), files, label="attributes"):
        if isinstance(result, str):
            bad.append(result)
        else:
            rows += result
    if bad:
        raise UserError(f"{len(bad)} of {len(files)} images cannot be used: {'; '.join(sorted(bad))}")
    return pd.DataFrame(rows)


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

"""Describe every candidate by attributes: one row an image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from stages.attributes.statistics import image_statistics
from stages.core.candidates import candidate_files, cut, read_candidate_file, rectangles, source_path
from stages.core.engine import run_units
from stages.core.errors import UserError, did_you_mean
from stages.core.files import sha256_file
from stages.core.images import ImageError
from stages.core.tables import read_table

__all__ = ["attribute_table", "join_table"]

PLACE = ["image_id", "file", "x", "y", "width", "height", "sha256"]


def _describe(recipe: dict[str, Any], unit: tuple[str, str]) -> list[dict] | str:
    """Rows of one file's candidates, or the reason why the file cannot be used."""
    image_id, file = unit
    folder = recipe["images"].get("path")
    try:
        image = read_candidate_file(file, folder)
        digest = sha256_file(source_path(file, folder))
        rows = []
        for name, x, y, width, height in rectangles(
            image_id, image.shape[1], image.shape[0], recipe["images"]["crop"], recipe["multiple"]
        ):
            row = dict(zip(PLACE, (name, file, x, y, width, height, digest), strict=True))
            if recipe["attributes"]["source"] == "image-statistics":
                row |= image_statistics(cut(image, x, y, width, height))
            rows.append(row)
    except ImageError as error:
        return f"{file}: {error}"
    return rows


def _make_worker(recipe: dict[str, Any]) -> partial:
    return partial(_describe, recipe)


def attribute_table(recipe: dict[str, Any]) -> pd.DataFrame:
    """Read every candidate file and return the attribute table, sorted by image id.

    Columns: image_id, file, x, y, width, height (pixels), sha256, and one per attribute.

    Raises
    ------
    UserError
        Every file that cannot be used, with its reason, in one line.
    """
    images = recipe["images"]
    files = list(candidate_files(images["source"], images.get("path"), images.get("pattern")).items())
    rows, bad = [], []
    for _, result in run_units(partial(_make_worker, recipe), files, label="attributes"):
        if isinstance(result, str):
            bad.append(result)
        else:
            rows += result
    if bad:
        raise UserError(f"{len(bad)} of {len(files)} images cannot be used: {'; '.join(sorted(bad))}")
    table = pd.DataFrame(rows).sort_values("image_id", ignore_index=True)
    doubles = table.image_id[table.image_id.duplicated()]
    if len(doubles):
        raise UserError(f"two candidates are called {doubles.iloc[0]!r}: rename one of the files")
    if recipe["attributes"]["source"] == "table":
        table = join_table(table, Path(recipe["attributes"]["path"]), recipe["attributes"].get("columns"))
    return table


def join_table(candidates: pd.DataFrame, path: Path, columns: list[str] | None) -> pd.DataFrame:
    """Join the user's CSV of attributes (a column ``image_id``, the others numbers) to the candidates."""
    path = path.expanduser()
    user = read_table(path, hint="correct attributes.path")
    if "image_id" not in user:
        raise UserError(f"{path}: has no column image_id (it has {', '.join(user.columns)})")
    names = columns or [name for name in user.columns if name != "image_id"]
    for name in names:
        if name not in user:
            raise UserError(f"attributes.columns: {path} has no column {name!r}; {did_you_mean(name, user.columns)}")
        if not pd.api.types.is_numeric_dtype(user[name]):
            raise UserError(f"{path}: column {name} is not numeric; leave it out by attributes.columns")
    if not names:
        raise UserError(f"{path}: has no attribute column beside image_id")
    doubles = user.image_id[user.image_id.duplicated()]
    if len(doubles):
        raise UserError(f"{path}: {doubles.iloc[0]} has {len(doubles) + 1} rows; keep one")
    missing = sorted(set(candidates.image_id) - set(user.image_id))
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{path}: {len(missing)} images have no row ({some}): add them or remove the images")
    empty = user[user[names].isna().any(axis=1)]
    if len(empty):
        raise UserError(f"{path}: {empty.image_id.iloc[0]} has an empty attribute; fill it or remove the image")
    return candidates[PLACE].merge(user[["image_id", *names]], on="image_id", validate="one_to_one")

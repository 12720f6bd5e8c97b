"""Describe every candidate by attributes: one row per image.

A source either measures images (``measure(parameters, wanted)``) or knows them by name (``lookup(parameters)``). If
none measures, and whole images are candidates, no image is opened. A source that has a ``BATCH`` is given that many
images at a time. Answers are kept: one more image asks about that one alone.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.attributes.work import PLACE, File, measuring, open_work, part_name
from ida_rd.core.candidates import candidate_files, source_path
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.hashes import file_hashes
from ida_rd.core.methods import open_method
from ida_rd.core.project import Project
from ida_rd.core.recipes import check_source_files, identity, read_recipe
from ida_rd.core.tables import write_table
from ida_rd.engine.store import Store
from ida_rd.engine.units import Timed, Unit, Work, run

__all__ = ["PLACE", "attribute_table", "join", "write_attributes"]

# Columns of the manifest and the report.
RESERVED = ("photograph", "group", "order", "pixels_sha256", "pool", "chosen", "short")
PACKAGES = ("numpy", "pillow", "scipy")


def write_attributes(project: Project, store: Store) -> None:
    """Write ``data/attributes.csv``."""
    write_table(project.attributes, attribute_table(read_recipe(project, "attributes"), store))


def _pick(found: dict[str, Any], wanted: list[str] | None) -> dict[str, Any]:
    """Wanted attributes, and columns that belong to them (``age:probability``)."""
    if wanted is None:
        return found
    return {name: value for name, value in found.items() if name.split(":")[0] in wanted}


def attribute_table(recipe: dict[str, Any], store: Store) -> pd.DataFrame:
    """Return the attribute table of all candidates, sorted by image id.

    Columns: image_id, file, x, y, width, height (pixels), sha256, and one per attribute. If no image had to be
    opened, the rectangle and the hash are missing: those of the whole image are found when it is chosen.

    Raises
    ------
    UserError
        Every file that cannot be used, with its reason, in one line.
    """
    for entry in recipe["sources"].values():
        check_source_files(open_method(entry), entry)
    images = recipe["images"]
    found = candidate_files(images["source"], images.get("path"), images.get("pattern"))
    if recipe["opens_images"]:
        table = _measured(recipe, _files(images, found), store)
    else:
        table = pd.DataFrame(found.items(), columns=["image_id", "file"])
        table[["x", "y", "width", "height"]] = np.nan
        table["sha256"] = ""
    table = table.sort_values("image_id", ignore_index=True)
    doubles = table.image_id[table.image_id.duplicated()]
    if len(doubles):
        raise UserError(f"two candidates are called {doubles.iloc[0]!r}: rename one of the files")
    for name, entry in recipe["sources"].items():
        method = open_method(entry)
        if hasattr(method.module, "lookup"):
            table = join(table, name, method.module.lookup(method.parameters), entry["attributes"])
    return table


def _files(images: dict[str, Any], found: dict[str, str]) -> list[File]:
    """The files with what their content was when the recipe was made, or is, where that is later."""
    known = images.get("files") or {}
    new = [file for file in found.values() if file not in known]
    known = known | dict(zip(new, file_hashes([source_path(f, images.get("path")) for f in new]), strict=True))
    return [File(image_id, file, known[file]) for image_id, file in found.items()]


def _units(recipe: dict[str, Any], files: list[File], sources: list[str], together: int) -> list[Unit]:
    """Files in groups of `together`; each file's parts have keys of their own."""
    images = recipe["images"]
    cutting = {"crop": images["crop"], "multiple": recipe["multiple"]}
    cutting |= {"resize": images["resize"]} if "resize" in images else {}
    whats: dict[str | None, dict[str, Any]] = {None: cutting | {"code": recipe["looking"]}}
    whats |= {name: identity(recipe["sources"][name]) | cutting for name in sources}
    units = []
    for start in range(0, len(files), together):
        group = files[start : start + together]
        keys = {
            part_name(file, source): Store.key(what, (file.image_id, file.file), file.sha256)
            for file in group
            for source, what in whats.items()
        }
        units.append(Unit(group[0].image_id, keys, group))
    return units


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def _measured(recipe: dict[str, Any], files: list[File], store: Store) -> pd.DataFrame:
    sources = measuring(recipe)
    together = max([getattr(method.module, "BATCH", None) or 1 for method in sources.values()], default=1)
    label = "attributes" if together == 1 else f"attributes, {together} images at a time"
    torch = any(getattr(method.module, "USES_TORCH", False) for method in sources.values())
    work = Work(open_work, label, torch=torch, packages=PACKAGES, timed=Timed("attributes"))
    rows: list[dict] = []
    bad: list[str] = []
    here = recipe["images"] | {"path": _absolute(recipe["images"].get("path"))}
    for unit, parts in run(work, recipe | {"images": here}, _units(recipe, files, list(sources), together), store):
        for file in unit.given:
            places = parts[part_name(file)].value
            if isinstance(places, dict):
                bad.append(places["bad"])
                continue
            for i, row in enumerate(places):
                for name in sources:
                    told = parts[part_name(file, name)].value[i]
                    row |= _pick(told, recipe["sources"][name]["attributes"])
                rows.append(row)
    if bad:
        raise UserError(f"{len(bad)} of {len(files)} images cannot be used: {'; '.join(sorted(bad))}")
    table = pd.DataFrame(rows)
    for name in sources:
        for attribute in recipe["sources"][name]["attributes"] or []:
            if attribute not in table:
                table[attribute] = np.nan  # no image has it
    return table


def join(candidates: pd.DataFrame, source: str, known: pd.DataFrame, wanted: list[str] | None) -> pd.DataFrame:
    """Join what a source knows to the candidates, by the candidate's name or that of its file, with or without suffix.

    Raises
    ------
    UserError
        Candidates that the source does not know, or an attribute that it lacks or that is there already.
    """
    for name in wanted or []:
        if name not in known:
            raise UserError(
                f"attributes.source.{name}: {source} does not provide it; {did_you_mean(name, known.columns)}"
            )
    known = known[[c for c in known.columns if wanted is None or c.split(":")[0] in wanted]]
    if twice := [name for name in known.columns if name in candidates or name in RESERVED]:
        raise UserError(f"attributes.{source}: {twice[0]!r} is the name of another column: rename it, or leave it out")
    names = [candidates.image_id, *(candidates.file.map(part) for part in (_stem, _file_name))]
    key = names[0]
    for name in (*names[1:], *(name.str.strip() for name in names)):  # a table has no blanks around its ids
        key = key.where(key.isin(known.index), name)
    if missing := sorted(candidates.image_id[~key.isin(known.index)]):
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"attributes.{source}: {len(missing)} images have no row ({some}): add them or remove the images"
        )
    return pd.concat([candidates, known.loc[key].reset_index(drop=True)], axis=1)


def _file_name(file: str) -> str:
    """Name of a candidate's file, as ids are: NFC."""
    return unicodedata.normalize("NFC", PurePosixPath(file.rpartition(":")[2]).name)


def _stem(file: str) -> str:
    return PurePosixPath(_file_name(file)).stem

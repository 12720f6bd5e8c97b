"""Read every HR image by the likelihood of each decoder that has one: files in, files out."""

from __future__ import annotations

from typing import Any

from ida_rd.core.files import canonical_json, sha256_file, write_json
from ida_rd.core.images import image_files
from ida_rd.core.project import Project
from ida_rd.core.recipes import identity, read_recipe
from ida_rd.core.rows import write_rows
from ida_rd.core.software import skip_note
from ida_rd.engine.environment import joined
from ida_rd.engine.store import Store
from ida_rd.engine.units import Timed, Unit, Work, run
from ida_rd.surprise.recipe import SIDE
from ida_rd.surprise.work import PART, open_work

__all__ = ["COLUMNS", "write_surprise"]

PACKAGES = ("numpy", "pillow", "torch")
COLUMNS = ["upscaler", "factor", "downscaler", "image_id", "bits", "z2"]


def write_surprise(project: Project, store: Store) -> None:
    """Write ``data/surprise.csv``, a row per upscaler, factor, downscaler and image; beside it, what computed it."""
    recipe = read_recipe(project, "surprise")
    found: dict[str, list[dict[str, Any]]] = {}  # by what decides them: heats of one network share them
    rows: list[dict[str, Any]] = []
    environments: list[dict[str, str]] = []
    hr = {image_id: (path, sha256_file(path)) for image_id, path in image_files(project.hr, what="HR images").items()}
    for path, model in recipe["models"].items():
        level, upscaler = path.split("/")
        what = {key: value for key, value in identity(model).items() if key != "path"}
        key = canonical_json(what)
        if key not in found:
            found[key] = _read(project, model, what, recipe["downscalers"][level], hr, store, environments)
        rows += [{"upscaler": upscaler, "factor": model["factor"], **row} for row in found[key]]
    write_rows(project.surprise, COLUMNS, rows)
    write_json(project.surprise.with_suffix(".json"), joined(environments) if environments else {})


def _read(
    project: Project,
    model: dict[str, Any],
    what: dict[str, Any],
    downscalers: list[str],
    hr: dict[str, Any],
    store: Store,
    environments: list[dict[str, str]],
) -> list[dict[str, Any]]:
    """Rows of one network."""
    units = []
    for name in downscalers:
        folder = project.lr_of(name, model["factor"])
        if skip_note(folder):
            continue
        for image_id, lr in image_files(folder, what="LR images").items():
            path, sha256 = hr[image_id]
            content = sha256_file(lr)
            key = store.key(what, image_id, sha256, content)
            given = (image_id, path.absolute(), sha256, lr.absolute(), content)
            units.append(Unit(f"{name}/{image_id}", {PART: key}, given, (SIDE, SIDE)))
    timed = Timed("surprise", f"{model['name']}/x{model['factor']}")
    work = Work(open_work, f"surprise {model['name']} x{model['factor']}", torch=True, packages=PACKAGES, timed=timed)
    values = {}
    for unit, parts in run(work, model, units, store):
        values[unit.name] = parts[PART].value
        environments.append(parts[PART].environment)
    names = [unit.name.split("/", 1) for unit in units]
    return [{"downscaler": name, "image_id": one, **values[f"{name}/{one}"]} for name, one in names]

"""Reconstruct every LR image of a branch K times: files in, files out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import atomic_folder, sha256_file, write_json
from ida_rd.core.images import ImageError, image_files, read_size
from ida_rd.core.methods import OpenedMethod, open_method
from ida_rd.core.project import Branch, Project
from ida_rd.core.recipes import check_user_files, read_recipe
from ida_rd.core.rows import write_rows
from ida_rd.core.software import skip_note, write_skip_note
from ida_rd.engine.environment import joined
from ida_rd.engine.store import Store
from ida_rd.engine.units import Timed, Unit, Work, run
from ida_rd.upscale.need import need_of
from ida_rd.upscale.recipe import own_files, remedy, unit_identity, with_adapted
from ida_rd.upscale.work import ROW, open_work

__all__ = ["upscale_folder", "write_sr"]

PACKAGES = ("numpy", "pillow", "torch")


def write_sr(project: Project, branch: Branch, store: Store) -> None:
    """Write ``data/sr/<upscaler>/x<factor>/<downscaler>/``, by the recipe of that branch."""
    recipe = read_recipe(project, "upscale", f"x{branch.factor}", branch.upscaler, branch.downscaler)
    lr, target = project.lr_of(branch.downscaler, branch.factor), project.sr_of(branch)
    if reason := skip_note(lr):
        print(f"upscale {branch.title}: skipped, {printable(reason)}", file=sys.stderr, flush=True)
        with atomic_folder(target) as folder:
            write_skip_note(folder, reason)
        return
    upscale_folder(with_adapted(recipe, project.root), lr, target, store)


def _sizes(method: OpenedMethod, recipe: dict[str, Any], images: dict[str, Path]) -> dict[str, tuple[int, int]]:
    """Width and height of the HR image of each LR image.

    LR images of a size that the upscaler does not take are refused here, before the first is computed.
    """
    sizes = {}
    rule = method.module.describe(method.parameters, recipe["factor"]).size
    for image_id, path in images.items():
        try:
            width, height = read_size(path)
        except ImageError as error:
            raise UserError(f"{path}: {error}; run `dvc repro downscale` again") from None
        if problem := rule.problem(height, width, recipe["factor"]):
            raise UserError(f"upscaler {recipe['name']}: {path}: {problem}; {remedy(rule)}")
        sizes[image_id] = (width * recipe["factor"], height * recipe["factor"])
    return sizes


def upscale_folder(recipe: dict[str, Any], lr_folder: Path, target: Path, store: Store) -> None:
    """Reconstruct every image of `lr_folder` into ``target/<image_id>/<k>.webp``.

    Beside them, ``samples.csv`` has one row per image and sample (finite, attempts, clipped, and what else the upscaler
    reports), and ``environment.json`` says what computed them. A sample that was never finite has a row, but no image.
    """
    images = image_files(lr_folder, what="LR images")
    method = open_method(recipe)
    check_user_files(method, recipe, own_files(method, recipe["factor"], recipe["weights"]))
    sizes = _sizes(method, recipe, images)
    what = unit_identity(recipe)
    units, needs = [], dict[tuple[int, int], float | None]()
    for image_id, path in images.items():
        content = sha256_file(path)
        keys = {str(k): store.key(what, image_id, content, k) for k in range(recipe["samples"])}
        width, height = size = sizes[image_id]
        if size not in needs:
            needs[size] = need_of(method, recipe["factor"], recipe["samples"], height, width)
        units.append(Unit(image_id, keys, (image_id, path.absolute(), content), size, needs[size]))
    label = f"upscale {recipe['name']} x{recipe['factor']} {lr_folder.name}"
    here = getattr(method.module, "IN_THIS_PROCESS", False)
    timed = Timed("upscale", f"{recipe['name']}/x{recipe['factor']}/{lr_folder.name}", recipe["samples"])
    work = Work(open_work, label, torch=True, here=here, packages=PACKAGES, timed=timed)
    rows: dict[str, list[dict[str, Any]]] = {}
    environments = []
    with atomic_folder(target) as folder:
        for unit, parts in run(work, recipe, units, store):
            (folder / unit.name).mkdir()
            rows[unit.name] = []
            for k, part in parts.items():
                if part.file is not None:
                    part.link(folder / unit.name / f"{k}.webp")
                rows[unit.name].append({"image_id": unit.name, "sample": int(k), **part.value})
                environments.append(part.environment)
        table = [row for unit in units for row in rows[unit.name]]
        columns = list(dict.fromkeys([*ROW, *(name for row in table for name in row)]))
        write_rows(folder / "samples.csv", columns, table)
        write_json(folder / "environment.json", joined(environments))
    if lost := sum(not row["finite"] for row in table):
        print(
            f"warning: {label}: {lost} of {len(table)} samples are not finite and are left out",
            file=sys.stderr,
            flush=True,
        )

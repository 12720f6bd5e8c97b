"""Downscale every HR image by one method and factor: files in, files out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import atomic_folder, sha256_file, write_json
from ida_rd.core.images import image_files, read_size
from ida_rd.core.methods import open_method
from ida_rd.core.project import Project
from ida_rd.core.recipes import check_user_files, identity, read_recipe
from ida_rd.core.software import write_skip_note
from ida_rd.downscale.work import open_work
from ida_rd.engine.store import Store
from ida_rd.engine.units import Timed, Unit, Work, run

__all__ = ["downscale_folder", "write_lr"]

PACKAGES = ("numpy", "pillow")


def write_lr(project: Project, name: str, factor: int, store: Store) -> None:
    """Write ``data/lr/x<factor>/<name>/``, by the recipe of that name and factor."""
    with atomic_folder(project.lr_of(name, factor)) as target:
        downscale_folder(read_recipe(project, "downscale", f"x{factor}", name), project.hr, target, store)


def downscale_folder(recipe: dict[str, Any], hr_folder: Path, target: Path, store: Store) -> None:
    """Downscale every image of `hr_folder` into `target` by a recipe; ``draws.json`` says what was drawn at random.

    A method whose software is missing leaves a note there, and nothing else.
    """
    if "skipped" in recipe:
        print(f"downscale {recipe['name']}: skipped, {printable(recipe['skipped'])}", file=sys.stderr, flush=True)
        write_skip_note(target, recipe["skipped"])
        return
    images = image_files(hr_folder, what="HR images")
    factor = recipe["factor"]
    sizes = {}
    for image_id, path in images.items():
        width, height = read_size(path)
        if width % factor or height % factor:
            raise UserError(
                f"{path}: {width} x {height} pixels is not divisible by the factor {factor}; see images.crop"
            )
        sizes[image_id] = (height // factor, width // factor)
    method = open_method(recipe)
    check_user_files(method, recipe)
    if hasattr(method.module, "check_inputs"):
        method.module.check_inputs(sizes, factor, **method.parameters.model_dump())
    what = identity(recipe)
    shas = {image_id: sha256_file(path) for image_id, path in images.items()}
    units = [
        Unit(
            image_id,
            {"lr": store.key(what, image_id, shas[image_id])},
            (image_id, path.absolute(), shas[image_id]),
            (sizes[image_id][1] * factor, sizes[image_id][0] * factor),
        )
        for image_id, path in images.items()
    ]
    timed = Timed("downscale", f"x{factor}/{recipe['name']}")
    work = Work(open_work, f"downscale {recipe['name']} x{factor}", packages=PACKAGES, timed=timed)
    drawn = {}
    for unit, parts in run(work, recipe, units, store):
        parts["lr"].link(target / f"{unit.name}.png")
        drawn[unit.name] = parts["lr"].value
    if any(drawn.values()):
        write_json(target / "draws.json", drawn)

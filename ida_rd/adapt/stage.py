"""Adapt an upscaler to a downscaler: files in, files out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ida_rd.adapt.card import card_text, record_of
from ida_rd.adapt.photographs import TestImage, check_disjoint, note_small
from ida_rd.adapt.recipe import decides
from ida_rd.adapt.work import PART, adapt_weights, open_work
from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import write_bytes, write_json, write_text
from ida_rd.core.images import ImageError, image_files, read_image
from ida_rd.core.key import private_name, user_key
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table
from ida_rd.engine.environment import environment
from ida_rd.engine.store import Finished, Store
from ida_rd.engine.units import Timed, Unit, Work, run

__all__ = ["adapt_to_file", "write_adapted"]

PACKAGES = ("numpy", "pillow", "torch")


def write_adapted(project: Project, branch: Branch, store: Store) -> None:
    """Write ``data/adapt/x<factor>/<upscaler>/<downscaler>.safetensors`` and what lies beside it, by its recipe."""
    recipe = read_recipe(project, "adapt", f"x{branch.factor}", branch.upscaler, branch.downscaler)
    target = project.adapted_of(branch)
    if "skipped" in recipe:
        print(f"adapt {branch.title}: skipped, {printable(recipe['skipped'])}", file=sys.stderr, flush=True)
        write_bytes(target, b"")
        write_json(target.with_suffix(".json"), {"skipped": recipe["skipped"]})
        write_text(target.with_suffix(".md"), f"Skipped: {printable(recipe['skipped'])}.\n")
        return
    where = f"adapted.{branch.upscaler}.adapt.images"
    folder = Path(recipe["images"]["path"]).expanduser()
    note_small(recipe, where)
    check_disjoint(recipe["images"]["files"], folder, _test_images(project), where=where)
    key = store.key(decides(recipe), PART)
    # Weights, LR images and checkpoints are taken up from there: a folder that came from elsewhere must not have any.
    out = (project.state / "adapt" / private_name(user_key(), key)).absolute()
    unit = Unit(branch.title, {PART: key}, out)
    work = Work(open_work, f"adapt {branch.title}", here=True, packages=PACKAGES, timed=Timed("adapt", branch.path))
    for _, parts in run(work, recipe, [unit], store):
        _write(target, branch.title, recipe, key, _content(parts[PART]), parts[PART].value, parts[PART].environment)
    shutil.rmtree(out, ignore_errors=True)


def _content(finished: Finished) -> bytes:
    assert finished.file is not None
    return finished.file.read_bytes()


def _write(
    target: Path,
    title: str,
    recipe: Mapping[str, Any],
    key: str,
    content: bytes,
    value: Mapping[str, Any],
    environment: Mapping[str, str],
) -> None:
    record = record_of(recipe, key, content, value)
    write_bytes(target, content)
    write_text(target.with_suffix(".md"), card_text(title, record, value, environment))
    write_json(target.with_suffix(".json"), record)  # last: if it is there, all is


def _test_images(project: Project) -> Iterator[TestImage]:
    hint = "run `dvc repro balance`"
    subset = read_table(project.subset, hint=hint)
    hashes = dict(
        zip(*(read_table(project.attributes, hint=hint)[name] for name in ("image_id", "sha256")), strict=True)
    )
    for image_id, x, y in zip(subset.image_id, subset.x, subset.y, strict=True):
        path = project.hr / f"{image_id}.png"
        try:
            pixels = read_image(path)
        except ImageError as error:
            raise UserError(f"{path}: {error}; {hint}") from None
        yield TestImage(str(image_id), pixels, int(x), int(y), str(hashes.get(image_id, "")))


def adapt_to_file(recipe: Mapping[str, Any], target: Path, test: Path | None) -> dict[str, Any]:
    """Adapt by a recipe and write weights, record and card to `target`: what ``ida-rd adapt`` does.

    The state of the training is in a folder beside it until it is finished.

    Parameters
    ----------
    recipe : mapping
    target : Path
        With the ending ``.safetensors``.
    test : Path, optional
        Folder of images that must not be among the training photographs.

    Returns
    -------
    dict
        The record.
    """
    beside = target.with_suffix(".json")
    key = Store.key(decides(recipe), PART)
    folder = Path(recipe["images"]["path"]).expanduser()
    note_small(recipe, "adapt --images")
    if test is not None:
        check_disjoint(recipe["images"]["files"], folder, _images_of(test), where="adapt --test")
    if target.exists():
        record = read_json(beside, hint="remove the weights, or name another --out") if beside.is_file() else {}
        if isinstance(record, dict) and record.get("key") == key:
            print(f"{printable(target)} is finished", file=sys.stderr)
            return record
        raise UserError(f"{target} exists, and was made of something else: name another --out, or remove it")
    out = target.with_suffix(".training")
    content, value = adapt_weights(recipe, out)
    _write(target, target.name, recipe, key, content, value, environment("cpu", PACKAGES))
    shutil.rmtree(out, ignore_errors=True)
    return read_json(beside, hint="")


def _images_of(folder: Path) -> Iterator[TestImage]:
    from ida_rd.core.hashes import file_hashes

    for name, path in image_files(folder, what="--test").items():
        try:
            pixels = read_image(path)
        except ImageError as error:
            raise UserError(f"--test: {path}: {error}") from None
        yield TestImage(name, pixels, sha256=file_hashes([path])[0])

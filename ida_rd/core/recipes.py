"""Recipes: what ``plan`` decided and every other stage obeys.

A recipe is a small JSON file with all that decides a stage's result, apart from the images: the
checked parameters, the hashes of the code, of the weights and of the user's own files. Stages
depend on their recipe alone, so DVC reruns just the branches whose recipe changed. A method's label and its licence
decide nothing, and are not in its recipe; its name is there for messages alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.code import code_hashes, forget
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import OpenedMethod
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json
from ida_rd.core.software import package_version, program_version
from ida_rd.core.weights import locate

__all__ = [
    "SCHEMA",
    "check_source_files",
    "check_user_files",
    "found_recipe",
    "identity",
    "read_recipe",
    "stated_recipe",
    "used_weights",
    "user_files",
]

SCHEMA = 2
# The parts of a recipe that do not decide a unit's result: `name` is for messages, K says how many samples there are.
NOT_IDENTITY = ("schema", "name", "samples")


def read_recipe(project: Project, *parts: str) -> dict[str, Any]:
    """Read ``data/plan/<parts>.json``, e.g. ``read_recipe(project, "downscale", "x4", "bicubic")``."""
    path = project.plan.joinpath(*parts[:-1], parts[-1] + ".json")
    recipe = read_json(path, hint="run `dvc repro plan` first")
    if recipe.get("schema") != SCHEMA:
        raise UserError(f"{path} was written by another version of this program: run `dvc repro plan`")
    return recipe


def identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a method's recipe that decides the result of its units."""
    return {key: value for key, value in recipe.items() if key not in NOT_IDENTITY}


def stated_recipe(begun: Mapping[str, Any], method: OpenedMethod) -> dict[str, Any]:
    """What ``params.yaml`` alone decides of a recipe that every method has.

    Parameters
    ----------
    begun : mapping
        From `ida_rd.core.methods.method_recipe`.
    method : OpenedMethod
        The method that it names.
    """
    return {
        "schema": SCHEMA,
        "stage": begun["stage"],
        "name": begun["name"],
        "method": begun["method"],
        "parameters": method.dump(),
    }


def found_recipe(method: OpenedMethod, *code: str) -> dict[str, Any]:
    """What is found here for it: hashes of the method's code and of the room's modules `code`, versions of packages."""
    recipe: dict[str, Any] = {"code": code_hashes(method.file, *code)}
    if hasattr(method.module, "packages"):
        wanted = method.module.packages(method.parameters)
        recipe["packages"] = {name: package_version(name, install=install) for name, install in wanted.items()}
    if hasattr(method.module, "programs") and (asked := method.module.programs(method.parameters)):
        recipe.setdefault("packages", {}).update({name: program_version(command) for name, command in asked.items()})
    return recipe


def user_files(method: OpenedMethod, factor: int, own: Iterable[Path] = ()) -> dict[str, str]:
    """Hashes of the files that a method names as part of its result (a program, LR images), and of those of `own`."""
    named = method.module.files(method.parameters, factor) if hasattr(method.module, "files") else ()
    hashes: dict[str, str] = {}
    for path in (*named, *own):
        if path.suffix == ".py":
            hashes |= code_hashes(path)  # with what it imports
            continue
        digest, name, number = sha256_file(path), path.name, 2
        while hashes.get(name, digest) != digest:  # files of one name, in several folders
            name, number = f"{path.name} ({number})", number + 1
        hashes[name] = digest
    return hashes


def check_user_files(method: OpenedMethod, recipe: Mapping[str, Any], own: Iterable[Path] = ()) -> None:
    """Refuse files of the user's that are not those that ``plan`` hashed; asked once, before the first unit.

    Those of `user_files`, of which `own` are such that the method does not name itself.

    Raises
    ------
    UserError
        Names the first that changed, is new or is gone.
    """
    forget()
    _compare(method.where, user_files(method, recipe["factor"], own), recipe.get("files") or {})


def check_source_files(method: OpenedMethod, recipe: Mapping[str, Any]) -> None:
    """As `check_user_files`, for the files and weights of a source of attributes."""
    if "files" in recipe:
        lines = [f"{sha256_file(path)}  {path.name}" for path in method.module.files(method.parameters)]
        found = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()  # as `ida_rd.core.hashes.digest`
        _compare(method.where, {"a file of it": found}, {"a file of it": recipe["files"]})
    if "weights" in recipe:
        paths = method.module.weights(method.parameters, recipe["attributes"], download=False)
        _compare(method.where, {name: sha256_file(path) for name, path in paths.items()}, recipe["weights"])


def _compare(where: str, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    if odd := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise UserError(f"{where}: {odd[0]}{more} changed since plan ran: run `dvc repro`")


def used_weights(weights: Mapping[str, str | None], *, download: bool) -> dict[str, str]:
    """Find the weights that a descriptor asks for, or download them; return their hashes by id."""
    return {key: locate(key, path, download=download).sha256 for key, path in weights.items()}

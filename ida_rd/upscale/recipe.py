"""The recipe of an upscaler and factor, and that of a branch: for one downscaler.

An adapted upscaler is run with weights that ``plan`` cannot know, since they are trained after it: the recipe of such a
branch says where they will be, and `with_adapted` puts them in when it is run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.adapted import adapted_to
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import found_recipe, identity, stated_recipe, used_weights, user_files
from ida_rd.core.weights import catalogue, locate
from ida_rd.upscale.contract import Descriptor, SizeRule

__all__ = [
    "as_adapted",
    "branch_recipe",
    "own_files",
    "own_weights",
    "remedy",
    "stated",
    "unit_identity",
    "upscale_recipe",
    "with_adapted",
]


def stated(
    name: str, entry: Mapping[str, Any], factor: int, seed: int, samples: int, *, where: str | None = None
) -> tuple[dict[str, Any], Descriptor, OpenedMethod]:
    """What an entry of ``upscalers`` alone decides of its recipe, what its method says of itself, and the method."""
    begun = method_recipe("upscale", name, entry)
    method = open_method(begun, where=where)
    descriptor = method.module.describe(method.parameters, factor)
    if any(path is not None and adapted_to(Path(path).expanduser()) for path in descriptor.weights.values()):
        descriptor = as_adapted(descriptor)
    recipe = stated_recipe(begun, method) | {
        "factor": factor,
        "seed": seed,
        "samples": samples if descriptor.stochastic else 1,
        "settings": descriptor.settings,
    }
    return recipe, descriptor, method


def own_weights(method: OpenedMethod, factor: int) -> dict[str, str]:
    """Ids of weights that ship in whose place the user has a file of their own training, and its path.

    Such a file is part of the recipe as the user's own, not as these weights. A method with ``files`` names its user's
    files there; this is for a method without, also as a step of a chain. No file is looked for.
    """
    steps = getattr(method.parameters, "steps", None)
    if isinstance(steps, list) and all(isinstance(step, Mapping) and {"method", "factor"} <= {*step} for step in steps):
        found: dict[str, str] = {}
        for i, step in enumerate(steps):
            plain = {key: value for key, value in step.items() if key != "factor"}
            found |= own_weights(open_method(method_recipe("upscale", f"steps.{i}", plain)), step["factor"])
        return found
    if hasattr(method.module, "files"):
        return {}
    known, named = catalogue(), method.module.describe(method.parameters, factor).weights
    return {
        key: path for key, path in named.items() if path is not None and key in known and known[key].file is not None
    }


def own_files(method: OpenedMethod, factor: int, weights: Iterable[str] = ()) -> list[Path]:
    """Those files, but not in the place of `weights`, which the recipe has by their ids.

    Raises
    ------
    UserError
        There is no such file.
    """
    found = own_weights(method, factor)
    return [locate(key, path, download=False).path for key, path in found.items() if key not in weights]


def remedy(rule: SizeRule) -> str:
    """What to do about HR images that an upscaler does not take."""
    if rule.hr is None:
        return "see images.crop"
    return f"set images.resize: {rule.hr}, which reduces larger images to that, or images.crop: {rule.hr}"


def as_adapted(descriptor: Descriptor) -> Descriptor:
    """The same upscaler with weights that have seen how the LR images are made."""
    return dataclasses.replace(descriptor, blind=False, matched=True)


def upscale_recipe(
    name: str,
    entry: Mapping[str, Any],
    factor: int,
    seed: int,
    samples: int,
    *,
    size: tuple[int, int] | None,
    download: bool,
    adapted: bool = False,
) -> tuple[dict[str, Any], Descriptor]:
    """Check an entry of ``upscalers`` and make what is common to the recipes of its branches.

    Parameters
    ----------
    name, entry
        Key and value in ``params.yaml``.
    factor, seed, samples : int
    size : tuple of int or None
        Height and width of the HR images, where all are of one size.
    download : bool
        Whether missing weights may be downloaded.
    adapted : bool
        Whether it is an entry of ``adapted``, without its ``adapt``: its branches ask for weights of their own.
    """
    where = f"adapted.{name}" if adapted else None
    recipe, descriptor, method = stated(name, entry, factor, seed, samples, where=where)
    if adapted:
        descriptor = dataclasses.replace(as_adapted(descriptor), asks=(*descriptor.asks, "adapted"))
    if size is not None and (problem := descriptor.size.problem(size[0] // factor, size[1] // factor, factor)):
        raise UserError(f"factor {factor}: {problem}; {remedy(descriptor.size)}")
    own = own_weights(method, factor)
    listed = {key: path for key, path in descriptor.weights.items() if key not in own}
    recipe |= found_recipe(method, "ida_rd.upscale.work") | {
        "files": user_files(method, factor, own_files(method, factor)),
        "weights": used_weights(listed, download=download),
    }
    return recipe, descriptor


def branch_recipe(
    recipe: dict[str, Any],
    descriptor: Descriptor,
    downscaler: dict[str, Any],
    adapted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe of an upscaler for one downscaler: it names that, or weights adapted to it, only if asked to.

    Parameters
    ----------
    recipe : dict
        Common to all branches.
    descriptor : Descriptor
    downscaler : dict
        The downscaler's recipe.
    adapted : mapping, optional
        ``path`` of the adapted weights, from the project's root, and the ``budget`` of their training.
    """
    found = recipe | ({"downscaler": identity(downscaler)} if "downscaler" in descriptor.asks else {})
    return found | ({"adapted": dict(adapted)} if adapted is not None and "adapted" in descriptor.asks else {})


def with_adapted(recipe: dict[str, Any], root: Path) -> dict[str, Any]:
    """Put the adapted weights of a branch into its recipe, which is returned as it is if it asks for none.

    Parameters
    ----------
    recipe : dict
        Of a branch.
    root : Path
        Of the project.

    Raises
    ------
    UserError
        They are not there, or not those that the record beside them names.
    """
    if "adapted" not in recipe:
        return recipe
    path = (root / recipe["adapted"]["path"]).absolute()
    record = read_json(path.with_suffix(".json"), hint="run `dvc repro` first: the stage adapt makes it")
    expected = record.get("sha256") if isinstance(record, dict) else None
    if not path.is_file() or sha256_file(path) != expected:
        raise UserError(f"{path}: is not the weight file that the record beside it names: run `dvc repro`")
    method = open_method(recipe)
    names = recipe["weights"] or own_weights(method, recipe["factor"])  # none where the method has them as files
    parameters = recipe["parameters"] | {"path": str(path)}
    now = open_method(recipe | {"parameters": parameters})
    return recipe | {
        "parameters": parameters,
        "files": user_files(now, recipe["factor"]),  # without the file that the training began from
        "weights": dict.fromkeys(names, expected),
        "adapted": recipe["adapted"] | {"path": str(path)},
    }


def unit_identity(recipe: dict[str, Any]) -> dict[str, Any]:
    """What of a branch's recipe decides its samples: of adapted weights the content, and not where they are."""
    found = identity(recipe)
    if "adapted" not in found:
        return found
    found = {key: value for key, value in found.items() if key != "adapted"}
    return found | {"parameters": found["parameters"] | {"path": None}}

"""The recipe of an adaptation: an upscaler's weights, to one downscaler and factor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.adapt.contract import LEAST_ENERGY_PATCH, Adaptation, find_adapter
from ida_rd.adapt.photographs import Listed, choose, with_lr
from ida_rd.adapt.sources import reach_of
from ida_rd.core.code import code_hashes
from ida_rd.core.errors import UserError
from ida_rd.core.methods import open_method, validate
from ida_rd.core.recipes import SCHEMA, identity
from ida_rd.core.weights import locate

__all__ = ["adapt_recipe", "adaptation_of", "decides"]

# What of a recipe decides no weights: where files are, and what is only passed on. Files themselves are there by hash.
NOT_DECIDING = ("preset_settings", "exclude_licence", "small")


def adaptation_of(entry: Mapping[str, Any], *, where: str) -> tuple[dict[str, Any], Adaptation]:
    """Part an entry of ``adapted``: the upscaler itself, and how it is adapted.

    Raises
    ------
    UserError
        It has no ``adapt``, or one with mistakes, or its method cannot be adapted.
    """
    if "adapt" not in entry:
        raise UserError(f"{where}.adapt: is missing: give the training photographs, such as adapt: {{images: photos}}")
    plain = {key: value for key, value in entry.items() if key != "adapt"}
    find_adapter(plain, where=f"{where}.adapt")
    return plain, validate(Adaptation, entry["adapt"], where=f"{where}.adapt")


def adapt_recipe(
    name: str,
    plain: Mapping[str, Any],
    adaptation: Adaptation,
    downscaler: Mapping[str, Any],
    factor: int,
    *,
    found: Listed,
    where: str,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Check what an adaptation needs, and make its recipe.

    Parameters
    ----------
    name : str
        Of the upscaler.
    plain : mapping
        Its entry, without ``adapt``.
    adaptation : Adaptation
    downscaler : mapping
        Recipe of the downscaler.
    factor : int
    found : mapping
        The photographs there are, from `ida_rd.adapt.photographs.listed`.
    where : str
        Key of ``adapt`` in ``params.yaml``, for messages.
    settings : mapping
        What the upscaler's method decides of itself, such as a preset heat: the adapted weights keep it.

    Raises
    ------
    UserError
        No photographs, or none that are large enough; LR images that cannot be had; a factor that cannot be adapted.
    """
    if "skipped" in downscaler:
        return {"schema": SCHEMA, "stage": "adapt", "name": name, "skipped": downscaler["skipped"]}
    adapter = find_adapter(plain, where=where)
    begun = {"stage": "upscale", "name": name, "method": plain["method"]}
    begun["parameters"] = {key: value for key, value in plain.items() if key != "method"}
    method = open_method(begun, where=where.removesuffix(".adapt"))
    base = adapter.base(method.parameters, factor)
    budget = adaptation.budget(adapter.preset(factor), where=where)
    _check_budget(budget, factor, adapter.MULTIPLE, where)
    reach = reach_of(downscaler)
    of_folder = downscaler["method"] == "folder"
    margin = factor - 1 if reach is None else 2 * reach * factor  # whole images lose a phase of the LR grid
    files, small = choose(found, adaptation, budget["patch"] + (0 if of_folder else margin), where=where)
    recipe = {
        "schema": SCHEMA,
        "stage": "adapt",
        "name": name,
        "method": plain["method"],
        "factor": factor,
        "weights": {base.weight: locate(base.weight, base.path).sha256},
        "base": base.path,
        "budget": budget,
        "downscaler": _seen(downscaler),
        "reach": reach,
        "images": {"path": adaptation.images, "files": files},
        "exclude_licence": adaptation.exclude_licence,
        "small": small,
        "preset_settings": dict(settings),
        "code": code_hashes("ida_rd.adapt.work", Path(str(adapter.__file__))),
    }
    if of_folder:
        recipe["lr"] = _lr(adaptation, downscaler, files, factor, where)
    return recipe


def _check_budget(budget: Mapping[str, Any], factor: int, multiple: int, where: str) -> None:
    if budget["patch"] % factor:
        raise UserError(f"{where}.patch: is {budget['patch']}, which factor {factor} does not divide")
    if budget["patch"] % multiple:
        raise UserError(f"{where}.patch: is {budget['patch']}; this network takes multiples of {multiple}")
    if budget.get("energy") and budget["patch"] < LEAST_ENERGY_PATCH:
        raise UserError(
            f"{where}.patch: is {budget['patch']}; the energy score needs {LEAST_ENERGY_PATCH} pixels or more, or"
            " energy: 0"
        )


def _seen(downscaler: Mapping[str, Any]) -> dict[str, Any]:
    """What training sees of a downscaler. Of a folder of LR images that is nothing: it has those of the test images."""
    if downscaler["method"] == "folder":
        return {"stage": "downscale", "name": downscaler["name"], "method": "folder"}
    return dict(downscaler)


def _lr(
    adaptation: Adaptation, downscaler: Mapping[str, Any], files: Mapping[str, str], factor: int, where: str
) -> dict[str, Any]:
    name = str(downscaler["name"])
    if adaptation.lr is None:
        raise UserError(
            f"{where}.lr: is missing: downscaler {name} is a folder of LR images, so those of the training photographs"
            " must be made elsewhere too; name their folder, such as lr: my_training_lr/{downscaler}/x{factor}, or"
            " leave the downscaler out"
        )
    path = adaptation.lr.replace("{downscaler}", name).replace("{factor}", str(factor))
    folder, images = Path(path).expanduser(), Path(adaptation.images).expanduser()
    return {"path": path, "files": with_lr(files, folder, images, factor, where=where)}


def decides(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recipe that decides the weights."""
    found = {key: value for key, value in identity(recipe).items() if key not in (*NOT_DECIDING, "base")}
    found["downscaler"] = identity(recipe["downscaler"])
    for key in ("images", "lr"):
        if key in recipe:  # by content, whatever the files are called: but pairs go by name
            found[key] = recipe[key]["files"]
    return found

"""The recipe of a downscaler and factor."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.recipes import SCHEMA, found_recipe, stated_recipe, used_weights, user_files

__all__ = ["downscale_recipe", "skipped_recipe", "stated"]


def stated(name: str, entry: Mapping[str, Any], factor: int, seed: int) -> tuple[dict[str, Any], OpenedMethod]:
    """What an entry of ``downscalers`` alone decides of its recipe, and the method; no file is opened."""
    begun = method_recipe("downscale", name, {key: value for key, value in entry.items() if key != "degrade"})
    method = open_method(begun)
    recipe = stated_recipe(begun, method) | {"factor": factor}
    if "degrade" in entry:
        degrade = importlib.import_module("ida_rd.downscale.degrade")
        recipe["degrade"] = degrade.check_steps(entry["degrade"], where=f"downscalers.{name}.degrade")
    if getattr(method.module, "RANDOM", False) or recipe.get("degrade"):
        recipe["seed"] = seed
    return recipe, method


def downscale_recipe(
    name: str, entry: Mapping[str, Any], factor: int, seed: int, *, download: bool
) -> tuple[dict[str, Any], str]:
    """Check an entry of ``downscalers`` and make its recipe.

    Returns
    -------
    recipe : dict
    licence : str
        Terms of its weights; empty if it has none.

    Raises
    ------
    UserError
        What is wrong with the entry.
    MissingSoftware, MissingWeights
        What it needs is missing.
    """
    recipe, method = stated(name, entry, factor, seed)
    recipe |= found_recipe(method, "ida_rd.downscale.work") | {"files": user_files(method, factor)}
    licence = ""
    if hasattr(method.module, "describe"):
        descriptor = method.module.describe(method.parameters)
        licence = descriptor.licence
        if descriptor.weights:
            recipe["weights"] = used_weights(descriptor.weights, download=download)
    if "degrade" in recipe:
        recipe["code"] |= code_hashes("ida_rd.downscale.degrade")
    return recipe, licence


def skipped_recipe(name: str, reason: str) -> dict[str, Any]:
    """The recipe of a downscaler that cannot run: its stages pass on the reason."""
    return {"schema": SCHEMA, "stage": "downscale", "name": name, "skipped": reason}

"""The recipe of a downscaler and factor."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.methods import method_recipe, open_method
from ida_rd.core.recipes import SCHEMA, described_recipe, used_weights, user_files

__all__ = ["downscale_recipe", "skipped_recipe"]


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
    begun = method_recipe("downscale", name, {key: value for key, value in entry.items() if key != "degrade"})
    method = open_method(begun)
    recipe = described_recipe(begun, method, "ida_rd.downscale.work")
    recipe |= {"factor": factor, "files": user_files(method, factor)}
    licence = ""
    if hasattr(method.module, "describe"):
        descriptor = method.module.describe(method.parameters)
        licence = descriptor.licence
        if descriptor.weights:
            recipe["weights"] = used_weights(descriptor.weights, download=download)
    if "degrade" in entry:
        degrade = importlib.import_module("ida_rd.downscale.degrade")
        assert degrade.__file__ is not None
        recipe["degrade"] = degrade.check_steps(entry["degrade"], where=f"downscalers.{name}.degrade")
        recipe["code"] |= code_hashes(Path(degrade.__file__))
    if getattr(method.module, "RANDOM", False) or recipe.get("degrade"):
        recipe["seed"] = seed
    return recipe, licence


def skipped_recipe(name: str, reason: str) -> dict[str, Any]:
    """The recipe of a downscaler that cannot run: its stages pass on the reason."""
    return {"schema": SCHEMA, "stage": "downscale", "name": name, "skipped": reason}

"""Recipes: what ``plan`` decided and every other stage obeys.

A recipe is a small JSON file with all that decides a stage's result, apart from the images: the
checked parameters, the hashes of the code, of the weights and of the user's own files. Stages
depend on their recipe alone, so that DVC reruns just the branches whose recipe changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.files import read_json

__all__ = ["PLAN", "SCHEMA", "read_recipe"]

PLAN = Path("data") / "plan"
SCHEMA = 1


def read_recipe(*parts: str) -> dict[str, Any]:
    """Read ``data/plan/<parts>.json``, e.g. ``read_recipe("downscale", "x4", "bicubic")``."""
    path = PLAN.joinpath(*parts[:-1], parts[-1] + ".json")
    recipe = read_json(path, hint="run `dvc repro plan` first")
    if recipe.get("schema") != SCHEMA:
        raise UserError(f"{path} is of another version of this program: run `dvc repro plan`")
    return recipe

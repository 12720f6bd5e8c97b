"""The recipe of the choice of the test set."""

from __future__ import annotations

from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.recipes import SCHEMA

__all__ = ["balance_recipe"]


def balance_recipe(
    balance: dict[str, Any], path: str | None, multiple: int, seed: int, *, photograph_before: str | None
) -> dict[str, Any]:
    """Make it from section ``balance``, the images' folder, the least common multiple of the factors and the seed.

    ``photograph_before`` says which files are tiles of one photograph; see `ida_rd.core.candidates.photograph_of`.
    """
    return {
        "schema": SCHEMA,
        "code": code_hashes("ida_rd.balance.stage"),
        "images": {"path": path, "multiple": multiple, "photograph_before": photograph_before},
        "seed": seed,
        **balance,
    }

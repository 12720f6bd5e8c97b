"""The recipe of the choice of the test set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.recipes import SCHEMA

__all__ = ["balance_recipe"]


def balance_recipe(balance: dict[str, Any], images: Mapping[str, Any], multiple: int, seed: int) -> dict[str, Any]:
    """Make it from the sections ``balance`` and ``images``, the least common multiple of the factors and the seed.

    ``photograph_before`` says which files are tiles of one photograph; see `ida_rd.core.candidates.photograph_of`.
    """
    kept = ("path", "photograph_before", "resize", "resize_filter")
    return {
        "schema": SCHEMA,
        "code": code_hashes("ida_rd.balance.stage"),
        "images": {"multiple": multiple} | {key: images[key] for key in kept if key in images},
        "seed": seed,
        **balance,
    }

"""The recipe of the aggregation: which branches there are, and all that a reader must know about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ida_rd.core.code import code_hashes
from ida_rd.core.recipes import SCHEMA

__all__ = ["aggregate_recipe"]


def aggregate_recipe(
    settings: Mapping[str, Any],
    *,
    branches: list[dict[str, Any]],
    upscalers: dict[str, dict[str, Any]],
    distortions: dict[str, dict[str, Any]],
    skipped: dict[str, str],
    methods: dict[str, dict[str, Any]],
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Make it.

    Parameters
    ----------
    settings : mapping
        ``seed``, ``confidence``, ``resamples``; ``primary``, the distortion that is the primary outcome, whether or not
        it could be computed.
    branches : list of dict
        From `ida_rd.core.project.Branch.record`.
    upscalers : dict
        ``x4/<name>`` to what is known about it: its descriptor's fields, and ``marks``.
    distortions : dict
        Name to its descriptor's fields, in the order of tables: the first leads.
    skipped : dict
        What cannot run, and why.
    methods : dict
        Recipes of all methods, by their path.
    data : mapping
        ``images``, ``attributes``, ``balance``: where the images come from.
    """
    return {
        "schema": SCHEMA,
        "code": code_hashes("ida_rd.aggregate.stage"),
        "branches": branches,
        "upscalers": upscalers,
        "distortions": distortions,
        "distortion_order": list(distortions),
        "skipped": skipped,
        "recipes": methods,
        **data,
        **settings,
    }

"""What upscalers say of their own samples, in a bundle: ``own_columns.csv``, from which its table follows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ida_rd.aggregate.own import OWN_ROW, own_problem
from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.schema import Results
from ida_rd.core.own import KINDS

__all__ = ["OWN", "own_columns_of", "published_own_rows"]

OWN = "own_columns.csv"  # not there in bundles of before
MOST = 20  # columns of an upscaler
KEY = ["upscaler", "factor", "downscaler"]


def own_columns_of(recipe: dict[str, Any]) -> bool:
    """Whether any upscaler of ``recipes/aggregate.json`` declares a column."""
    return any(isinstance(known, dict) and known.get("columns") for known in recipe.get("upscalers", {}).values())


def published_own_rows(
    bundle: Bundle, results: Results, recipe: dict[str, Any], images: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows, and what is wrong with them: every declared column of every sample, once, with values that it may have.

    Parameters
    ----------
    bundle : Bundle
    results : Results
    recipe : dict
        ``recipes/aggregate.json``.
    images : list of str
        Ids of the test set.
    """
    rows = bundle.table(OWN)
    if list(rows.columns) != list(OWN_ROW):
        return rows, [f"{OWN}: its columns are not {', '.join(OWN_ROW)}"]
    groups = dict(iter(rows.groupby([*KEY, "column"], sort=False)))
    expected = set()
    for record in results.branches:
        branch, known = record.branch, recipe["upscalers"][f"x{record.factor}/{record.upscaler}"]
        declared = known.get("columns") or {}
        if len(declared) > MOST:
            return rows, [f"recipes/aggregate.json: {branch.upscaler} declares more than {MOST} columns"]
        samples = {(image, k) for image in images for k in range(record.samples)}
        for name, column in declared.items():
            where = f"{OWN}: {branch.title}: {name}"
            key = (branch.upscaler, branch.factor, branch.downscaler, name)
            expected.add(key)
            of = groups.get(key)
            if column["kind"] not in KINDS:
                return rows, [f"recipes/aggregate.json: {branch.upscaler}: {name} is neither a share nor a mean"]
            if of is None or len(of) != len(samples) or set(zip(of.image_id, of["sample"], strict=True)) != samples:
                return rows, [f"{where}: is not there for every sample, once"]
            if of["value"].dtype.kind not in "bif":
                return rows, [f"{where}: holds something else than numbers"]
            if problem := own_problem(of, column["kind"]):
                return rows, [f"{where}: {problem}"]
    if odd := [key for key in groups if key not in expected]:
        return rows, [f"{OWN}: has rows of {odd[0][3]} of {odd[0][0]}, which no upscaler declares"]
    return rows, []

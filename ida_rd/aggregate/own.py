"""What upscalers say of their own samples, beside the scores: which share converged, how large a residual is.

It ranks nothing. A score is of all samples; where an upscaler that searches did not reach what it searched for, a part
of the score is its own failure, and no loss of the downscaler.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.statistics import Photographs, by_photograph, mean_interval
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.own import own_cells, own_notes
from ida_rd.core.project import Branch
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import markdown_table

__all__ = ["OWN_ROW", "own_markdown", "own_problem", "own_rows", "own_table", "write_own_tables"]

OWN_ROW = ("upscaler", "factor", "downscaler", "image_id", "sample", "column", "value")
COLUMNS = ("upscaler", "factor", "downscaler", "column", "kind", "photographs", "images", "samples", "value", "low",
           "high")  # fmt: skip


def _columns(recipe: dict[str, Any], branch: Branch) -> dict[str, Any]:
    return recipe["upscalers"][f"x{branch.factor}/{branch.upscaler}"].get("columns", {})


def own_rows(folder: Path, recipe: dict[str, Any]) -> pd.DataFrame:
    """One row per branch, image, sample and column that the upscalers declare; columns `OWN_ROW`.

    Parameters
    ----------
    folder : Path
        ``data/sr``.
    recipe : dict
        ``data/plan/aggregate.json``.

    Raises
    ------
    UserError
        A table of samples lacks such a column, or has values that it cannot have.
    """
    found = []
    for branch in map(Branch.of, recipe["branches"]):
        declared = _columns(recipe, branch)
        if not declared:
            continue
        path = folder / branch.path / "samples.csv"
        table = read_table(path, hint="run `dvc repro upscale`")
        for name, column in declared.items():
            if name not in table:
                raise UserError(f"{path}: has no column {name}, which its upscaler declares: run `dvc repro upscale`")
            if table[name].dtype.kind not in "bif":
                raise UserError(f"{path}: {name} holds something else than numbers: its upscaler must give them")
            rows = pd.DataFrame({"image_id": table.image_id, "sample": table["sample"]})
            rows = rows.assign(column=name, value=table[name].astype(float))
            if problem := own_problem(rows, column["kind"]):
                raise UserError(f"{path}: {name}: {problem}: its upscaler must give other values")
            found.append(rows.assign(upscaler=branch.upscaler, factor=branch.factor, downscaler=branch.downscaler))
    if not found:
        return pd.DataFrame(columns=list(OWN_ROW))
    return pd.concat(found, ignore_index=True)[list(OWN_ROW)]


def own_problem(rows: pd.DataFrame, kind: str) -> str | None:
    """What is wrong with the values of a column of a branch."""
    values = rows["value"].to_numpy(float)
    if not np.isfinite(values).all():
        return "a sample has none, or one that is not finite"
    return "is neither True nor False everywhere" if kind == "share" and not np.isin(values, (0, 1)).all() else None


def own_table(rows: pd.DataFrame, photographs: Photographs, recipe: dict[str, Any]) -> pd.DataFrame:
    """Means over photographs of means over their images of means over samples, with intervals over photographs.

    Parameters
    ----------
    rows : DataFrame
        From `own_rows`.
    photographs : mapping
        Image id to photograph.
    recipe : dict
        ``data/plan/aggregate.json``.

    Returns
    -------
    DataFrame
        One row per branch and column: kind, photographs, images, samples (of an image), value, low, high.
    """
    found = []
    for branch in map(Branch.of, recipe["branches"]):
        of = rows[
            (rows.upscaler == branch.upscaler) & (rows.factor == branch.factor) & (rows.downscaler == branch.downscaler)
        ]
        for name, column in _columns(recipe, branch).items():
            mine = of[of["column"] == name]
            values = by_photograph(mine.groupby("image_id").value.mean(), photographs)
            low, high = mean_interval(values.to_numpy(np.float64), recipe["confidence"])
            if column["kind"] == "share" and low is not None and high is not None:
                low, high = max(low, 0.0), min(high, 1.0)
            found.append(
                {"upscaler": branch.upscaler, "factor": branch.factor, "downscaler": branch.downscaler, "column": name,
                 "kind": column["kind"], "photographs": len(values), "images": mine.image_id.nunique(),
                 "samples": int(mine.groupby("image_id").size().max()), "value": float(values.mean()), "low": low,
                 "high": high}
            )  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS))


def own_markdown(table: pd.DataFrame, upscalers: dict[str, Any]) -> str:
    """Set it: one row per branch, one column per column that any upscaler has."""
    heads, rows = own_cells(table, upscalers)
    lines = [
        *markdown_table(heads, rows),
        "",
        "What the upscalers say of their own samples, means over photographs.",
        "",
    ]
    lines += [
        "It ranks nothing. The scores are of all samples: where fewer were reached, a part of the score is the"
        " upscaler's own failure, and not what the downscaler lost.",
        "",
        *own_notes(upscalers),
    ]
    return "\n".join(lines) + "\n"


def write_own_tables(folder: Path, rows: pd.DataFrame, photographs: Photographs, recipe: dict[str, Any]) -> None:
    """Write ``own_columns.csv`` and ``own_columns.md`` into `folder`, if any upscaler declares a column.

    Parameters
    ----------
    folder : Path
    rows, photographs, recipe
        As for `own_table`.
    """
    if not len(rows):
        return
    table = own_table(rows, photographs, recipe)
    write_table(folder / "own_columns.csv", table)
    write_text(folder / "own_columns.md", own_markdown(table, recipe["upscalers"]))

"""What upscalers say of their own samples, and how it is shown.

A column is a ``share`` (of the samples that something is true of) or a ``mean`` (of a number).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ida_rd.core.tables import marked_name
from ida_rd.core.typeset import share

__all__ = ["KINDS", "own_cells", "own_notes"]

KINDS = ("share", "mean")
Upscalers = Mapping[str, Mapping[str, Any]]


def own_cells(table: pd.DataFrame, upscalers: Upscalers) -> tuple[list[str], list[list[str]]]:
    """Heads, and one row of text per branch: upscaler, factor, downscaler, and a cell per column.

    Parameters
    ----------
    table : DataFrame
        ``own_columns.csv``.
    upscalers : mapping
        ``x4/<name>`` to what is known about it, of recipes: ``marks``, and ``columns`` where it has any.
    """
    labels: dict[tuple[str, str], str] = {}  # two upscalers may mean different things by one name
    rows: dict[tuple[str, int, str], dict[str, str]] = {}
    for row in table.to_dict("records"):
        key = (str(row["upscaler"]), int(row["factor"]), str(row["downscaler"]))
        label = upscalers[f"x{key[1]}/{key[0]}"]["columns"][row["column"]]["label"]
        labels[str(row["column"]), label] = label
        value = float(row["value"])
        rows.setdefault(key, {})[label] = share(value) if row["kind"] == "share" else f"{value:.3g}"
    heads = list(dict.fromkeys(labels.values()))
    found = []
    for (upscaler, factor, downscaler), cells in rows.items():
        name = marked_name(upscaler, ", ".join(upscalers[f"x{factor}/{upscaler}"]["marks"]))
        found.append([name, f"x{factor}", downscaler, *(cells.get(head, "") for head in heads)])
    return ["upscaler", "factor", "downscaler", *heads], found


def own_notes(upscalers: Upscalers) -> list[str]:
    """What the columns are, a sentence each."""
    told = {
        f"{column['label']}: {column['text']}."
        for known in upscalers.values()
        for column in known.get("columns", {}).values()
    }
    return sorted(told)

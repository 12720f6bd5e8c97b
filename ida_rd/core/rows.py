"""Tables as plain rows: the same bytes as `ida_rd.core.tables`, without pandas, which takes long to import."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.foreign import decoding
from ida_rd.core.names import cell_problem
from ida_rd.core.readers import read_content

__all__ = ["failed_column", "read_rows", "spread_column", "write_rows"]

LIMIT = 256 * 1024 * 1024
Row = Mapping[str, Any]


def spread_column(distortion: str) -> str:
    """Column of a sample's mean distance to the other samples of its image; no method's name has a colon."""
    return f"{distortion}:spread"


def failed_column(distortion: str) -> str:
    """Column of what a black image would score, for images that have a sample whose first draw was not finite."""
    return f"{distortion}:failed"


def read_rows(path: Path, columns: Sequence[str], *, hint: str) -> list[dict[str, str]]:
    """Read some columns of a CSV table that this program wrote, as text; `hint` says what to do if it is broken.

    Raises
    ------
    UserError
        It is missing, is no such table, or lacks a column.
    """
    data = read_content(path, hint=hint, limit=LIMIT)
    with decoding(f"{path} is not a CSV table", hint):
        table = csv.DictReader(io.StringIO(data.decode(), newline=""))
        head = table.fieldnames or []
        if missing := [name for name in columns if name not in head]:
            raise ValueError(f"it has no column {missing[0]}")
        rows = []
        for row in table:
            if None in row or any(row[name] is None for name in columns):
                raise ValueError(f"line {table.line_num} has another number of cells than its head")
            rows.append({name: row[name] for name in columns})
        return rows


def write_rows(path: Path | str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows as CSV, atomically; floats in full (they read back to the same bits).

    Parameters
    ----------
    path : Path or str
    columns : sequence of str
    rows : iterable of mapping
        A value that is absent, None or NaN is an empty cell; the whole numbers of a column that has one are written
        as floats, as pandas does.

    Raises
    ------
    UserError
        A cell that a spreadsheet would take for a formula, or has control characters.
    """
    rows = list(rows)
    cells = {name: _cells(path, name, [row.get(name) for row in rows]) for name in columns}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*cells.values(), strict=True))
    write_text(path, text.getvalue())


def _cells(path: Path | str, name: str, values: list[Any]) -> list[str]:
    if problem := cell_problem(name):
        raise UserError(f"{path}: the name of the column {name!r} {problem}: rename it")
    absent = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
    given = [value for value, empty in zip(values, absent, strict=True) if not empty]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    floats = numbers and (any(absent) or any(isinstance(value, float) for value in given))
    for value in dict.fromkeys(given):
        if isinstance(value, str) and (problem := cell_problem(value)):
            raise UserError(f"{path}: in column {name!r}, {value[:60]!r} {problem}: rename it")
    return [
        "" if empty else repr(float(value)) if floats else str(value)
        for value, empty in zip(values, absent, strict=True)
    ]

"""CSV tables: names stay text, only an empty field is a missing number."""

from __future__ import annotations

import csv
import io
import warnings
from itertools import islice
from pathlib import Path

import pandas as pd

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.foreign import MEBIBYTE, decoding
from ida_rd.core.names import cell_problem
from ida_rd.core.readers import read_content
from ida_rd.core.rows import failed_column, spread_column

__all__ = ["CELLS", "TEXT", "failed_column", "marked_name", "parse_table", "read_table", "spread_column", "write_table"]

# An image may be called "001", and a downscaler "nan": pandas would make numbers of them.
TEXT = ("image_id", "photograph", "file", "upscaler", "downscaler", "distortion", "loses_less", "loses_more", "marks")
CSV_LIMIT = 256 * MEBIBYTE
COLUMNS = 10_000
CELLS = 50_000_000
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
FOREIGN = {
    b"PK\3\4": "an Excel or OpenDocument file, or another archive",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "compressed",
}


def marked_name(upscaler: str, marks: object) -> str:
    """An upscaler's name as tables and figures show it: with what a reader must know about it (column ``marks``)."""
    return f"{upscaler} ({marks})" if isinstance(marks, str) and marks else upscaler


def read_table(path: Path | str, *, hint: str, limit: int = CSV_LIMIT) -> pd.DataFrame:
    """Read a CSV table of at most `limit` bytes; `hint` says what to do if it is missing or broken."""
    return parse_table(read_content(path, hint=hint, limit=limit), str(path), hint)


def parse_table(data: bytes, what: str, hint: str = "") -> pd.DataFrame:
    """Decode a CSV table, UTF-8. Nothing is decompressed.

    Parameters
    ----------
    data : bytes
    what : str
        What it is, for messages: the path.
    hint : str
        What to do.

    Raises
    ------
    UserError
        It is not a CSV table, two columns have one name, rows are longer than the head, or it has more than `COLUMNS`
        columns or `CELLS` cells.
    """
    with decoding(f"{what} is not a CSV table", hint):
        try:
            text = [name for name in _checked_head(data) if name.strip() in TEXT]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they name columns, and have no line of their own
                return pd.read_csv(
                    io.BytesIO(data),
                    dtype=dict.fromkeys(text, str),
                    keep_default_na=False,
                    na_values=[""],
                    compression=None,
                )
        except UnicodeDecodeError as error:
            raise ValueError(f"it is not in UTF-8, as which it should be saved: {error}") from None


def _checked_head(data: bytes) -> list[str]:
    """Names of the columns; refuse what would cost memory, or be read otherwise than it is written."""
    for start, what in FOREIGN.items():
        if data.startswith(start):
            raise ValueError(f"it is {what}: save it as CSV, in UTF-8")
    if b"\0" in data:
        raise ValueError("it holds zero bytes")
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    rows = list(islice((row for row in csv.reader(text) if row), 2))
    if not rows:
        raise ValueError("it is empty")
    head = rows[0]
    if len(head) == 1 and (odd := next((c for c in SEPARATORS if c in head[0]), None)):
        name = SEPARATORS[odd]
        raise ValueError(f"its cells are separated by {name}: separate them by commas, and write 1.5 instead of 1,5")
    if len(head) > COLUMNS:
        raise ValueError(f"it has {len(head):,} columns, more than the {COLUMNS:,} that are read")
    seen: set[str] = set()
    for name in head:
        if name and name in seen:
            raise ValueError(f"two columns are called {name!r}")
        seen.add(name)
    if len(rows) > 1 and len(rows[1]) > len(head):
        raise ValueError(f"its rows have {len(rows[1]):,} cells, its head has {len(head):,}")
    lines = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n") + 1
    # Even an empty cell takes a byte, unless rows end early.
    if lines * len(head) > min(CELLS, max(MEBIBYTE, 2 * len(data))):
        raise ValueError(f"{lines:,} rows of {len(head):,} columns are too many, or most of them end early")
    return head


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; floats in full (they read back to the same bits).

    Raises
    ------
    UserError
        A cell that a spreadsheet would take for a formula, or has control characters.
    """
    _check_cells(path, table)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _check_cells(path: Path | str, table: pd.DataFrame) -> None:
    for name in table.columns:
        if problem := cell_problem(str(name)):
            raise UserError(f"{path}: the name of the column {name!r} {problem}: rename it")
        if pd.api.types.is_numeric_dtype(table[name]):
            continue
        for cell in table[name].drop_duplicates():
            if isinstance(cell, str) and (problem := cell_problem(cell)):
                raise UserError(f"{path}: in column {name!r}, {cell[:60]!r} {problem}: rename it")

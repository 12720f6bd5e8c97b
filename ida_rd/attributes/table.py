"""The user's own attributes: a CSV or Parquet table with a column ``image_id``, numbers or labels in the others."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field, field_validator

from ida_rd.attributes.columns import clean_columns, clean_text
from ida_rd.core.errors import UserError, did_you_mean, printable
from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.tables import CELLS, COLUMNS, read_table

__all__ = ["Parameters", "files", "lookup", "names"]

HARMLESS = ("columns",)
HINT = "correct attributes.table.path"
LARGEST = 1e100  # squares of attributes are summed
INDEX = re.compile(r"(Unnamed: \d+(\.\d+)?|__index_level_\d+__)?")  # what pandas calls a column without a name


class Parameters(Base):
    """Parameters of `lookup`."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="CSV or Parquet file with a column image_id, numbers or labels in the others",
    )
    columns: Annotated[list[str], Field(max_length=COLUMNS)] | None = Field(
        default=None,
        description="columns to take, each with those that belong to it, such as age:probability; null: all",
    )

    @field_validator("columns")
    @classmethod
    def _some(cls, columns: list[str] | None) -> list[str] | None:
        if columns is not None and not columns:
            raise ValueError("name at least one column, or leave the key out")
        return columns and [clean_text(name) for name in columns]


def names(parameters: Parameters) -> tuple[str, ...] | None:
    """What this source provides; None: whatever is in the table."""
    return None if parameters.columns is None else tuple(parameters.columns)


def files(parameters: Parameters) -> list[Path]:
    """The table: its content is part of the recipe."""
    path = Path(parameters.path).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a CSV or Parquet file: {HINT}")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return [path]


def lookup(parameters: Parameters) -> pd.DataFrame:
    """Read the table, indexed by image id.

    Ids, labels and names of columns lose the blanks around them, and are in Unicode's normal form NFC. A column without
    a name, as pandas writes of its index, is left out with a line.

    Raises
    ------
    UserError
        No column image_id, no such column, an image with two rows or a row without an image, a number without bound or
        in a form that is not read, or not a table.
    """
    path = Path(parameters.path).expanduser()
    if path.suffix.lower() in (".parquet", ".pq"):
        known, read = _parquet(path)
    else:
        whole = read_table(path, hint=HINT)
        known, read = list(whole.columns), lambda names: whole[[*names]].copy()
    columns = _named(path, known)
    if "image_id" not in columns:
        raise UserError(f"{path}: has no column image_id (it has {', '.join(list(columns)[:20])})")
    # What belongs to a column comes with it, such as how sure its label is: `balance.least_probability` asks for that.
    chosen = frozenset(parameters.columns or ())
    beside = [name for name in columns if name not in chosen and name.split(":")[0] in chosen]
    wanted = [*(parameters.columns or (name for name in columns if name != "image_id")), *beside]
    for name in wanted:
        if name not in columns:
            raise UserError(f"attributes.table.columns: {path} has no column {name!r}; {did_you_mean(name, columns)}")
    if not wanted:
        raise UserError(f"{path}: has no attribute column besides image_id")
    table = read([columns["image_id"], *(columns[name] for name in wanted)])
    table.columns = pd.Index(["image_id", *wanted])
    table = clean_columns(path, _by_image(path, table))
    for name, column in table.select_dtypes("number").items():
        if (odd := column.abs() > LARGEST).any():
            raise UserError(f"{path}: {name} of {odd.idxmax()} is {column[odd.idxmax()]}, too large for an attribute")
    return table


def _named(path: Path, known: Sequence[str]) -> dict[str, str]:
    """The columns by their clean names; those without one are said and left out."""
    columns: dict[str, str] = {}
    for name in known:
        if INDEX.fullmatch(name):
            continue
        if clean_text(name) in columns:
            raise UserError(f"{path}: two columns are called {clean_text(name)!r}: rename one")
        columns[clean_text(name)] = name
    if nameless := [name or "''" for name in known if INDEX.fullmatch(name)]:
        print(
            f"warning: attributes.table: {printable(str(path))}: what has no name is no attribute and left out:"
            f" {', '.join(nameless[:5])}{', ...' if len(nameless) > 5 else ''}",
            file=sys.stderr,
        )
    return columns


def _by_image(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Rows by image id, each once."""
    table = table[table.notna().any(axis=1)]  # a spreadsheet writes rows of empty cells at its end
    if not len(table):
        raise UserError(f"{path}: has no rows besides its head")
    ids = table.image_id.map(lambda name: clean_text(str(name)), na_action="ignore")
    if lost := int((ids.isna() | (ids == "")).sum()):
        raise UserError(f"{path}: {lost} of {len(table)} rows have no image_id: fill it in, or remove them")
    doubles = ids[ids.duplicated()]
    if len(doubles):
        first = doubles.iloc[0]
        raise UserError(f"{path}: {first} has {int((ids == first).sum())} rows; keep one")
    return table.drop(columns="image_id").set_index(pd.Index(ids, name="image_id"))


def _parquet(path: Path) -> tuple[list[str], Callable[[Sequence[str]], pd.DataFrame]]:
    """Names of the columns of a Parquet table, and what reads some of them beside ``image_id``."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(f"{path}: Parquet needs the package pyarrow: pip install pyarrow, or save it as CSV") from None
    guard = f"{path} is not a Parquet table"
    with decoding(guard, HINT):
        file = parquet.ParquetFile(path)
        names, rows = list(file.schema_arrow.names), int(file.metadata.num_rows)
        if len(names) > COLUMNS or len(set(names)) != len(names):
            raise ValueError(f"it has {len(names):,} columns, {len(set(names)):,} of them with a name of their own")

    def read(columns: Sequence[str]) -> pd.DataFrame:
        with decoding(guard, HINT):
            if rows * len(columns) > CELLS:
                raise ValueError(f"{rows:,} rows of {len(columns):,} columns are more than {CELLS:,} cells")
            table = file.read(columns=list(columns)).to_pandas()
        return (table.reset_index() if table.index.name == columns[0] else table)[list(columns)]

    return names, read

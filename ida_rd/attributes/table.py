"""The user's own attributes: a CSV or Parquet table with a column ``image_id``, numbers or labels in the others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.foreign import decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.tables import CELLS, COLUMNS, read_table

__all__ = ["Parameters", "files", "lookup", "names"]

HARMLESS = ("columns",)
HINT = "correct attributes.table.path"
LARGEST = 1e100  # squares of attributes are summed


class Parameters(Base):
    """Parameters of `lookup`."""

    path: str = Field(
        min_length=1,
        max_length=4096,
        description="CSV or Parquet file with a column image_id, numbers or labels in the others",
    )
    columns: Annotated[list[str], Field(max_length=COLUMNS)] | None = Field(
        default=None, description="columns to take; null: all"
    )

    @field_validator("columns")
    @classmethod
    def _some(cls, columns: list[str] | None) -> list[str] | None:
        if columns is not None and not columns:
            raise ValueError("name at least one column, or leave the key out")
        return columns


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

    Raises
    ------
    UserError
        No column image_id, no such column, an image with two rows, a number without bound, or not a table.
    """
    path = Path(parameters.path).expanduser()
    if path.suffix.lower() in (".parquet", ".pq"):
        known, read = _parquet(path)
    else:
        whole = read_table(path, hint=HINT)
        known, read = list(whole.columns), lambda names: whole[["image_id", *names]].copy()
    if "image_id" not in known:
        raise UserError(f"{path}: has no column image_id (it has {', '.join(known[:20])})")
    wanted = parameters.columns or [name for name in known if name != "image_id"]
    for name in wanted:
        if name not in known:
            raise UserError(f"attributes.table.columns: {path} has no column {name!r}; {did_you_mean(name, known)}")
    if not wanted:
        raise UserError(f"{path}: has no attribute column besides image_id")
    table = read(wanted)
    table["image_id"] = table.image_id.map(str)
    doubles = table.image_id[table.image_id.duplicated()]
    if len(doubles):
        first = doubles.iloc[0]
        raise UserError(f"{path}: {first} has {int((table.image_id == first).sum())} rows; keep one")
    table = table.set_index("image_id")[wanted]
    for name, column in table.select_dtypes("number").items():
        if (odd := column.abs() > LARGEST).any():
            raise UserError(f"{path}: {name} of {odd.idxmax()} is {column[odd.idxmax()]}, too large for an attribute")
    return table


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

    def read(wanted: Sequence[str]) -> pd.DataFrame:
        columns = ["image_id", *wanted]
        with decoding(guard, HINT):
            if rows * len(columns) > CELLS:
                raise ValueError(f"{rows:,} rows of {len(columns):,} columns are more than {CELLS:,} cells")
            table = file.read(columns=columns).to_pandas()
        return table.reset_index() if table.index.name == "image_id" else table

    return names, read

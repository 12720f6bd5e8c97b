"""The user's own attributes: a CSV or Parquet table with a column ``image_id``, numbers or labels in the others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.tables import read_table

__all__ = ["Parameters", "files", "lookup", "names"]

HARMLESS = ("columns",)


class Parameters(Base):
    """Parameters of `lookup`."""

    path: str = Field(description="CSV or Parquet file with a column image_id, numbers or labels in the others")
    columns: list[str] | None = Field(default=None, description="columns to take; null: all")

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
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    return [path]


def lookup(parameters: Parameters) -> pd.DataFrame:
    """Read the table, indexed by image id.

    Raises
    ------
    UserError
        No column image_id, no such column, an image with two rows, or not a table.
    """
    path = Path(parameters.path).expanduser()
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            table = pd.read_parquet(path)
        except ImportError:
            raise UserError(
                f"{path}: Parquet needs the package pyarrow: pip install pyarrow, or save it as CSV"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not a Parquet table ({' '.join(str(error).split())})") from None
    else:
        table = read_table(path, hint="correct attributes.table.path")
    if "image_id" not in table:
        raise UserError(f"{path}: has no column image_id (it has {', '.join(map(str, table.columns))})")
    wanted = parameters.columns or [name for name in table.columns if name != "image_id"]
    for name in wanted:
        if name not in table:
            raise UserError(
                f"attributes.table.columns: {path} has no column {name!r}; {did_you_mean(name, table.columns)}"
            )
    if not wanted:
        raise UserError(f"{path}: has no attribute column besides image_id")
    table["image_id"] = table.image_id.map(str)
    doubles = table.image_id[table.image_id.duplicated()]
    if len(doubles):
        first = doubles.iloc[0]
        raise UserError(f"{path}: {first} has {int((table.image_id == first).sum())} rows; keep one")
    return table.set_index("image_id")[wanted]

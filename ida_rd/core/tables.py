"""CSV tables: names stay text, only an empty field is a missing number."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text

__all__ = ["marked_name", "read_table", "spread_column", "write_table"]

# An image may be called "001", and a downscaler "nan": pandas would make numbers of them.
TEXT = ("image_id", "file", "upscaler", "downscaler", "distortion", "loses_less", "loses_more", "marks")


def spread_column(distortion: str) -> str:
    """Column of a sample's mean distance to the other samples of its image; no method's name has a colon."""
    return f"{distortion}:spread"


def marked_name(upscaler: str, marks: object) -> str:
    """An upscaler's name as tables and figures show it: with what a reader must know about it (column ``marks``)."""
    return f"{upscaler} ({marks})" if isinstance(marks, str) and marks else upscaler


def read_table(path: Path | str, *, hint: str) -> pd.DataFrame:
    """Read a CSV table; `hint` says what to do if it is missing or broken."""
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {hint}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV table ({' '.join(str(error).split())}): {hint}") from None


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; floats in full (they read back to the same bits)."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))

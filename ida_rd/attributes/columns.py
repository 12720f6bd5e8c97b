"""Columns of a table that somebody wrote by hand or by another program: which are numbers, and which are labels.

A number that is not read as one would make labels of its whole column, without a word: so what looks like a number and
is none is refused, and a column of both is said.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from ida_rd.core.errors import UserError, printable

__all__ = ["clean_columns", "clean_text"]

NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
# 1,5 and 1.234,5 and 1 234 and 50 % and a minus that is not the keyboard's: numbers to people.
WRITTEN = re.compile(
    r"[$€£¥]?[+\-\u2212\u2013]?[$€£¥]? ?"
    r"(\d*|\d{1,3}([ ,.'_\u2019\u00a0\u202f\u2009]\d{3})+)([.,]\d+)?(e[+-]?\d+)?"
    r"[ \u00a0\u202f]?[%‰$€£¥]?",
    re.ASCII | re.IGNORECASE,
)
ABSENT = {"na", "n/a", "n.a.", "#n/a", "nan", "null"}  # no label either, most likely
MISSING = ABSENT | {"none", "-", "--", "?", ".", "missing", "unknown"}
DOT = "write numbers with a decimal point, without separators of thousands and signs such as %: 1.5, 1234"


def clean_text(text: str) -> str:
    """A name or label as it is compared: in Unicode's normal form NFC, without blanks around it."""
    return unicodedata.normalize("NFC", text).strip()


def clean_columns(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Make numbers or clean labels of every column, and say what is neither.

    Parameters
    ----------
    path : Path
        Of the table, for messages.
    table : DataFrame
        Indexed by image id.

    Raises
    ------
    UserError
        Numbers in a form that is not read, words for missing values among numbers, or cells that are neither numbers
        nor text.
    """
    return pd.DataFrame({name: _column(path, str(name), table[name]) for name in table.columns}, index=table.index)


def _column(path: Path, name: str, column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):  # Booleans are
        return column
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    texts: dict[object, str | float] = {}
    for value in _values(path, name, column):
        texts[value] = clean_text(value if isinstance(value, str) else str(value)) or np.nan
    if all(isinstance(value, bool) for value in texts):  # with gaps, or they were numbers
        return column
    kinds = {text: _kind(text) for text in texts.values() if isinstance(text, str)}
    first = {kind: text for text, kind in reversed(kinds.items())}
    where = f"warning: attributes.table: {printable(str(path))}: {printable(name)}"
    if "text" not in first:
        if "written" in first:
            raise UserError(f"{path}: {name} of {_row(column, texts, first['written'])}: {DOT}")
        if "number" in first and "missing" in first:
            row = _row(column, texts, first["missing"])
            raise UserError(f"{path}: {name} of {row}, no number: leave the cell empty where a value is missing")
        if "missing" not in first:  # with blanks in the cells that are empty, or no value at all
            return column.map(texts).astype(float)
    elif numbers := first.keys() & {"number", "written"}:
        count = sum(kind in numbers for kind in kinds.values())
        print(
            f"{where} is taken as labels: {count} of its {len(kinds)} different values are numbers,"
            f" '{printable(first['text'][:60])}' is none",
            file=sys.stderr,
        )
    if absent := next((text for text in kinds if text.casefold() in ABSENT), None):
        print(
            f"{where}: '{absent}' is taken as a label: leave the cell empty where a value is missing", file=sys.stderr
        )
    return column if all(value == text for value, text in texts.items()) else column.map(texts)


def _values(path: Path, name: str, column: pd.Series) -> list[object]:
    """The different values of a column that is no number's."""
    if pd.api.types.is_string_dtype(column) or column.dtype == object:
        try:
            values = list(column.dropna().unique())
        except TypeError:  # lists, which no set holds
            values = [column.dropna().iloc[0]]
        odd = [value for value in values if not isinstance(value, str | bool | int | float | np.generic)]
        if not odd:
            return values
        kind = type(odd[0]).__name__
    else:
        kind = str(column.dtype)
    raise UserError(f"{path}: {name} is neither numbers nor text, but {kind}: save it as one of these")


def _kind(text: str) -> str:
    if NUMBER.fullmatch(text):
        return "number"
    if text.casefold() in MISSING:
        return "missing"
    return "written" if WRITTEN.fullmatch(text) and any(c.isdigit() for c in text) else "text"


def _row(column: pd.Series, texts: dict[object, str | float], text: str) -> str:
    """The first row with this text, in words."""
    return f"{column.index[int((column.map(texts) == text).to_numpy().argmax())]} is {text[:60]!r}"

"""Tables without pandas: the bytes that pandas would write, and what it would read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.core.errors import UserError
from ida_rd.core.rows import read_rows, write_rows
from ida_rd.core.tables import read_table, write_table

NAMES = st.text(st.sampled_from("ab1,\"' é.\n"), min_size=1, max_size=6).filter(
    lambda t: t.strip() == t and "\n" not in t
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COLUMNS = {
    "names": NAMES,
    "whole": st.integers(-(2**40), 2**40),
    "flags": st.booleans(),
    "numbers": FLOATS,
    "some numbers": FLOATS | st.none() | st.just(math.nan),
    "some whole": st.integers(0, 9) | st.none(),
    "some names": NAMES | st.none(),
    "no number": st.none(),
}


@given(st.lists(st.fixed_dictionaries(COLUMNS), min_size=1, max_size=6))
def test_the_bytes_are_those_of_pandas(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("rows", numbered=True)
    write_rows(folder / "ours.csv", list(COLUMNS), rows)
    write_table(folder / "theirs.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
    assert (folder / "ours.csv").read_bytes() == (folder / "theirs.csv").read_bytes()
    ours = read_rows(folder / "ours.csv", ["numbers", "names"], hint="")
    assert [float(row["numbers"]) for row in ours] == [row["numbers"] for row in rows]
    assert [row["names"] for row in ours] == [row["names"] for row in rows]


def test_a_column_that_is_not_there_a_short_row_and_a_formula_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="it has no column c"):
        read_rows(path, ["c"], hint="make it")
    for text in ("a,b\n1\n", "a,b\n1,2,3\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="line 2 has another number of cells than its head"):
            read_rows(path, ["a", "b"], hint="make it")
    path.unlink()
    with pytest.raises(UserError, match="make it"):
        read_rows(path, ["a"], hint="make it")
    with pytest.raises(UserError, match="in column 'a'"):
        write_rows(path, ["a"], [{"a": "=1+1"}])
    assert not path.exists()


def test_no_rows_are_a_head(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", ["a", "b"], [])
    assert list(read_table(tmp_path / "t.csv", hint="")) == ["a", "b"]

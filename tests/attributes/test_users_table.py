"""Tables of attributes as people's programs write them: read as they mean it, or refused in a line that says how."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL, stage_here
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.attributes.columns import clean_columns
from ida_rd.attributes.stage import join
from ida_rd.attributes.table import Parameters, lookup
from ida_rd.core.errors import UserError

NFC, NFD = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\u0301"
POINT = "write numbers with a decimal point, without separators of thousands and signs such as %"
EMPTY = "leave the cell empty where a value is missing"
SEMICOLONS = "its cells are separated by semicolons: separate them by commas"

REFUSED = {
    "decimal commas": ('image_id,age\na,2\nb,"1,5"\nc,\n', f"age of b is '1,5': {POINT}"),
    "decimal commas of a semicolon table": ("image_id;age\na;1,5\nb;2,5\n", SEMICOLONS),
    "semicolons": ("image_id;age\na;1\n", SEMICOLONS),
    "quoted semicolons": ('"image_id;age"\n"a;1"\n', SEMICOLONS),
    "Excel's line of the separator": ("sep=;\nimage_id;age\na;1\n", SEMICOLONS),
    "tabs": ("image_id\tage\na\t1\n", "separated by tabs"),
    "thousands": ('image_id,age\na,"1,234"\nb,7\n', f"age of a is '1,234': {POINT}"),
    "thousands and decimals": ('image_id,age\na,"1.234,5"\nb,"3,0"\n', f"'1.234,5': {POINT}"),
    "thousands by blanks": ("image_id,age\na,12 345\n", f"'12 345': {POINT}"),
    "thousands by narrow blanks": ("image_id,age\na,12\u202f345\n", POINT),
    "percent": ("image_id,age\na,12%\nb,5 %\n", f"age of a is '12%': {POINT}"),
    "money": ("image_id,age\na,€5\nb,7\n", POINT),
    "a minus of typesetters": ("image_id,age\na,\u22121\nb,7\n", POINT),
    "missing by a word": ("image_id,age\na,1\nb,NA\n", f"age of b is 'NA', no number: {EMPTY}"),
    "missing by nan": ("image_id,age\na,nan\nb,1.5\n", f"age of a is 'nan', no number: {EMPTY}"),
    "missing by a hyphen": ("image_id,age\na,-\nb,1.5\n", EMPTY),
    "infinite": ("image_id,age\na,1\nb,-inf\n", "age of b is -inf, too large"),
    "infinite beside an empty cell of blanks": ("image_id,age\na, \nb,inf\n", "age of b is inf, too large"),
    "1e400": ("image_id,age\na,1e400\nb,2\n", "age of a is inf, too large"),
    "no rows": ("image_id,age\n", "has no rows besides its head"),
    "rows of empty cells": ("image_id,age\n,\n,\n", "has no rows besides its head"),
    "no id": ("image_id,age\na,1\n,2\n", "1 of 2 rows have no image_id"),
    "blank id": ("image_id,age\na,1\n ,2\n", "1 of 2 rows have no image_id"),
    "ids that differ by blanks": ("image_id,age\na,1\n a,2\n", "a has 2 rows; keep one"),
    "ids that differ by normal form": (f"image_id,age\n{NFC},1\n{NFD},2\n", f"{NFC} has 2 rows; keep one"),
    "columns that differ by blanks": ("image_id,age, age\na,1,2\n", "two columns are called 'age'"),
    "the index alone": (",image_id\n0,a\n", "has no attribute column besides image_id"),
}
BYTES = {
    "Excel": (b"PK\3\4" + bytes(60), "it is an Excel or OpenDocument file"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + bytes(60), "it is an old Excel file"),
    "UTF-16": ("image_id,age\na,1\n".encode("utf-16"), "it is UTF-16 text: save it as CSV, in UTF-8"),
    "Latin-1": ("image_id,age\na,gr\xfcn\n".encode("latin-1"), "it is not in UTF-8, as which it should be saved"),
    "Latin-1, late": (b"image_id,age\n" + b"".join(b"%d,x\n" % i for i in range(9999)) + b"a,\xfc\n", "not in UTF-8"),
}


def _lookup(folder: Path, text: str | bytes, **parameters: list[str]) -> pd.DataFrame:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return lookup(Parameters(path=str(path), **parameters))


@pytest.mark.parametrize("case", [*REFUSED, *BYTES])
def test_what_would_be_read_otherwise_than_it_is_meant_is_refused_with_the_remedy(tmp_path: Path, case: str) -> None:
    text, message = (REFUSED | BYTES)[case]
    with pytest.raises(UserError) as caught:
        _lookup(tmp_path, text)
    assert "t.csv" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


SAID = {
    "pandas' index": (",image_id,age\n0,a,1\n1,b,2\n", {"age": [1, 2]}, "no attribute and left out: Unnamed: 0"),
    "saved twice": ("Unnamed: 0.1,Unnamed: 0,image_id,age\n0,0,a,1\n1,1,b,2\n", {"age": [1, 2]}, "Unnamed: 0.1, Unna"),
    "a comma at the end": ("image_id,age,\na,1,\nb,2,\n", {"age": [1, 2]}, "left out: Unnamed: 2"),
    "numbers and text": (
        "image_id,age\na,1\nb,60+\n",
        {"age": ["1", "60+"]},
        "age is taken as labels: 1 of its 2 different values are numbers, '60+' is none",
    ),
    "decimal commas and text": ('image_id,age\na,"1,5"\nb,old\n', {"age": ["1,5", "old"]}, "'old' is none"),
    "a label that means none": ("image_id,sex\na,f\nb,NA\n", {"sex": ["f", "NA"]}, "'NA' is taken as a label: leave"),
}


@pytest.mark.parametrize("case", SAID)
def test_what_may_not_be_meant_is_said_in_one_line(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, columns, message = SAID[case]
    table = _lookup(tmp_path, text)
    assert {name: list(table[name]) for name in table} == columns
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: attributes.table: ")
    assert message in line


READ = {
    "blanks": (b"image_id , age,sex\n a , 1, female\nb ,2,female \n", {"age": [1, 2], "sex": ["female", "female"]}),
    "byte order mark": (b'\xef\xbb\xbf"image_id","age"\r\na,1\r\nb,2\r\n', {"age": [1, 2]}),
    "carriage returns": (b"image_id,age\ra,1\rb,2\r", {"age": [1, 2]}),
    "Booleans": (b"image_id,smile\na,TRUE\nb,False\n", {"smile": [True, False]}),
    "labels alone": (b"image_id,age,day\na,0-2,1-1-01\nb,3-9,?\n", {"age": ["0-2", "3-9"], "day": ["1-1-01", "?"]}),
    "rows of empty cells": (b"image_id,age\na,1\nb,2\n,\n,\n", {"age": [1, 2]}),
    "normal forms": (f"image_id,n{NFD}\na,{NFD}\nb,{NFC}\n".encode(), {f"n{NFC}": [NFC, NFC]}),
    "large numbers": (b"image_id,age\na,999999999999999999999999\nb,2\n", {"age": [1e24, 2]}),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_clear_is_read_without_a_word(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, columns = READ[case]
    table = _lookup(tmp_path, text)
    assert {name: list(table[name]) for name in table} == columns
    assert list(table.index) == ["a", "b"]
    assert not capsys.readouterr().err


def test_ids_stay_text_and_cells_of_blanks_are_missing_numbers(tmp_path: Path) -> None:
    table = _lookup(tmp_path, " image_id ,age,smile\n001, 1,True\nnan, ,\n1e3,-2.5e-1,False\n")
    assert list(table.index) == ["001", "nan", "1e3"]
    assert table.age.tolist()[::2] == [1.0, -0.25]
    assert np.isnan(table.age.iloc[1])
    assert list(table.smile.dropna()) == [True, False]
    assert list(_lookup(tmp_path, " image_id ,age\n001,1\n002,2\n").index) == ["001", "002"]


def test_how_sure_a_label_is_comes_with_the_label(tmp_path: Path) -> None:
    """`balance.least_probability` asks for it, and would leave nothing out without a word."""
    path = tmp_path / "faces.csv"
    path.write_text("image_id,age,ethnicity,ethnicity:probability,age:probability\na,30,asian,0.4,0.9\n")
    assert list(lookup(Parameters(path=str(path), columns=["ethnicity"]))) == ["ethnicity", "ethnicity:probability"]


def test_columns_are_asked_for_by_their_clean_names(tmp_path: Path) -> None:
    table = _lookup(tmp_path, f"image_id, n{NFC},b\na,1,2\n", columns=[f"n{NFD} "])
    assert list(table.columns) == [f"n{NFC}"]
    with pytest.raises(UserError, match="has no column 'Unnamed: 0'"):
        _lookup(tmp_path, ",image_id,b\n0,a,2\n", columns=["Unnamed: 0"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1, 2], [3]], "list"),
        ([{"a": 1}, None], "dict"),
        (pd.to_datetime(["2001-01-01", "2002-01-01"]), "datetime64"),
        ([b"a", b"b"], "bytes"),
    ],
)
def test_cells_that_are_neither_numbers_nor_text_are_refused(values: list, kind: str) -> None:
    """A Parquet table can hold them."""
    table = pd.DataFrame({"age": values}, index=["a", "b"])
    with pytest.raises(UserError, match=f"age is neither numbers nor text, but {kind}"):
        clean_columns(Path("t.parquet"), table)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=2, max_size=5), st.sampled_from(",."))
def test_no_column_of_numbers_becomes_labels_whatever_the_comma(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float], thousands: str
) -> None:
    decimal = {",": ".", ".": ","}[thousands]
    table = str.maketrans({",": thousands, ".": decimal})
    rows = [f'{i},"{f"{number:,.2f}".translate(table)}"' for i, number in enumerate(numbers)]
    try:
        found = _lookup(tmp_path_factory.getbasetemp(), "image_id,x\n" + "\n".join(rows) + "\n")
    except UserError as error:
        assert POINT in str(error)  # noqa: PT017 - most are refused
        return
    assert found.x.tolist() == numbers


def _candidates(files: list[str]) -> pd.DataFrame:
    ids = [unicodedata.normalize("NFC", file.rpartition(".")[0]) for file in files]
    return pd.DataFrame({"image_id": ids, "file": files})


def test_images_are_found_whatever_the_normal_form_the_blanks_or_the_suffix(tmp_path: Path) -> None:
    known = _lookup(tmp_path, f"image_id,age\n{NFD},1\nb.png,2\n c ,3\nd ,4\n")
    joined = join(_candidates([f"{NFD}.jpg", "b.png", "c.png", "d .png"]), "table", known, None)
    assert joined.age.tolist() == [1, 2, 3, 4]
    tiles = _candidates([f"{NFD}.jpg"] * 2).assign(image_id=[f"{NFC}-r00c00", f"{NFC}-r00c01"])
    assert join(tiles, "table", known, None).age.tolist() == [1, 1]
    with pytest.raises(UserError, match=r"1 images have no row \(B\)"):
        join(_candidates(["B.png"]), "table", known, None)


def test_a_run_by_such_a_table_stops_in_one_line_or_balances_by_what_it_says(project: Path) -> None:
    photos = project / "photos"
    (photos / "photo-0.png").rename(photos / f"{NFD}.png")
    parameters = yaml.safe_load(SMALL)
    parameters["attributes"] = {"source": "table", "table": {"path": "t.csv"}}
    parameters["balance"] = {
        "method": "stratified",
        "size": 2,
        "attributes": {f"{NFD}ge": {"groups": {NFC: [NFD], "b": ["b"]}}},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True))
    rows = f",image_id,{NFC}ge\n0,{NFC},{NFC}\n1,photo-1, {NFD}\n2,photo-2,b\n3,photo-3,b \n"
    (project / "t.csv").write_text(rows)
    for name in ("plan", "attributes", "balance"):
        done = stage_here(name, cwd=project)
        assert done.returncode == 0, done.stderr
    assert (project / "metrics/balance.csv").read_text() == f"{NFC}ge,pool,chosen,short\nb,2,1,0\n{NFC},2,1,0\n"
    (project / "t.csv").write_text(rows.replace(",b", ',"1,5"').replace(NFD, "2").replace(f"{NFC}\n", "1\n"))
    assert stage_here("plan", cwd=project).returncode == 0
    done = stage_here("attributes", cwd=project)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert f"{NFC}ge of photo-2 is '1,5'" in errors[0]

"""Names that others chose: of files, of rows, and wherever they are printed."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SMALL, stage_here
from hypothesis import given
from hypothesis import strategies as st

import ida_rd
from ida_rd.balance.groups import edge_labels
from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import write_bytes
from ida_rd.core.names import check_ids, label_problem, looks_like_formula, name_problem
from ida_rd.core.tables import read_table, write_table

ESC = "\x1b[1A\x1b[2K"  # up a line, and remove it
RAW = (ESC, "\r", "\a", "\u202e", "\x9b")
BAD = {
    "": "is empty",
    " ": "is empty",
    ".": "begins with a dot",
    "..": "begins with a dot",
    ".hidden": "begins with a dot",
    "../../x": "slash",
    "/x": "slash",
    "a/b": "slash",
    "a\\b": "slash",
    "a\0b": "cannot be printed",
    f"a{ESC}b": "cannot be printed",
    "a\nb": "cannot be printed",
    "a\u202eb": "cannot be printed",
    "a\u2028b": "cannot be printed",
    "a\udcffb": "cannot be printed",
    "e\u0301": "NFC",
    "a" * 201: "more than 200 bytes",
    "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 67: "more than 200 bytes",
    '=HYPERLINK("http://x")': "formula",
    "@SUM(A1)": "formula",
    "+1+1": "formula",
    "-2-cmd|x": "formula",
    " =1": "formula",
    "\N{FULLWIDTH EQUALS SIGN}1": "formula",
    "a;=1+1": "formula",
}
GOOD = ["001", "nan", "it's 100% {odd}, \N{CJK UNIFIED IDEOGRAPH-65E5}", "IMG_$1_$2", "-12", "+1.5", "-1e5", "a=b"]
GOOD += ["x-y", "a b", "a" * 200, "a..b", "\N{LATIN SMALL LETTER E WITH ACUTE}", "a; b", "~", "*", "[x]"]


@pytest.mark.parametrize(("name", "reason"), BAD.items(), ids=[printable(name)[:30] for name in BAD])
def test_names_that_no_file_may_have(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=r"^HR images: the name ") as caught:
        check_ids(["fine", name], "HR images")
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250


def test_names_that_files_may_have(tmp_path: Path) -> None:
    check_ids(GOOD, "HR images")
    for name in GOOD:
        write_bytes(tmp_path / f"{name}.png", b"")
    write_table(tmp_path / "table.csv", pd.DataFrame({"image_id": GOOD}))
    assert list(read_table(tmp_path / "table.csv", hint="").image_id) == GOOD


def test_many_bad_names_are_one_line() -> None:
    with pytest.raises(UserError, match="and 997 more: rename it"):
        check_ids([f".{i}" for i in range(1000)], "HR images")


@given(st.text(max_size=80) | st.text("=+-@;. /\\\u0301\u202ea1\x1b", max_size=8))
def test_a_name_that_passes_stays_in_its_folder_and_is_the_same_in_a_table(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    if name_problem(name) is not None:
        return
    folder = tmp_path_factory.mktemp("names")
    write_bytes(folder / f"{name}.png", b"")
    assert os.listdir(folder) == [f"{name}.png"]
    assert not any(unicodedata.category(c).startswith("C") and unicodedata.category(c) in ("Cc", "Cf") for c in name)
    write_table(folder / "t.csv", pd.DataFrame({"image_id": [name]}))
    assert list(read_table(folder / "t.csv", hint="").image_id) == [name]


@pytest.mark.parametrize(
    "table",
    [
        {"label": ["fine", "=1+1"]},
        {"label": [1, 2.5, "@SUM(A1)"]},
        {"label": pd.Categorical(["-x", "fine"])},
        {"=cmd": [1]},
        {"label": ["a\x1b[2Jb"]},
    ],
)
def test_a_table_with_a_cell_that_computes_is_not_written(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"t\.csv: (in column 'label', '|the name of the column '=cmd')"):
        write_table(tmp_path / "t.csv", pd.DataFrame(table))
    assert not list(tmp_path.iterdir())


def test_numbers_and_plain_text_are_written_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"image_id": ["-12", "+1.5"], "x": [-1.0, np.nan], "s": ["-3", None], "f": [True, False]})
    write_table(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "image_id,x,s,f\n-12,-1.0,-3,True\n+1.5,,,False\n"


def test_groups_between_negative_edges_have_names_that_a_table_takes() -> None:
    assert edge_labels([-10, -2.5, 0, 7]) == ["below -10", "from -10 to -2.5", "from -2.5 to 0", "0 to 7", "7 up"]
    assert edge_labels([-10]) == ["below -10", "from -10 up"]
    assert not any(label_problem(label) for label in edge_labels([-10, -2.5, 0, 7]))
    assert looks_like_formula("-10 to 3")


def _picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _smaller(hr: np.ndarray, size: tuple[int, int], *, rng: np.random.Generator) -> np.ndarray:
    return hr[::4, ::4].copy()


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "=1+1", f"a{ESC}", "a" * 250])
def test_scoring_writes_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setattr("tempfile.tempdir", str(inner))
    with pytest.raises(UserError, match="HR images: the name"):
        ida_rd.score(_smaller, {name: _picture(0), "other": _picture(1)})
    with pytest.raises(UserError, match="downscale: the name"):
        ida_rd.score({name: _smaller}, {"a": _picture(0), "b": _picture(1)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": 2.5}, "factor: give a whole number"),
        ({"factor": 0}, "factor: give a whole number"),
        ({"resamples": 0}, "aggregate.resamples"),
        ({"resamples": 10**9}, "aggregate.resamples"),
        ({"seed": 2**70}, "seed"),
        ({"distortions": {"psnr": 5}}, "distortions.psnr"),
        ({"distortions": 5}, "distortions: give a list"),
        ({"images": {1: _picture(0), "1": _picture(1)}}, "two have the same name"),
        ({"images": 5}, "HR images: give a folder"),
        ({"images": {"a": [[1], [1, 2]], "b": _picture(0)}}, "HR image a: is no array"),
        ({"upscaler": {"method": "flow", "het": 1}}, "did you mean 'heat'"),
    ],
)
def test_what_scoring_cannot_use_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {
        "images": {"a": _picture(0), "b": _picture(1)},
        "distortions": ["psnr"],
        "resamples": 100,
    } | changes
    with pytest.raises(UserError, match=message):
        ida_rd.score(_smaller, **given)


@pytest.mark.parametrize("name", [f"x{ESC}error: none", "=HYPERLINK(1)", "a\rb", "a\u202eb", "@x"])
def test_images_of_a_folder_with_such_names_are_refused_before_anything_runs(project: Path, name: str) -> None:
    (project / "photos" / "photo-0.png").rename(project / "photos" / f"{name}.png")
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "the name" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any(raw in done.stderr for raw in RAW)
    assert not (project / "data").exists()


def _printed(project: Path, name: str, *arguments: str, code: int) -> str:
    done = stage_here(name, *arguments, cwd=project)
    assert done.returncode == code, done.stderr
    assert not any(raw in done.stdout + done.stderr for raw in RAW)
    return done.stderr


def test_what_a_stranger_named_is_printed_escaped(project: Path) -> None:
    """In a skip reason, in what a program says, in a key, a value and a path of params.yaml."""
    odd = "".join(RAW)
    parameters = yaml.safe_load(SMALL) | {"missing_software": "skip"}

    def planned(code: int) -> str:
        (project / "params.yaml").write_text(yaml.safe_dump(parameters))
        return _printed(project, "plan", code=code)

    command = ["python", "says.py", "{input}", "{output}"]
    parameters["downscalers"] |= {
        "absent": {"method": "command", "command": [f"no{odd}program", "{input}", "{output}"]},
        "says": {"method": "command", "command": command},
    }
    (project / "says.py").write_text(f"import sys; sys.exit('cannot' + {odd!r} + 'do it')")
    assert r"\x1b[1A" in planned(0)
    assert "skipped" in _printed(project, "downscale", "absent", "4", code=0)
    for name in ("attributes", "balance"):
        _printed(project, name, code=0)
    assert "exit code 1" in _printed(project, "downscale", "says", "4", code=2)
    parameters["downscalers"]["says"][f"a{odd}"] = 1
    assert "unknown key" in planned(2)
    del parameters["downscalers"]["says"]
    parameters["images"]["path"] = f"photos{odd}"
    assert "is not a folder" in planned(2)


def test_an_error_has_no_control_characters_wherever_it_is_shown() -> None:
    error = UserError(f"{ESC}a\r\nb\u202e\udcff \N{CJK UNIFIED IDEOGRAPH-65E5}")
    assert str(error) == "\\x1b[1A\\x1b[2Ka\\r\\nb\\u202e\\udcff \N{CJK UNIFIED IDEOGRAPH-65E5}"
    assert printable(str(error)) == str(error)

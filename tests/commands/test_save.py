"""``ida-rd score --save`` overwrites nothing, and what was computed is shown whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ida_rd.scored
import ida_rd.scoring
from ida_rd.commands import main
from ida_rd.core.errors import UserError
from ida_rd.scored import SAVED, Result
from ida_rd.scoring import score


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "hr").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "hr" / f"{name}.png")
    return tmp_path


def _score(save: str) -> None:
    main(["score", "--hr", "hr", "--downscaler", "box", "--distortion", "psnr", "--samples", "1", "--save", save])


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_that_has_results_is_refused_before_anything_is_computed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(ida_rd.scoring, "score", never)
    (here / "out").mkdir()
    (here / "out" / "rows.csv").write_text("mine")
    (here / "file").write_text("mine")
    (here / "away").mkdir()
    (here / "away" / "scores.md").symlink_to("nowhere")
    for name, message in (
        ("out", "out has rows.csv already: choose another folder"),
        ("file", "file is a file: give a folder"),
        ("away", "away has scores.md already"),
    ):
        with pytest.raises(SystemExit) as caught:
            _score(name)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    assert _files(here / "out") == {"rows.csv": b"mine"}
    assert (here / "file").read_text() == "mine"


def test_results_are_printed_first_and_saved_whole_beside_what_is_there(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "out").mkdir()
    (here / "out" / "notes.txt").write_text("mine")
    _score("out")
    assert set(_files(here / "out")) == {*SAVED, "notes.txt"}
    assert "box" in capsys.readouterr().out
    _score("new/folder")
    assert set(_files(here / "new/folder")) == set(SAVED)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(ida_rd.scored, "write_text", full)
    (here / "half").mkdir()
    for name in ("half", "fresh"):
        with pytest.raises(SystemExit):
            _score(name)
        assert "box" in capsys.readouterr().out
        assert not list((here / name).iterdir() if (here / name).exists() else [])


def test_python_saves_by_the_same_rule(here: Path) -> None:
    found = score("box", "hr", distortions=["psnr"], samples=1, resamples=100)
    assert isinstance(found, Result)
    found.save(here / "out")
    before = _files(here / "out")
    with pytest.raises(UserError, match="already: choose another folder"):
        found.save(here / "out")
    assert _files(here / "out") == before

"""``ida-rd assert``, ``photos`` and ``score --blur-equivalent``, from files to the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

import ida_rd.asserting
import ida_rd.photos
from ida_rd import score
from ida_rd.amounts import BLURS
from ida_rd.asserting import parse_margin
from ida_rd.commands import main
from ida_rd.core.errors import UserError

SIDE = 48
PLACES = [(0, 0), (60, 190), (200, 200), (400, 300), (130, 60)]
MINE = "def keep(hr, size, *, rng):\n    return hr[::4, ::4].copy()\n"
CHEAP = ("--samples", "1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]) -> Path:
    """Five small photographs in ``hr``, and in ``lr`` what Pillow's bicubic makes of them."""
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    for name in ("hr", "lr", "bad"):
        Path(name).mkdir()
    for i, (y, x) in enumerate(PLACES):
        image = Image.fromarray(astronaut[y : y + SIDE, x : x + SIDE])
        image.save(f"hr/p{i}.png")
        image.resize((SIDE // 4, SIDE // 4), Image.Resampling.BICUBIC).save(f"lr/p{i}.png")
        image.resize((SIDE // 4, SIDE // 4), Image.Resampling.NEAREST).save(f"bad/p{i}.png")
    (tmp_path / "mine_here.py").write_text(MINE)
    return tmp_path


def _assert(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output, and the last line of standard error."""
    code = 0
    try:
        main(["assert", *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, (err.splitlines() or [""])[-1]


def test_as_good_passes_and_worse_fails_each_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hr = ("--hr", "hr", *CHEAP, "--not-worse-than", "bicubic")
    code, out, _ = _assert(*hr, "--lr", "mine=lr", capsys=capsys)
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith(
        "pass: mine loses 0.0000 more than bicubic, at most +0.0000 with 0.95 confidence; margin 0.01"
    )
    assert "(1 - FSIM, x4, flow-compact, 5 photographs)" in out

    code, out, _ = _assert(*hr, "--downscaler", "nearest", capsys=capsys)
    assert (code, out.count("\n")) == (1, 1)
    assert out.startswith("FAIL: nearest loses 0.")

    # A function by its dotted name, which does what nearest does but a pixel off; a folder to be held against.
    code, out, _ = _assert(
        "--hr", "hr", *CHEAP, "--downscaler", "mine_here.keep", "--not-worse-than", "bad", capsys=capsys
    )
    assert out.split()[1] == "keep"
    assert "than bad" in out
    # Entries as in params.yaml, on both sides; a Lanczos filter is the same whoever is asked for it.
    lanczos = "{method: resample, filter: lanczos}"
    code, out, _ = _assert(
        "--hr", "hr", *CHEAP, "--downscaler", "lanczos", "--not-worse-than", f"held={lanczos}", capsys=capsys
    )
    assert code == 0
    assert out.startswith("pass: lanczos loses 0.0000 more than held, at most +0.0000")
    code, out, _ = _assert(*hr, "--downscaler", lanczos, capsys=capsys)
    assert out.split()[1] == "resample"
    code, out, _ = _assert(*hr, "--lr", "mine=lr", "--json", capsys=capsys)
    told = json.loads(out)
    assert code == 0
    assert told["passes"] is True
    assert (told["p"], told["margin"], told["photographs"], told["by"]) == (0, 0.01, 5, "fsim")


def test_better_is_not_worse_by_whichever_side_of_the_distortion_is_better(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PSNR falls where more is lost: it is turned round."""
    rest = ("--hr", "hr", *CHEAP, "--by", "psnr", "--margin", "0.1")
    assert _assert(*rest, "--lr", "lr", "--not-worse-than", "nearest", capsys=capsys)[0] == 0
    code, out, _ = _assert(*rest, "--lr", "bad", "--not-worse-than", "bicubic", capsys=capsys)
    assert code == 1
    assert "bad loses" in out
    assert " more than bicubic" in out


def test_the_sample_photographs_are_the_corpus_if_none_is_given(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ida_rd.photos, "SIDE", SIDE)
    main(["photos", "corpus"])
    assert capsys.readouterr().out == f"corpus: 13 photographs of {SIDE} x {SIDE} pixels\n"
    Path("out").mkdir()
    for path in Path("corpus").iterdir():
        Image.open(path).resize((SIDE // 4, SIDE // 4), Image.Resampling.LANCZOS).save(Path("out") / path.name)
    code, out, _ = _assert("--lr", "mine=out", "--not-worse-than", "lanczos", *CHEAP, capsys=capsys)
    assert code == 0
    assert "13 photographs" in out
    with pytest.raises(SystemExit) as stop:
        main(["photos", "corpus"])
    assert stop.value.code == 2
    assert "corpus is there already: give a new folder" in capsys.readouterr().err
    # LR images of another size than the corpus has.
    Image.new("RGB", (30, 10)).save("out/astronaut.png")
    code, _, line = _assert("--lr", "mine=out", "--not-worse-than", "lanczos", *CHEAP, capsys=capsys)
    assert code == 2
    assert line.startswith("error: out/astronaut.png: is 10 high, which is no whole part of the 48 of `ida-rd photos`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "nowhere", "--not-worse-than", "box"], "error: --lr nowhere: is not a folder"),
        (
            ["--lr", "lr", "--not-worse-than", "bicubc"],
            "--not-worse-than: none is called 'bicubc'; did you mean 'bicubic'?",
        ),
        (
            ["--downscaler", "bx", "--not-worse-than", "bicubic"],
            "--downscaler: none is called 'bx'; did you mean 'box'?",
        ),
        (
            ["--downscaler", "box", "--not-worse-than", "box"],
            "--not-worse-than box: is called like what it is compared",
        ),
        (["--downscaler", "no_module.f", "--not-worse-than", "box"], "there is no module 'no_module'"),
        (["--lr", "lr", "--not-worse-than", "box", "--margin", "-1"], "--margin -1: give a number above 0"),
        (["--lr", "lr", "--not-worse-than", "box", "--margin", "blur:"], "--margin blur:: give a number above 0"),
        (["--lr", "lr", "--not-worse-than", "box", "--by", "dss"], "--margin: by dss there is no usual one; give it"),
        (["--lr", "lr", "--not-worse-than", "box", "--level", "0.7"], "--level 0.7: give a number between 0 and 0.5"),
        (["--lr", "lr", "--not-worse-than", "box", "--by", "fsin", "--margin", "1"], "(it is 'fsin')"),
        (["--lr", "less", "--not-worse-than", "box"], "less: 1 LR images are missing (p4)"),
        (["--lr", "odd", "--not-worse-than", "box"], "p4.png is 17 x 12, expected 12 x 12 (HR / 4)"),
        (["--lr", "lr", "--not-worse-than", "odd"], "p4.png is 17 x 12, expected 12 x 12 (HR / 4)"),
    ],
)
def test_whatever_is_wrong_is_one_line_and_exit_code_2(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("less", "odd"):
        Path(name).mkdir()
        for path in Path("lr").iterdir():
            (Path(name) / path.name).write_bytes(path.read_bytes())
    Path("less/p4.png").unlink()
    Image.new("RGB", (17, 12)).save("odd/p4.png")
    code, out, line = _assert("--hr", "hr", *arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert message in line


def test_four_photographs_say_nothing_of_others_and_nothing_is_computed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr(ida_rd.asserting, "score", never)
    Path("hr/p4.png").unlink()
    code, _, line = _assert("--hr", "hr", "--downscaler", "box", "--not-worse-than", "bicubic", *CHEAP, capsys=capsys)
    assert (code, line) == (2, "error: --hr: 4 photographs say nothing of others; give at least 5")


def test_a_margin() -> None:
    assert parse_margin(None, "fsim") == (0.01, False)
    assert parse_margin("blur:0.1", "dss") == (0.1, True)
    assert parse_margin(".5", "psnr") == (0.5, False)
    for text in ("0", "blur:0", "nan", "inf", "1e400", "blur", ""):
        with pytest.raises(UserError, match="give a number above 0"):
            parse_margin(text, "fsim")


def _blurred(sigma: float, backend: str = "pil") -> dict[str, Any]:
    return {
        "method": "resample",
        "filter": "bicubic",
        "degrade": [{"gaussian_blur": {"sigma": sigma, "backend": backend}}],
    }


@pytest.mark.slow
def test_bicubic_with_a_blur_comes_back_as_that_blur(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the rung's own blur, by one between two rungs, and by another program's blur; and the ladder takes no part."""
    asked = {"half": _blurred(0.5), "between": _blurred(0.92), "exact": _blurred(0.75, "exact"), "bicubic": "bicubic"}
    settings: dict[str, Any] = {"samples": 1, "distortions": ["dss"], "resamples": 200}
    result = score(asked, "hr", blur_equivalent=True, **settings)
    found = result.scores.set_index("downscaler")
    assert found.blur["half"] == pytest.approx(0.5, abs=1e-6)
    assert found.blur["between"] == pytest.approx(0.92, abs=0.03)
    assert found.blur["exact"] == pytest.approx(0.75, abs=0.06)
    assert found.blur_low["exact"] < found.blur["exact"] < found.blur_high["exact"]
    assert (found.blur["bicubic"], found.place["bicubic"], found.percent["bicubic"]) == (0, "within", 0)
    assert len(result.ladder) == len(BLURS) + 1
    assert "| bicubic | 0.00 [0.00, 0.00]; 0 % |" in result.markdown()
    assert "; blur 0.50 [0.50, 0.50]; " in result._repr_html_()
    result.save("out")
    saved = pd.read_csv("out/scores.csv").set_index("downscaler")
    assert saved.blur["half"] == pytest.approx(0.5, abs=1e-6)
    assert len(pd.read_csv("out/ladder.csv")) == len(result.ladder)
    assert "blur by 1 - DSS" in Path("out/scores.md").read_text()

    plain = score(asked, "hr", **settings)
    for table in ("differences", "images", "rows"):
        assert getattr(result, table).equals(getattr(plain, table))
    assert found[plain.scores.columns.drop("downscaler")].equals(plain.scores.set_index("downscaler"))

    # The command says what it costs before, and finds all of it in the store; the same ladder sets a margin.
    capsys.readouterr()
    main(["score", "--hr", "hr", "--lr", "lr", "--distortion", "dss", *CHEAP, "--blur-equivalent", "--json"])
    out, err = capsys.readouterr()
    assert err.startswith("--blur-equivalent: 12 downscalers more than the 2 asked for, so about 7 times the work")
    told = json.loads(out)
    assert {row["downscaler"]: row["place"] for row in told["scores"]} == {"lr": "within", "bicubic": "within"}
    rest = ("--hr", "hr", "--by", "dss", *CHEAP, "--not-worse-than", "bicubic")
    code, out, _ = _assert(*rest, "--downscaler", "nearest", "--margin", "blur:0.5", capsys=capsys)
    assert (code, "(blur:0.5)" in out) == (1, True)
    one = next(row["mean"] for row in told["ladder"] if row["blur"] == 1)
    zero = next(row["mean"] for row in told["ladder"] if row["blur"] == 0)
    code, out, _ = _assert(*rest, "--lr", "lr", "--margin", "blur:1", "--json", capsys=capsys)
    assert code == 0  # the same images; that a blur costs something must be clear on five photographs, though
    assert json.loads(out)["margin"] == pytest.approx(one - zero)


def test_a_downscaler_called_like_a_rung_is_refused(here: Path) -> None:
    with pytest.raises(UserError, match="blur-ladder-mine is called like a rung"):
        score({"blur-ladder-mine": "box"}, "hr", blur_equivalent=True)

"""What `score` is told by name: folders with `=` in them, misspelt downscalers, factors, ids in either normal form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, stage_here
from numpy.typing import NDArray
from PIL import Image

from ida_rd import score
from ida_rd.commands import main
from ida_rd.commands.score import lr_folder
from ida_rd.core.errors import UserError

NFC, NFD = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\u0301"
FOLDERS = ("out/scale=4", "a", "x=1", "A=b", "=c", "my lr", "d=e=f", "g=h/i")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    for name in FOLDERS:
        Path(name).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("out/scale=4", "mine", "out/scale=4"),
        ("a", "a", "a"),
        ("./a", "a", "a"),
        ("mine=a", "mine", "a"),
        ("mine=out/scale=4", "mine", "out/scale=4"),
        ("mine=x=1", "mine", "x=1"),
        ("a=d=e=f", "a", "d=e=f"),
        ("./x=1", "mine", "x=1"),
        ("A=b", "mine", "A=b"),
        ("=c", "mine", "=c"),
        ("my lr", "mine", "my lr"),
        ("g=h/i", "mine", "g=h/i"),
    ],
)
def test_lr_is_a_name_and_a_folder_or_a_folder(here: Path, text: str, name: str, folder: str) -> None:
    if text == "g=h/i":
        with pytest.raises(UserError, match=r"for the folder g=h/i write \./g=h/i"):
            lr_folder(text)
        text = f"./{text}"
        name = "i"
    found, path = lr_folder(text)
    assert found == name
    assert path.samefile(here / folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=1", "--lr x=1: the folder '1' does not exist; for the folder x=1 write ./x=1"),
        ("Mine=a", "--lr Mine=a: the name 'Mine' must consist of a-z, 0-9, - and _"),
        ("my lr=a", "the name 'my lr' must consist of"),
        ("mine=", "--lr 'mine=': is not a folder"),
        ("mine=nowhere", "--lr nowhere: is not a folder"),
        ("", "--lr '': is not a folder"),
        ("nowhere=x/y=4", "--lr x/y=4: is not a folder"),
    ],
)
def test_lr_that_is_neither_is_a_line(here: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["score", "--hr", "hr", "--lr", text])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bicubc", "did you mean 'bicubic'?"),
        ("Lanczos", "did you mean 'lanczos'?"),
        ("percptual", "did you mean 'perceptual'?"),
        ("dipd", "did you mean 'dpid'?"),
        ("qqqqqqqq", "known names: bicubic, bilinear, box, bsrgan-fixed"),
    ],
)
def test_a_misspelt_downscaler_gets_a_suggestion(
    here: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["score", "--hr", "a", "--downscaler", name])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--downscaler: none is called {name!r}; {message}" in line
    for given in (name, {"mine": name}):
        with pytest.raises(UserError, match="neither a downscaler nor a folder") as refused:
            score(given, "a")
        assert message in str(refused.value)


def _picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [2.5, 4.0, "4", True, None, 1, -4, np.float64(4), [4], float("nan")])
def test_a_factor_that_is_no_whole_number_is_a_line(here: Path, factor: Any) -> None:
    with pytest.raises(UserError, match=r"^factor: give a whole number of at least 2"):
        score("box", [_picture(0), _picture(1)], factor=factor)


def test_a_folder_with_an_equals_sign_and_names_in_either_normal_form_are_scored(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "hr").mkdir()
    for i, (hr, lr) in enumerate([(NFD, NFC), ("b ", "b ")]):
        Image.fromarray(_picture(i)).save(here / "hr" / f"{hr}.png")
        Image.fromarray(_picture(i)).resize((16, 16)).save(here / "out/scale=4" / f"{lr}.png")
    main(
        ["score", "--hr", "hr", "--lr", "out/scale=4", "--downscaler", "box", "--distortion", "psnr", "--samples", "1"]
    )
    assert "| mine |" in capsys.readouterr().out
    found = score("box", {NFD: _picture(0), "b": _picture(1)}, distortions=["psnr"], samples=1, resamples=100)
    assert sorted(found.images.image_id) == ["b", NFC]
    with pytest.raises(UserError, match="HR images: two have the same name"):
        score("box", {NFD: _picture(0), NFC: _picture(1)})


@pytest.mark.parametrize("command", [["score", "--downscaler", "box"], ["assert", "--not-worse-than", "box"]])
def test_an_upscaler_may_be_an_entry_as_in_params_yaml(
    here: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """The mode of the flow has samples that are all alike, and another score than its preset."""
    (here / "hr").mkdir()
    for i in range(6):
        Image.fromarray(_picture(i)).save(here / "hr" / f"{i}.png")
    more = {
        "score": ["--distortion", "psnr"],
        "assert": ["--downscaler", "bicubic", "--by", "psnr", "--margin", "100"],
    }[command[0]]
    given = [*command, "--hr", "hr", *more, "--samples", "2", "--json", "--upscaler"]
    found = {}
    for entry in ("flow", "{method: flow}", "{method: flow, heat: 0}"):
        main([*given, entry])
        found[entry] = capsys.readouterr().out
    assert found["flow"] == found["{method: flow}"] != found["{method: flow, heat: 0}"]
    for entry, message in (
        ("{method: flow, heat 0}", "heat"),
        ("{method: flow", "is not valid YAML"),
        ("{path: x}", "--upscaler {path: x}: names no method: write {method: ..., ...}"),
    ):
        with pytest.raises(SystemExit) as caught:
            main([*given, entry])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert message in line


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"a\xff"], r"images.path: the name 'a\udcff' has a character that cannot be printed: rename it"),
        ([b"a" * 251], "has more than 200 bytes: rename it"),
        ([b"a\nb"], "has a character that cannot be printed: rename it"),
        ([NFC.encode(), NFD.encode()], "has images with the same name"),
    ],
    ids=["no UTF-8", "255 bytes", "line break", "NFC and NFD"],
)
@pytest.mark.parametrize("pattern", ["", ", pattern: '**/*.png'"])
def test_files_whose_names_cannot_be_used_are_a_line(
    project: Path, names: list[bytes], message: str, pattern: str
) -> None:
    for name in names:
        data = (project / "photos" / "photo-0.png").read_bytes()
        Path(os.fsdecode(os.fsencode(project / "photos") + b"/" + name + b".png")).write_bytes(data)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("path: photos,", f"path: photos{pattern},"))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert (message if not pattern else message.replace("has images with", "have")) in line
    assert not (project / "data").exists()


def test_names_that_end_in_dots_and_blanks_are_images_like_others(project: Path) -> None:
    for i, name in enumerate(["a.", "a ", " b", "c.d"]):
        (project / "photos" / f"photo-{i}.png").rename(project / "photos" / f"{name}.png")
    for name in ("plan", "attributes", "balance"):
        done = stage_here(name, cwd=project)
        assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (project / "data/hr").iterdir()) == [" b", "a ", "a.", "c.d"]


def test_tiles_of_a_photograph_are_no_images_of_their_own(tmp_path: Path) -> None:
    tiles = {f"photo{p}_s{i}": _picture(3 * p + i) for p in range(5) for i in range(2)}
    result = score({"box": "box", "nearest": "nearest"}, tiles, samples=1, distortions=["mse"], photograph_before="_s")
    assert set(result.scores.photographs) == {5}
    assert set(result.scores.images) == {10}
    assert "N = 10 tiles of 5 photographs" in result.markdown()
    assert result.differences.photographs.tolist() == [5]
    assert sorted(set(result.images.photograph)) == [f"photo{p}" for p in range(5)]
    with pytest.raises(UserError, match=r"images\.photograph_before"):
        score("box", tiles, samples=1, distortions=["mse"], photograph_before="-t")


def test_where_no_upscaler_is_named_it_is_the_better_one_that_ships_for_the_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [_picture(0), _picture(1)]
    for factor, name in ((4, "diffusion-compact"), (8, "diffusion-compact"), (16, "flow-compact")):
        found = score("box", images, factor=factor, distortions=["psnr"], samples=1, resamples=100)
        assert set(found.scores.upscaler) == {name}
    assert {entry["method"] for entry in yaml.safe_load((ROOT / "params.yaml").read_text())["upscalers"].values()} == {
        "edm",
        "flow",
    }

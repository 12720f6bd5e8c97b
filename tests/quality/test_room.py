"""The room's contract, and the commands that speak of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ida_rd.commands import main
from ida_rd.core.errors import UserError
from ida_rd.core.methods import known_methods
from ida_rd.quality import niqe
from ida_rd.quality.check import check_quality
from ida_rd.quality.contract import Descriptor, Score, Undefined

DESCRIPTOR = Descriptor("lower", 0, None, 8, 16, "Roughness", {"pixels": "how many"})


class Rough:
    """A sound measure: the mean difference of neighbours."""

    def score(self, image: NDArray[np.uint8]) -> Score:
        if min(image.shape[:2]) < 8:
            raise Undefined("too small")
        return Score(float(np.abs(np.diff(image.astype(float), axis=0)).mean()), {"pixels": image.size})


def _method(measure: Any = None, descriptor: Descriptor = DESCRIPTOR) -> Any:
    return SimpleNamespace(describe=lambda _: descriptor, load=lambda _: measure or Rough())


def test_a_sound_measure_keeps_the_contract() -> None:
    check_quality(_method(), {}, side=64)
    check_quality(niqe, {})
    check_quality(niqe, {"patches": 4})


class _Changed(Rough):
    def __init__(self, change: Any) -> None:
        self.change, self.calls = change, 0

    def score(self, image: NDArray[np.uint8]) -> Score:
        self.calls += 1
        return self.change(super().score(image), self.calls)


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        (_method(_Changed(lambda score, _: replace(score, value=float("nan")))), "expected a finite number"),
        (_method(_Changed(lambda score, _: replace(score, value=score.value - 99))), "leaves the declared range"),
        (_method(_Changed(lambda score, _: replace(score, facts={}))), r"beside a score stand \[\], declared are"),
        (_method(_Changed(lambda score, n: replace(score, value=score.value + n))), "depends on what was before"),
        (_method(None, replace(DESCRIPTOR, better="higher")), "noise of 60 grey levels must be worse"),
        (_method(None, replace(DESCRIPTOR, minimum_side=9)), "a square of 8 pixels has a score, declared is"),
        (_method(None, replace(DESCRIPTOR, minimum_side=7)), "too small"),
    ],
)
def test_a_broken_promise_is_named(method: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_quality(method, {}, side=64)


@pytest.mark.parametrize("name", known_methods("quality"))
def test_every_measure_describes_itself_without_its_files(name: str) -> None:
    from ida_rd.core.methods import find_method

    found = find_method("quality", name, where="x")
    descriptor = found.describe(found.Parameters())
    assert descriptor.better == ("higher" if name == "pyiqa" else "lower")
    assert descriptor.minimum_side <= descriptor.trusted_side
    assert descriptor.facts
    assert "(" in descriptor.label, "whose model it is"


def _cli(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    found = 0
    try:
        main(["quality", *arguments])
    except SystemExit as stop:
        found = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert found == code, out + err
    return err if code else out


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> dict[str, str]:
    made = {"large": astronaut, "few": astronaut[:200, :300], "small": astronaut[:96, :96]}
    for name, picture in made.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in made}


def test_images_are_measured_marked_or_refused_with_the_reason(
    photos: dict[str, str], capsys: pytest.CaptureFixture[str], astronaut: NDArray[np.uint8]
) -> None:
    text = _cli(capsys, *photos.values())
    lines = text.splitlines()
    value = niqe.load(niqe.Parameters()).score(astronaut).value
    assert lines[0] == "NIQE (own model); lower is better"
    assert lines[1] == f"{photos['large']}: {value:.3f} (patches 25)"
    assert lines[2].endswith("(patches 6); 6 patches, fewer than 25: the fewer, the higher the score")
    assert lines[3].endswith(": - (NIQE needs 2 patches of 96 x 96 pixels; 96 x 96 pixels hold 1)")
    found = json.loads(_cli(capsys, *photos.values(), "--set", "patches=4", "--json"))
    assert found["label"] == "NIQE (own model, 4 patches)"
    assert [row["value"] is None for row in found["images"]] == [False, False, True]
    assert [row["facts"] for row in found["images"]] == [{"patches": 4}, {"patches": 4}, {}]
    assert found["images"][2]["undefined"].startswith("NIQE needs 4 patches")


def test_grey_and_opaque_images_are_read_as_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], astronaut: NDArray[np.uint8]
) -> None:
    grey = Image.fromarray(astronaut[:200, :200]).convert("L")
    forms = {"grey": grey, "rgb": grey.convert("RGB"), "opaque": grey.convert("RGBA"), "both": grey.convert("LA")}
    for name, picture in forms.items():
        picture.save(tmp_path / f"{name}.png")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    files = sorted(str(path) for path in tmp_path.glob("*.png"))
    values = {row["value"] for row in json.loads(_cli(capsys, *files, "--json"))["images"]}
    assert len(values) == 1
    clear = grey.convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    assert "clear.png: " in _cli(capsys, str(tmp_path / "clear.png"), code=2)


def test_mistakes_are_one_line(
    photos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    large = photos["large"]
    for arguments, problem in [
        ([large, "--measure", "nqie"], "quality.method: no quality method is called 'nqie'; did you mean 'niqe'?"),
        ([large, "--set", "patchs=4"], "quality.patchs: unknown key; did you mean 'patches'?"),
        ([large, "--set", "patches=1"], "quality.patches: "),
        ([large, "--measure", "brisque"], "weights brisque.model are not at "),
        ([f"{large}.jpg"], "large.png.jpg: no such file"),
    ]:
        error = _cli(capsys, *arguments, code=2)
        assert problem in error
        assert error.count("\n") == 1

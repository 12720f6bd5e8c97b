"""Images without structure are marked, and who reads the mean is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from conftest import edit, walk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ida_rd import score
from ida_rd.balance.structure import has_structure, structure_warning
from ida_rd.compare import _changes
from ida_rd.core.readers import read_json

NOTE = (
    "1 of the 4 images is nearly of one colour, without structure: a similarity of structures such as FSIM says little"
)


def _page(*marks: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    page = Image.new("RGB", (256, 256), (250, 250, 245))
    for mark in marks:
        ImageDraw.Draw(page).rectangle(mark, fill="black")
    return np.asarray(page)


def _noisy(deviation: float, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(128, deviation, (256, 256, 3))
    return np.rint(noise).clip(0, 255).astype(np.uint8)


def test_blank_pages_are_without_structure_and_what_is_on_a_page_is_some() -> None:
    ramp = np.tile(np.linspace(100, 140, 256).astype(np.uint8)[None, :, None], (256, 1, 3))
    colours = np.full((64, 64, 3), 128, dtype=np.uint8)
    colours[:32, :, 2] = 160  # of one luminance, nearly
    assert not has_structure(_page())
    assert not has_structure(_page((9, 9, 13, 13)))  # a speck
    assert not has_structure(_noisy(1.5))
    assert not has_structure(np.zeros((4, 4, 3), dtype=np.uint8))
    assert has_structure(_page((20, 100, 140, 101)))  # a line
    assert has_structure(_noisy(6))
    assert has_structure(ramp)
    assert has_structure(colours)


def test_every_tile_of_a_photograph_has_structure() -> None:
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        image = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB"))
        for y in range(0, image.shape[0] - 127, 128):
            for x in range(0, image.shape[1] - 127, 128):
                assert has_structure(image[y : y + 128, x : x + 128]), (name, y, x)


@given(st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_no_colour_and_no_turn_makes_a_structure(level: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = (level + rng.integers(-4, 5, (40, 24, 3))).clip(0, 255).astype(np.uint8)
    assert not has_structure(image)
    assert not has_structure(np.rot90(image).copy())


def test_many_are_named_in_one_short_line() -> None:
    line = structure_warning([f"page-{i}" for i in range(900)], 1000)
    assert line.startswith("warning: 900 of 1000 images have no structure")
    assert "page-4, ...)" in line
    assert len(line) < 300


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    edit(project / "params.yaml", "  mine: {method: python, function: mine.halve_twice}\n", "")
    edit(project / "params.yaml", "samples: 2", "samples: 1")
    return project


def test_a_run_with_a_blank_page_says_so_wherever_its_mean_stands(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64), "white").save(here / "photos" / "photo-2.png")
    walk(report=True)
    assert "warning: 1 of 4 images have no structure, being nearly of one colour (photo-2)" in capsys.readouterr().err
    for table in ("data/subset.csv", "metrics/tables/images.csv"):
        found = pd.read_csv(here / table)
        assert list(found.image_id[found.without_structure]) == ["photo-2"]
    assert read_json(here / "metrics/balance.json", hint="")["without_structure"] == 1
    assert NOTE in (here / "metrics/tables/ida_rd.md").read_text()
    assert NOTE.partition(":")[0] in (here / "metrics/report/index.html").read_text()
    images = pd.read_csv(here / "metrics/tables/images.csv")
    assert set(_changes(images, images, 0.95, 100, 0).distortion) == {"dss", "psnr"}


def test_a_run_without_one_has_no_more_columns_than_before(here: Path) -> None:
    walk()
    for table in ("data/subset.csv", "metrics/tables/images.csv"):
        assert "without_structure" not in pd.read_csv(here / table)
    assert "without_structure" not in read_json(here / "metrics/balance.json", hint="")
    assert "structure" not in (here / "metrics/tables/ida_rd.md").read_text()


def test_score_says_so_too(here: Path, astronaut: NDArray[np.uint8]) -> None:
    images = {"a": astronaut[:64, :64], "b": astronaut[200:264, 200:264], "c": astronaut[400:464, 300:364]}
    blank = np.full((64, 64, 3), 255, dtype=np.uint8)
    found = score("box", images | {"blank": blank}, samples=1, distortions=["fsim"], resamples=100)
    assert list(found.images.image_id[found.images.without_structure]) == ["blank"]
    assert NOTE in found.markdown()
    assert NOTE in found._repr_html_()
    found = score("box", images, samples=1, distortions=["fsim"], resamples=100)
    assert "without_structure" not in found.images
    assert "without structure" not in found.markdown() + found._repr_html_()

"""The experiment that fits NIQE's pristine model."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.quality import niqe
from ida_rd.quality.niqe.model import constant, fit, read_pristine

SHIPPED = ROOT / "ida_rd/quality/niqe/weights/niqe-pristine.safetensors"


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Four photographs, one of them under another licence."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (200, 0)]):
        Image.fromarray(astronaut[y : y + 300, x : x + 300]).save(folder / f"p{i}.png")
        licence = "CC-BY-SA-4.0" if i == 3 else "CC0-1.0"
        rows.append({"file": f"p{i}.png", "title": f"t{i}", "author": "NASA", "licence": licence, "source": "here"})
    with (folder / "LICENSES.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_a_model_comes_with_its_card_and_credits(photos: Path, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    out = tmp_path / "made/mine.safetensors"
    out.parent.mkdir()
    main = script("fit-niqe/fit.py").main
    main(["--images", str(photos), "--exclude-licence", "CC-BY-SA", "--out", str(out)])
    model = read_pristine(str(out))
    expected, kept = fit(np.asarray(Image.open(photos / f"p{i}.png")) for i in range(3))
    assert np.array_equal(model.mean, expected.mean)
    assert np.array_equal(model.covariance, expected.covariance)
    card = out.with_suffix(".md").read_text()
    assert f"sha256 `{sha256_file(out)}`" in card
    assert f"{sum(kept)} of 27 patches of 96 x 96 pixels" in card
    assert "3 photographs" in card
    assert "CC0-1.0 (3)" in card
    assert "Photographs whose licence begins with CC-BY-SA were left out." in card
    credits = out.with_suffix(".csv").read_text()
    assert credits.startswith("file,title,author,licence,source\n")
    assert [line.split(",")[0] for line in credits.splitlines()[1:]] == ["p0.png", "p1.png", "p2.png"]
    assert np.isfinite(niqe.load(niqe.Parameters(path=str(out))).score(astronaut).value)
    first = out.read_bytes()
    main(["--images", str(photos), "--exclude-licence", "CC-BY-SA", "--out", str(out)])
    assert out.read_bytes() == first, "the same photographs give the same bytes"


def test_what_cannot_be_fitted_is_named(photos: Path, tmp_path: Path) -> None:
    main = script("fit-niqe/fit.py").main
    with pytest.raises(UserError, match=r"--out x\.npz: must end in \.safetensors"):
        main(["--images", str(photos), "--out", "x.npz"])
    Image.new("RGB", (95, 300)).save(photos / "p0.png")
    with pytest.raises(UserError, match=r"p0\.png: is smaller than a patch of 96 x 96 pixels"):
        main(["--images", str(photos), "--out", str(tmp_path / "x.safetensors")])


def test_the_card_that_ships_is_of_the_model_that_ships() -> None:
    card = SHIPPED.with_suffix(".md").read_text()
    assert f"sha256 `{sha256_file(SHIPPED)}`" in card
    assert f"{constant(read_pristine()):.3f}" in card
    with SHIPPED.with_suffix(".csv").open(newline="") as file:
        licences = [row["licence"] for row in csv.DictReader(file)]
    assert f"{len(licences)} photographs" in card
    assert not [licence for licence in licences if licence.startswith("CC-BY-SA")]
    assert SHIPPED.stat().st_size < 12_000


@pytest.mark.slow
def test_the_model_that_ships_is_fitted_to_the_photographs_that_it_names(shared: Path, tmp_path: Path) -> None:
    """142 photographs: 11 s of processor time."""
    parameters = yaml.safe_load((ROOT / "experiments/fit-niqe/params.yaml").read_text())
    out = tmp_path / SHIPPED.name
    script("fit-niqe/fit.py").main(
        [
            "--images",
            str(shared / "images/free_photos"),
            "--exclude-licence",
            parameters["exclude_licence"],
            "--out",
            str(out),
        ]
    )
    made, shipped = read_pristine(str(out)), read_pristine()
    assert np.abs(made.mean - shipped.mean).max() < 1e-9
    assert np.abs(made.covariance - shipped.covariance).max() < 1e-9
    assert out.with_suffix(".csv").read_text() == SHIPPED.with_suffix(".csv").read_text()

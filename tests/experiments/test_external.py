"""Keypoints that are found again in a reconstruction."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from made import make_rows, script
from numpy.typing import NDArray
from PIL import Image

SETTINGS = {"data": "made", "baseline": "bicubic", "radius": 1.5, "ratio": 0.8, "keypoints": 200}


@pytest.fixture(scope="module")
def external() -> ModuleType:
    return script("external/external.py")


@pytest.mark.parametrize("kind", ["sift", "orb"])
def test_an_image_finds_itself_and_noise_finds_nothing(
    external: ModuleType, astronaut: NDArray[np.uint8], kind: str
) -> None:
    hr = external.features(astronaut[:128, 160:288], kind, 200)
    ratio = 0.8 if kind == "sift" else 1.0
    itself = external.repeated(hr, hr, 1.5, ratio)
    assert itself.keypoints > 50
    assert itself.near == 1
    # Two keypoints of one place and orientation have one descriptor between them, or nearly.
    assert itself.found > 0.95
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    other = external.repeated(hr, external.features(noise, kind, 200), 1.5, ratio)
    assert other.found < 0.02
    assert other.near > other.found, "some lie near by chance"
    moved = external.Features(hr.places + np.array([0, 2]), hr.descriptors)
    assert external.repeated(hr, moved, 1.5, ratio).found < 0.05, "it matches, but two pixels off"
    assert external.repeated(hr, moved, 2.5, ratio).found > 0.95


@pytest.mark.parametrize("kind", ["sift", "orb"])
def test_an_image_without_keypoints_says_nothing(external: ModuleType, kind: str) -> None:
    flat = external.features(np.full((64, 64, 3), 90, np.uint8), kind, 200)
    assert external.repeated(flat, flat, 1.5, 1.0) == (0, None, None)
    some = external.Features(np.ones((3, 2)), np.ones((3, 4)))
    assert external.repeated(some, flat, 1.5, 1.0) == (3, 0, 0)


def test_a_duller_reconstruction_keeps_fewer_keypoints(
    external: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    """Twelve tiles of six photographs; `dull` is blurred, `good` is the image itself: the score agrees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    sizes = {"good": 96, "bicubic": 48, "dull": 20}  # what the image is reduced to in between
    names = [f"i{i}" for i in range(12)]
    (tmp_path / "data/hr").mkdir(parents=True)
    for i, name in enumerate(names):
        y, x = 96 * (i // 4), 96 * (i % 4)
        hr = Image.fromarray(astronaut[y : y + 96, x : x + 96])
        hr.save(tmp_path / f"data/hr/{name}.png")
        for downscaler, size in sizes.items():
            folder = tmp_path / f"data/sr/flow/x4/{downscaler}/{name}"
            folder.mkdir(parents=True)
            made = hr.resize((size, size), Image.Resampling.BICUBIC).resize((96, 96), Image.Resampling.BICUBIC)
            made.save(folder / "0.webp", lossless=True)
    levels = {"good": 0.1, "bicubic": 0.2, "dull": 0.4}
    for downscaler, level in levels.items():
        make_rows(tmp_path / "data/distortion/flow/x4", downscaler, level, np.linspace(1, 2, 12))
    recipe = {
        "branches": [{"upscaler": "flow", "factor": 4, "downscaler": name} for name in levels],
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"label": "LPIPS", "better": "lower"}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (tmp_path / "data/plan").mkdir()
    (tmp_path / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    subset = pd.DataFrame({"image_id": names, "photograph": [f"p{i // 2}" for i in range(12)]})
    subset.to_csv("data/subset.csv", index=False)
    (tmp_path / "external.yaml").write_text(yaml.safe_dump(SETTINGS))
    external.main()
    found = json.loads(Path("results/made/external.json").read_text())["flow-x4"]
    for kind in ("sift", "orb"):
        assert found[kind]["order"] == ["good", "bicubic", "dull"]
        assert found[kind]["spearman"] == 1
        assert found[kind]["by_photograph"]["photographs"] == 6
    table = pd.read_csv("results/made/table.csv").set_index(["measure", "downscaler"])
    assert (table.photographs == 6).all()
    assert table["mean"]["sift", "dull"] > 0 > table["mean"]["sift", "good"]
    # Six photographs can show p of 2/64 and no less; two downscalers double it.
    assert table.p_holm["sift", "dull"] == pytest.approx(4 / 64)
    images = pd.read_csv("results/made/images.csv").set_index(["kind", "downscaler"])
    assert images.loc[("sift", "good"), "found"].mean() > 0.95
    text = (tmp_path / "results/made/external.md").read_text()
    assert "12 tiles of 6 photographs" in text
    assert "Significantly fewer than after bicubic: none" in text
    (tmp_path / "external.yaml").write_text(yaml.safe_dump(SETTINGS | {"baseline": "gone"}))
    with pytest.raises(Exception, match=r"external\.yaml: baseline: params\.yaml has no downscaler gone"):
        external.main()

"""Scores without HR images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import walk
from made import script
from PIL import Image


def test_a_ladder_rises_if_every_rung_is_shown_to() -> None:
    """By photographs of two tiles each; every alternative has the same values."""
    alternatives = script("ground-truth-free/alternatives.py")
    random = np.random.default_rng(0)
    ids = [f"i{i}" for i in range(40)]
    base = random.uniform(0, 1, 40)
    levels = {"one": 0.0, "two": 0.1, "three": 0.2, "chance": 0.202, "low": 0.05}
    frames = []
    for name, level in levels.items():
        values = base + level + random.normal(0, 0.01, 40) + (0.003 if name == "chance" else 0)
        frames.append(pd.DataFrame({"image_id": ids, "downscaler": name, "score": values}))
    table = pd.concat(frames)
    for name in alternatives.ALTERNATIVES:
        table[name] = table.score
    ladders = {"up": ["one", "two", "three"], "unsure": ["one", "three", "chance"], "down": ["one", "two", "low"]}
    compared = alternatives.Comparison(data="x", reference="one", ranked=list(levels), ladders=ladders)
    photographs = {image_id: f"p{i // 2}" for i, image_id in enumerate(ids)}
    settings = {"confidence": 0.95, "resamples": 999, "seed": 0}
    found = alternatives.rises(compared, table, photographs, settings)["cycle"]
    assert found["up"]["p"] == 0.001
    assert found["up"]["p_holm"] == pytest.approx(0.012), "one of twelve"
    assert found["unsure"]["means_rise"]
    assert found["unsure"]["p"] > 0.01
    assert found["down"] == {"means_rise": False, "p": 1, "p_holm": 1}
    means = table.groupby("downscaler")[["score", *alternatives.ALTERNATIVES]].mean()
    rho = alternatives.correlations(compared, means)
    judged = alternatives.rises(compared, table, photographs, settings)
    text = alternatives.text(compared, "LPIPS", "made", means, rho, judged, "40 tiles of 20 photographs", 0.05)
    assert "rung of 1 of 3 ladders; not shown for unsure; means do not rise in down." in text


def test_scores_without_hr_images(walked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the small run, with MSE in the lead: what each of them is, recomputed by hand for one image."""
    alternatives = script("ground-truth-free/alternatives.py")
    here = walked
    parameters = yaml.safe_load((here / "params.yaml").read_text())
    parameters["distortions"] = {"mse": {"method": "pixel", "metric": "mse"}}
    parameters["downscalers"] = {
        "bicubic": {"method": "resample", "filter": "bicubic"},
        "lanczos": {"method": "resample", "filter": "lanczos"},
        "noisy": {"method": "resample", "filter": "bicubic", "degrade": [{"gaussian_noise": {"sigma": 0.1}}]},
    }
    (here / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    values = {"data": "small", "reference": "bicubic", "ranked": list(parameters["downscalers"])}
    (here / "alternatives.yaml").write_text(yaml.safe_dump(values | {"ladders": {"noise": ["bicubic", "noisy"]}}))
    walk()
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    alternatives.main()
    first = (here / "results/small/table.csv").read_bytes()
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    shutil.rmtree(here / "results")
    shutil.rmtree(here / ".ida-rd")
    alternatives.main()
    assert (here / "results/small/table.csv").read_bytes() == first
    table = pd.read_csv(here / "results/small/table.csv").pivot(index="downscaler", columns="measure", values="mean")
    assert table.loc["bicubic", "cycle"] == table.loc["bicubic", "surrogate"], "one thing where f is the reference"
    assert table.loc["noisy", "surrogate"] > table.loc["bicubic", "surrogate"]
    rows = pd.read_csv(here / "data/distortion/flow-compact/x4/noisy.csv")
    assert table.loc["noisy", "pairwise"] == pytest.approx(rows["mse:spread"].mean())
    assert table.loc["noisy", "score"] == pytest.approx(rows.mse.mean())
    # f(X') of a plain filter, by Pillow itself.
    errors = []
    for folder in sorted((here / "data/sr/flow-compact/x4/lanczos").glob("photo-*")):
        again = Image.open(folder / "0.webp").convert("RGB").resize((16, 16), Image.Resampling.LANCZOS)
        lr = np.asarray(Image.open(here / f"data/lr/x4/lanczos/{folder.name}.png"), float)
        errors.append(np.square((np.asarray(again, float) - lr) / 255).mean())
    assert table.loc["lanczos", "consistency"] == pytest.approx(np.mean(errors))
    text = (here / "results/small/alternatives.md").read_text()
    assert "* **surrogate**: rho" in text
    assert "| noisy |" in text
    assert "4 photographs of small" in text
    assert "* **surrogate**: rho" in text
    assert "0 of 1 ladders; not shown for noise." in text, "four photographs show nothing, whatever their means"
    assert pd.read_csv(here / "results/small/table.csv").ci_low.isna().all()
    (here / "alternatives.yaml").write_text(yaml.safe_dump(values | {"reference": "gone", "ladders": {}}))
    with pytest.raises(Exception, match=r"params\.yaml has no downscaler gone"):
        alternatives.main()

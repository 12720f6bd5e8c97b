"""A study judges what its experiment claims: on made-up rows whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import make_rows
from numpy.typing import NDArray

from ida_rd.aggregate.statistics import Score
from ida_rd.study.__main__ import main
from ida_rd.study.judge import Result
from ida_rd.study.prose import agreement
from ida_rd.study.settings import Study

IMAGES = np.random.default_rng(0).uniform(0.1, 1, 30)  # their scores differ far more than those of conditions do


def _run_study(
    name: str,
    levels: Mapping[str, float | NDArray[np.float64]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    **changes: object,
) -> str:
    """Judge an experiment's own study.yaml on made rows: a score per condition that all images share."""
    for condition, level in levels.items():
        make_rows(folder / "data/distortion/flow-compact/x4", condition, level, IMAGES)
    branches = [{"upscaler": "flow-compact", "factor": 4, "downscaler": condition} for condition in levels]
    descriptor = {"label": "LPIPS", "better": "lower"} | changes.pop("descriptor", {})  # type: ignore[operator]
    recipe = {
        "branches": branches,
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": descriptor},
        "skipped": changes.pop("skipped", {}),
        "upscalers": {"x4/flow-compact": {"marks": changes.pop("marks", [])}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (folder / "data/plan").mkdir(parents=True, exist_ok=True)
    (folder / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text()) | changes
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    monkeypatch.chdir(folder)
    main()
    return (folder / "results/sample-photos/study.md").read_text()


def _conditions(name: str) -> list[str]:
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text())
    return list(dict.fromkeys(c for panel in values["panels"].values() for c in panel["conditions"]))


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "experiments").glob("*/study.yaml")))
def test_a_study_compares_what_its_pipeline_computes(name: str) -> None:
    params = yaml.safe_load((ROOT / "experiments" / name / "params.yaml").read_text())
    assert set(_conditions(name)) == set(params["downscalers"])
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text())
    assert set(values.get("paper", {}).get("scores", {})) <= set(params["downscalers"])


def test_ladders_hold_only_if_every_rung_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(_conditions("synthetic-after"), 1.0)
    for ladder in Study(
        **yaml.safe_load((ROOT / "experiments/synthetic-after/study.yaml").read_text())
    ).panels.values():
        for rung, condition in enumerate(ladder.conditions):
            levels[condition] = 1 + 0.1 * rung
    text = _run_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "15 of 15 rungs lose more" in text
    assert "(the more an LR image is degraded, the higher its score) **holds** here" in text
    assert "Image by image, the mean rho is lowest for blur: 1.000." in text
    figures = json.loads((tmp_path / "results/sample-photos/study.json").read_text())["flow-compact"]["x4"]
    assert (figures["shown"], figures["comparisons"], figures["reversed"]) == (15, 15, 0)
    assert figures["samples"] == 16 * 60
    table = pd.read_csv(tmp_path / "results/sample-photos/table.csv")
    row = table[(table.condition == "noise-010")].iloc[0]
    assert (row.against, row.group) == ("noise-005", "noise")
    mean = IMAGES.mean()
    assert row.difference_mean == pytest.approx(0.1 * mean)
    assert row["mean"] == pytest.approx(1.2 * mean + 0.0005)

    levels["noise-010"] = 1.05  # below the rung before
    text = _run_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "14 of 15 rungs" in text
    assert "noise-010 is not shown to lose more than noise-005" in text
    assert "reversed" in text
    assert "The means do not rise all the way in noise." in text
    assert "mean rho is lowest for noise: 0.800" in text
    assert "**does not hold in full** here" in text

    levels |= {"noise-010": 1.2, "contrast-150": 0.9}
    text = _run_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "**contrast-150**, not none, loses least." in text


def test_where_higher_is_better_the_judgement_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(_conditions("real-world"), 1.0)
    order = ["nearest", "dpid", "l0", "perceptual", "lanczos", "bicubic", "bilinear"]
    levels |= {name: 1 + 0.1 * i for i, name in enumerate(order)}  # as PSNR would be
    text = _run_study("real-world", levels, tmp_path, monkeypatch, descriptor={"better": "higher"})
    assert "From least to most lost: bilinear < bicubic < lanczos < perceptual < l0 < dpid < nearest." in text
    assert "8 of 8 comparisons of the claim hold" in text
    assert "**flow-compact, x4**" in text
    text = _run_study("real-world", levels, tmp_path, monkeypatch, marks=["deterministic", "not blind"])
    assert "**flow-compact (deterministic, not blind), x4**" in text
    assert "0 of 8 comparisons of the claim hold" in text
    assert "lanczos is not shown to lose more than bilinear" in text


def test_upscalers_are_compared_and_deterministic_ones_marked() -> None:
    def result(name: str, levels: list[float], *, factor: int = 4, marks: str = "") -> Result:
        scores = {f"c{i}": Score(level, 0.1, None, level, level) for i, level in enumerate(levels)}
        return Result(name, factor, scores, {}, [], 0, 0, 1, marks)

    results = [
        result("flow", [1, 2, 3, 4]),
        result("mode", [1, 3, 2, 3.5], marks="deterministic"),
        result("flow", [4, 3, 2, 1], factor=8),
    ]
    assert agreement(results) == [
        "flow, x4 and mode (deterministic), x4: Kendall's tau between their rankings is 0.67; from lowest to"
        " highest, their scores span 3.0000 and 2.5000."
    ]


def test_the_threshold_is_the_rung_from_which_on_all_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: dict[str, float | NDArray[np.float64]] = dict.fromkeys(_conditions("minimum-degradation"), 1.0)
    # Blur 0.1 is seen, 0.25 higher in the mean but not in every image, 0.3 is seen.
    levels |= {"blur-01": 1.1, "blur-025": 1 + (0.01 + 0.2 * np.resize([-1, 1], 30)) / IMAGES, "blur-03": 1.2}
    levels |= {name: 1.1 for name in levels if name.startswith("noise")}
    levels |= {"contrast-0999": 0.9}
    text = _run_study("minimum-degradation", levels, tmp_path, monkeypatch)
    assert "blur: seen from 0.3 on, not at 0.25 (" in text
    assert "noise: seen from 0.0001 on (" in text
    assert "contrast up: not seen even at 1.1." in text
    assert "**Lower than with no degradation**, with an interval that excludes zero: contrast-0999." in text
    assert "| 0.118 |" in text, "the paper's column"
    assert "**does not hold in full**" in text
    assert "+0.0000 [+0.0000, +0.0000] vs. none **(not shown)**" in text


def test_a_ranking_sorts_by_what_is_lost_and_says_what_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys([c for c in _conditions("libraries") if not c.startswith("vips")], 1.2)
    levels |= {"pillow-bicubic": 1.0, "opencv-area": 0.9, "torch-bicubic-antialias": 1.0, "torch-nearest": 2.0}
    skipped = {c: "the package pyvips is not installed" for c in _conditions("libraries") if c.startswith("vips")}
    text = _run_study("libraries", levels, tmp_path, monkeypatch, skipped=skipped)
    mean = IMAGES.mean() * np.array([0.9, 2]) + 0.0005
    assert f"opencv-area loses least ({mean[0]:.4f}), torch-nearest most ({mean[1]:.4f})." in text
    assert "1 loses less than pillow-bicubic: opencv-area." in text
    assert "1 does not differ significantly from pillow-bicubic: torch-bicubic-antialias." in text
    assert "25 lose more than pillow-bicubic" in text
    assert text.count("**Skipped: vips-") == 5
    assert text.count("(less)") == 1
    assert text.count("(not significant)") == 1
    assert "paper" not in text


def test_a_study_of_what_was_not_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match=r"panels\.lanczos: params\.yaml has no downscaler lanczos"):
        _run_study("real-world", {"bilinear": 1, "bicubic": 1}, tmp_path, monkeypatch)
    assert not (tmp_path / "results").exists()

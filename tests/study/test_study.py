"""A study judges what its experiment claims: on made-up rows whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from judged import IMAGES, RESULTS, Levels, conditions_of, judge_study, values_of

from ida_rd.aggregate.statistics import Score
from ida_rd.study.judge import Result
from ida_rd.study.prose import agreement
from ida_rd.study.rows import Condition
from ida_rd.study.settings import Study


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "experiments").glob("*/study.yaml")))
def test_a_study_compares_what_its_pipeline_computes(name: str) -> None:
    params = yaml.safe_load((ROOT / "experiments" / name / "params.yaml").read_text())
    assert set(conditions_of(name)) == set(params["downscalers"])
    Study.model_validate(values_of(name))  # its paper's columns are of these conditions too


def test_ladders_hold_only_if_every_rung_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(conditions_of("synthetic-after"), 1.0)
    for ladder in Study(**values_of("synthetic-after")).panels.values():
        for rung, condition in enumerate(ladder.conditions):
            levels[condition] = 1 + 0.1 * rung
    text = judge_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "15 of 15 rungs are shown to lose more" in text
    assert "(the more an LR image is degraded, the higher its score) **holds** here" in text
    assert "Image by image, the mean rho is lowest for blur: 1.000." in text
    assert "intersection-union: all must hold, so none is corrected" in text
    figures = json.loads((tmp_path / RESULTS / "study.json").read_text())["flow-compact"]["x4"]
    assert (figures["shown"], figures["comparisons"], figures["reversed"]) == (15, 15, 0)
    assert figures["samples"] == 16 * 60
    table = pd.read_csv(tmp_path / RESULTS / "table.csv").set_index("condition")
    mean = IMAGES.mean()
    assert table.loc["noise-010", "mean"] == pytest.approx(1.2 * mean + 0.0005)
    row = pd.read_csv(tmp_path / RESULTS / "differences.csv").set_index("condition").loc["noise-010"]
    assert (row.against, row.group, row.verdict) == ("noise-005", "noise", "shown")
    assert row.difference == pytest.approx(0.1 * mean)
    assert row.p_corrected == row.p, "a conjunction is not corrected"

    levels["noise-010"] = 1.05  # below the rung before
    text = judge_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "14 of 15 rungs" in text
    assert "noise-010 is not shown to lose more than noise-005" in text
    assert "**reversed**" in text
    assert "The means do not rise all the way in noise." in text
    assert "mean rho is lowest for noise: 0.800" in text
    assert "**does not hold in full** here" in text

    levels |= {"noise-010": 1.2, "contrast-150": 0.9}
    text = judge_study("synthetic-after", levels, tmp_path, monkeypatch)
    assert "**contrast-150**, not none, loses least." in text


def test_where_higher_is_better_the_judgement_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(conditions_of("real-world"), 1.0)
    order = ["nearest", "dpid", "l0", "perceptual", "lanczos", "bicubic", "bilinear"]
    levels |= {name: 1 + 0.1 * i for i, name in enumerate(order)}  # as PSNR would be
    recipe = {"descriptor": {"better": "higher"}}
    text = judge_study("real-world", levels, tmp_path, monkeypatch, recipe=recipe)
    assert "From least to most lost: bilinear < bicubic < lanczos < perceptual < l0 < dpid < nearest." in text
    assert "8 of 8 comparisons of the claim hold" in text
    assert "**flow-compact, x4**" in text
    marks = {"marks": ["deterministic", "not blind"]}
    text = judge_study("real-world", levels, tmp_path, monkeypatch, recipe=marks)
    assert "**flow-compact (deterministic, not blind), x4**" in text
    assert "0 of 8 comparisons of the claim hold" in text
    assert "lanczos is not shown to lose more than bilinear" in text


def test_upscalers_are_compared_and_deterministic_ones_marked() -> None:
    def result(name: str, levels: list[float], *, factor: int = 4, marks: str = "") -> Result:
        means = pd.Series(dtype=float)
        scores = {f"c{i}": Condition(Score(v, 0.1, None, v, v), means, 1) for i, v in enumerate(levels)}
        return Result(name, factor, scores, [], 1, marks)

    results = [
        result("flow", [1, 2, 3, 4]),
        result("mode", [1, 3, 2, 3.5], marks="deterministic"),
        result("flow", [4, 3, 2, 1], factor=8),
    ]
    assert agreement(results) == [
        "flow, x4 and mode (deterministic), x4: Kendall's tau between their rankings is 0.67; from lowest to"
        " highest, their scores span 3.00 and 2.50."
    ]


def test_the_threshold_is_the_rung_from_which_on_all_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: dict[str, float | np.ndarray] = dict.fromkeys(conditions_of("minimum-degradation"), 1.0)
    # Blur 0.1 would be seen, 0.25 is higher in the mean but not in every image, 0.3 is seen.
    levels |= {"blur-01": 1.1, "blur-025": 1 + (0.01 + 0.2 * np.resize([-1, 1], 30)) / IMAGES, "blur-03": 1.2}
    levels |= {name: 1.1 for name in levels if name.startswith("noise")}
    levels |= {"contrast-0800": 0.9}
    text = judge_study("minimum-degradation", levels, tmp_path, monkeypatch)
    assert "blur: seen from 0.3 on, not at 0.25 (" in text
    assert "noise: seen from 0.0001 on (" in text
    assert "contrast up: not seen even at 1.2 (" in text
    assert "contrast, truncated (beside the claim): not seen even at 0.999 (" in text
    assert "**Significantly lower than with no degradation**: contrast-0800." in text
    assert "0.118 ± 0.042" in text, "the paper's column"
    assert "**does not hold in full**" in text
    table = pd.read_csv(tmp_path / RESULTS / "differences.csv").set_index("condition")
    blur = table[table.group == "blur"].verdict
    assert blur["blur-03"] == "shown"
    assert blur["blur-025"] == "not shown"
    assert set(blur.drop(["blur-03", "blur-025"])) == {"not tested"}, "blur-01 too, though its p is small"
    assert table.loc["blur-01", "p"] < 0.05
    assert table.loc["contrast-0800", "verdict"] == "reversed"

    levels |= {name: 1.1 for name in levels if name not in ("none", "contrast-1001-pillow", "contrast-0999-pillow")}
    text = judge_study("minimum-degradation", levels, tmp_path, monkeypatch)
    assert "**holds** here" in text, "the panel beside the claim is no part of it"


def test_a_ranking_sorts_by_what_is_lost_and_says_what_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys([c for c in conditions_of("libraries") if not c.startswith("vips")], 1.2)
    levels |= {"pillow-bicubic": 1.0, "opencv-area": 0.9, "torch-bicubic-antialias": 1.0, "torch-nearest": 2.0}
    skipped = {c: "the package pyvips is not installed" for c in conditions_of("libraries") if c.startswith("vips")}
    recipe = {"skipped": skipped, "resamples": 5000}
    text = judge_study("libraries", levels, tmp_path, monkeypatch, recipe=recipe)
    mean = IMAGES.mean() * np.array([0.9, 2]) + 0.0005
    assert f"opencv-area loses least ({mean[0]:.3f}), torch-nearest most ({mean[1]:.2f})." in text
    assert "1 loses less than pillow-bicubic: opencv-area." in text
    assert "1 does not differ significantly from pillow-bicubic: torch-bicubic-antialias." in text
    assert "1 is alike within the margin to pillow-bicubic: torch-bicubic-antialias." in text
    assert "25 lose more than pillow-bicubic" in text
    assert text.count("**Skipped: vips-") == 5
    assert text.count("| **reversed** |") == 1
    assert text.count("| **not shown; alike** |") == 1
    assert "Paper:" not in text


def test_a_study_of_what_was_not_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: Levels = {"bilinear": 1, "bicubic": 1}
    with pytest.raises(Exception, match=r"panels\.lanczos: params\.yaml has no downscaler lanczos"):
        judge_study("real-world", levels, tmp_path, monkeypatch)
    assert not (tmp_path / "results").exists()

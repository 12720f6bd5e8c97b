"""What a study may say: by photographs, corrected as its kind of claim demands, alike only if that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judged import IMAGES, RESULTS, conditions_of, judge_study

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import equivalence_p


def _differences(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / RESULTS / "differences.csv").set_index("condition")


def test_tiles_of_one_photograph_are_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanczos loses more on 24 tiles of one photograph, and less on six photographs of a tile each."""
    levels: dict[str, Any] = dict.fromkeys(conditions_of("real-world"), 1.0)
    shift = np.concatenate([np.full(24, 0.05), np.full(6, -0.02)])
    levels |= {"lanczos": 1 + shift / IMAGES}
    text = judge_study("real-world", levels, tmp_path, monkeypatch)
    assert "N = 30 photographs, 30 images, K = 2" in text
    row = _differences(tmp_path).query("against == 'bicubic'").loc["lanczos"]
    assert (row.verdict, row.photographs, row.images) == ("shown", 30, 30)
    assert row.share == pytest.approx(24 / 30)

    photographs = ["one"] * 24 + [f"p{i}" for i in range(6)]
    text = judge_study("real-world", levels, tmp_path, monkeypatch, photographs=photographs)
    assert "N = 7 photographs, 30 images, K = 2" in text
    assert "**7 photographs are few**" in text
    row = _differences(tmp_path).query("against == 'bicubic'").loc["lanczos"]
    assert (row.verdict, row.photographs, row.images) == ("not shown", 7, 30)
    assert row.difference == pytest.approx((0.05 - 6 * 0.02) / 7)
    assert row.share == pytest.approx(6 / 7)
    assert row.effect == pytest.approx(row.difference / np.std([0.05, *[-0.02] * 6], ddof=1))


def _barely(count: int) -> Any:
    """A level whose differences have a p of about .01."""
    shift = 0.002 + 0.0042 * np.resize([-1, 1], count) + np.linspace(-0.0001, 0.0001, count)
    return 1 + shift / IMAGES[:count]


def test_many_claims_are_corrected_and_a_conjunction_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: dict[str, Any] = dict.fromkeys(conditions_of("libraries"), 2.0)
    levels |= {"pillow-bicubic": 1.0, "vips-bicubic": _barely(30)}
    judge_study("libraries", levels, tmp_path / "ranking", monkeypatch)
    table = _differences(tmp_path / "ranking")
    assert table.loc["vips-bicubic", "p"] < 0.05
    assert table.p_corrected.to_list() == pytest.approx(holm(table.p.to_list()))
    levels = {"bilinear": 1.0, "bicubic": 1.0, "lanczos": _barely(30)}
    levels |= {"dpid": 3.0, "l0": 3.0, "perceptual": 3.0, "nearest": 4.0}
    text = judge_study("real-world", levels, tmp_path / "order", monkeypatch)
    assert "8 of 8 comparisons of the claim hold" in text


def test_a_p_that_holm_does_not_leave_below_the_level_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = dict.fromkeys(conditions_of("libraries"), 1.0)
    levels: dict[str, Any] = none | {"vips-bicubic": _barely(30)}
    text = judge_study("libraries", levels, tmp_path, monkeypatch)
    row = _differences(tmp_path).loc["vips-bicubic"]
    assert row.p < 0.05 < row.p_corrected
    assert row.verdict.startswith("not shown")
    assert "corrected together by Holm's method" in text


def test_alike_is_what_lies_within_the_margin_and_no_word_for_not_significant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: dict[str, Any] = dict.fromkeys(conditions_of("libraries"), 1.5)
    noisy = 1 + 0.05 * np.resize([-1, 1], 30) / IMAGES  # no difference in the mean, and none that could be told
    small = 1 + np.linspace(0.0008, 0.0012, 30) / IMAGES
    levels |= {"pillow-bicubic": 1.0, "pillow-box": noisy, "pillow-lanczos": small}
    text = judge_study("libraries", levels, tmp_path, monkeypatch, recipe={"resamples": 5000})
    table = _differences(tmp_path)
    assert table.loc["pillow-box", "verdict"] == "not shown"
    assert table.loc["pillow-lanczos", "verdict"] == "shown; alike", "significant, and too small to matter"
    assert table.loc["pillow-nearest", "verdict"] == "shown"
    assert "within ±0.005" in text

    other = {"margin": 0.005, "distortion": "psnr", "reason": "A convention."}
    text = judge_study("libraries", levels, tmp_path, monkeypatch, equivalence=other)
    assert "What is alike is not tested: the margin is one of psnr, and LPIPS leads." in text
    assert not _differences(tmp_path).verdict.str.contains("alike").any()


def test_alike_is_asked_of_what_is_not_shown_and_corrected_in_a_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    margin = {"margin": 0.005, "distortion": "lpips-alex", "reason": "A convention."}
    noisy = 1 + 0.012 * np.resize([-1, 1], 30) / IMAGES
    levels: dict[str, Any] = {"bilinear": 1.0, "bicubic": 0.9, "lanczos": noisy}
    levels |= {"dpid": 3.0, "l0": 3.0, "perceptual": 3.0, "nearest": 4.0}
    judge_study("real-world", levels, tmp_path / "order", monkeypatch, equivalence=margin)
    table = _differences(tmp_path / "order").loc["lanczos"].set_index("against")
    alike = equivalence_p((noisy - 1) * IMAGES, 0.005)
    assert 0.01 < alike < 0.05
    assert table.loc["bilinear", "p_alike"] == pytest.approx(alike)
    assert table.loc["bilinear", "verdict"] == "not shown; alike"
    assert np.isnan(table.loc["bicubic", "p_alike"]), "it is shown"

    levels = dict.fromkeys(conditions_of("libraries"), 1.5)
    levels |= {"pillow-bicubic": 1.0, "pillow-box": noisy, "pillow-lanczos": noisy}
    judge_study("libraries", levels, tmp_path / "ranking", monkeypatch)
    # The smallest of 32, of which 30 are far outside the margin.
    assert _differences(tmp_path / "ranking").loc["pillow-box", "p_alike"] == pytest.approx(32 * alike)


def test_few_photographs_have_no_interval_and_the_page_says_what_they_cannot_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys(conditions_of("libraries"), 1.5) | {"pillow-bicubic": 1.0}
    text = judge_study("libraries", levels, tmp_path, monkeypatch, images=IMAGES[:4])
    assert "**4 photographs are too few for an interval.**" in text
    assert f"| {0.5 * IMAGES[:4].mean():+.3f} vs. pillow-bicubic |" in text
    text = judge_study("libraries", levels, tmp_path, monkeypatch, images=IMAGES[:9])
    assert "**9 photographs are few**" in text
    assert "it cannot give a p below 0.125" in text  # 32 times 2^-8
    text = judge_study("libraries", levels, tmp_path, monkeypatch, images=IMAGES[:13])
    assert "few" not in text


def test_the_primary_distortion_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = dict.fromkeys(conditions_of("real-world"), 1.0)
    text = judge_study("real-world", levels, tmp_path, monkeypatch, recipe={"primary": "dists"})
    assert "**The primary distortion, dists, could not be computed**: LPIPS leads instead." in text
    text = judge_study("real-world", levels, tmp_path, monkeypatch, recipe={"primary": "lpips-alex"})
    assert "primary" not in text

"""From rows to scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ida_rd.aggregate.results import aggregate
from ida_rd.aggregate.statistics import paired_difference, summarise
from ida_rd.aggregate.tables import disagreement_note, markdown_table, primary_note
from ida_rd.core.errors import UserError

OPTIONS = {"confidence": 0.95, "resamples": 500, "seed": 0}
CONFIDENCE = 0.95


def _rows(values: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"image_id": f"i{i}", "sample": k, "finite": not np.isnan(value), "d": value}
            for i, samples in enumerate(values)
            for k, value in enumerate(samples)
        ]
    )


def test_a_score_is_the_mean_over_images_of_the_mean_over_samples() -> None:
    score, images = summarise(_rows([[1, 3], [2, 2], [4, 8]]), "d", confidence=CONFIDENCE)
    assert images.tolist() == [2, 2, 6]
    assert score.mean == pytest.approx(10 / 3)
    assert score.std_images == pytest.approx(np.std([2, 2, 6], ddof=1))
    assert score.std_samples == pytest.approx((np.sqrt(2) + 0 + np.sqrt(8)) / 3)


def test_an_image_with_a_lost_sample_counts_as_much_as_any_other() -> None:
    score, images = summarise(_rows([[1, np.nan], [2, 4], [np.nan, np.nan]]), "d", confidence=CONFIDENCE)
    assert images.to_dict() == {"i0": 1, "i1": 3}
    assert score.mean == 2


def test_one_sample_has_no_spread_and_one_image_no_interval() -> None:
    score, _ = summarise(_rows([[1], [2]]), "d", confidence=CONFIDENCE)
    assert score.std_samples is None
    with pytest.raises(UserError, match="only 1 images"):
        summarise(_rows([[1, 2]]), "d", confidence=CONFIDENCE)


def test_the_score_is_the_sum_of_variance_and_bias() -> None:
    rows = _rows([[1, 3], [2, 2], [4, 8], [5, np.nan]])
    rows["d:spread"] = [1, 1, 0, 0, 6, 6, np.nan, np.nan]  # one sample has nothing to lie apart from
    score, _ = summarise(rows, "d", confidence=CONFIDENCE)
    assert score.mean == pytest.approx((2 + 2 + 6 + 5) / 4)
    assert score.variance == pytest.approx((0.5 + 0 + 3) / 3)
    assert score.bias == pytest.approx((1.5 + 2 + 3) / 3)
    assert score.variance_to_bias == pytest.approx(3.5 / 6.5)
    rows["d:spread"] *= 100
    assert summarise(rows, "d", confidence=CONFIDENCE)[0].variance_to_bias is None, (
        "a bias below zero: nothing to divide by"
    )
    rows["d:spread"] = np.nan
    assert summarise(rows, "d", confidence=CONFIDENCE)[0].variance is None


def test_for_samples_of_the_true_posterior_variance_equals_bias() -> None:
    """Original and samples are drawn from one law, as squared distances of points in a plane."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(4000):
        middle = rng.normal(size=2)
        original, samples = middle + rng.normal(size=2), middle + rng.normal(size=(3, 2))
        for k, sample in enumerate(samples):
            others = np.square(np.delete(samples, k, axis=0) - sample).sum(axis=1)
            distance = np.square(sample - original).sum()
            rows.append({"image_id": f"{i}", "sample": k, "finite": True, "d": distance, "d:spread": others.mean()})
    score, _ = summarise(pd.DataFrame(rows), "d", confidence=CONFIDENCE)
    assert score.variance_to_bias == pytest.approx(1, abs=0.05)
    assert score.mean == pytest.approx(4, abs=0.1)


def test_differences_are_paired_by_image() -> None:
    rng = np.random.default_rng(0)
    less = pd.Series(rng.uniform(0, 1, 40), index=[f"i{i}" for i in range(40)])
    more = (less + rng.normal(0.01, 0.002, 40)).sample(frac=1, random_state=0)  # in another order
    more["only-here"] = 9.0
    found = paired_difference(less, more, **OPTIONS)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(0.01, abs=0.001)
    assert found.low is not None
    assert found.high is not None
    assert 0.008 < found.low < found.mean < found.high < 0.012
    turned = paired_difference(more, less, **OPTIONS)  # type: ignore[arg-type]
    assert turned.mean == -found.mean
    with pytest.raises(UserError, match="only 1 images are common"):
        paired_difference(less[:1], more, **OPTIONS)  # type: ignore[arg-type]


def test_a_score_is_a_mean_over_photographs_and_its_parts_too() -> None:
    rows = _rows([[1, 3], [2, 2], [10, 14]])
    rows["d:spread"] = [1.0, 1, 0, 0, 6, 6]
    photographs = {"i0": "p", "i1": "p", "i2": "q"}
    score, images = summarise(rows, "d", photographs, confidence=CONFIDENCE)
    assert images.tolist() == [2, 2, 12]
    assert score.mean == (2 + 12) / 2
    assert score.variance == pytest.approx(((0.5 + 0) / 2 + 3) / 2)
    assert score.variance + score.bias == pytest.approx(score.mean)  # type: ignore[operator]
    assert score.ci_low is None, "two photographs"


def _with_failures() -> pd.DataFrame:
    rows = _rows([[1, 3], [2, np.nan], [4, 8]]).assign(attempts=[1, 2, 1, 3, 1, 1], clipped=0.0)
    return rows.assign(**{"d:failed": [np.nan, 11.0, np.nan, 22.0, np.nan, np.nan]})


def test_what_failed_when_first_drawn_is_counted_and_scored_as_the_official_code_does() -> None:
    rows = _with_failures()
    recipe = {
        "confidence": 0.95,
        "resamples": 100,
        "seed": 0,
        "skipped": {},
        "distortion_order": ["d"],
        "branches": [{"upscaler": "u", "factor": 4, "downscaler": "x"}],
        "upscalers": {"x4/u": {"stochastic": True, "marks": []}},
        "distortions": {"d": {"better": "lower"}},
    }
    rates = {("x", 4, i): 1.0 for i in ("i0", "i1", "i2")}
    found = aggregate(recipe, {i: i for i in ("i0", "i1", "i2")}, lambda branch: rows, rates)
    entry = found.summary["u"]["x4"]["x"]
    assert entry["first_draw_failures"] == pytest.approx(2 / 6)
    assert entry["nonfinite_rate"] == pytest.approx(1 / 6), "the other was drawn again"
    assert entry["d"]["mean"] == pytest.approx((2 + 2 + 6) / 3)
    assert entry["d"]["mean_with_failures"] == pytest.approx(((1 + 11) / 2 + (2 + 22) / 2 + 6) / 3)
    fine = rows[["image_id", "sample", "finite", "d"]].assign(attempts=1, clipped=0.0, finite=True, d=1.0)
    found = aggregate(recipe, {i: i for i in ("i0", "i1", "i2")}, lambda branch: fine, rates)
    assert found.summary["u"]["x4"]["x"]["d"]["mean_with_failures"] is None


def test_the_table_sorts_by_the_leading_distortion_and_marks_the_best() -> None:
    base = {
        "upscaler": "u",
        "factor": 4,
        "std_images": 0.1,
        "std_samples": 0.1,
        "photographs": 9,
        "images": 9,
        "samples": 2,
        "stochastic": True,
        "marks": "",
    }
    base |= {
        "first_draw_failures": 0.25,
        "mean_with_failures": None,
        "nonfinite_rate": 0.0,
        "clipped_rate": 0.0,
        "ci_low": 0.0,
        "ci_high": 1.0,
    }
    results = [
        base | {"downscaler": name, "distortion": distortion, "mean": mean}
        for name, fsim, psnr in (("bad", 0.9, 40.0), ("good", 0.1, 30.0))
        for distortion, mean in (("fsim", fsim), ("psnr", psnr))
    ]
    distortions = {"fsim": {"label": "F", "better": "lower"}, "psnr": {"label": "P", "better": "higher"}}
    text = markdown_table(pd.DataFrame(results), distortions, ["fsim", "psnr"], {"lpips": "of this"}, 0.95)
    lines = text.splitlines()
    assert lines[0].endswith("| F ↓ | P ↑ | failed | clipped |")
    assert "good | **0.100**" in lines[2]
    assert "bad | 0.900" in lines[3]
    assert "**40.00**" in lines[3]
    assert lines[2].endswith("| 25 % | 0 |")
    assert "of 95% hold" in text
    assert "N = 9 photographs, K = 2 samples" in text
    assert "**Fewer than 12 photographs**" in text
    assert "**Skipped: lpips**, because of this." in text
    assert "variance" not in text
    assert "deterministic" not in text
    marked = [r | {"marks": "deterministic, not blind"} for r in results]
    text = markdown_table(pd.DataFrame(marked), distortions, ["fsim", "psnr"], {}, 0.95)
    assert "| u (deterministic, not blind) | x4 |" in text
    parts = {"variance": 0.2, "bias": 0.4, "variance_to_bias": 0.5}
    none = dict.fromkeys(parts)
    results = [r | (parts if (r["distortion"], r["downscaler"]) == ("fsim", "good") else none) for r in results]
    lines = markdown_table(pd.DataFrame(results), distortions, ["fsim", "psnr"], {}, 0.95).splitlines()
    assert lines[0].endswith("| F ↓ | variance : squared error | P ↑ | failed | clipped |")
    assert "| 0.200 : 0.400 = 0.50 |" in lines[2]
    assert "| one sample |" in lines[3]


def test_the_table_names_the_primary_outcome_and_says_where_it_is_not_here() -> None:
    distortions = {"a": {"label": "A", "better": "lower"}, "b": {"label": "B", "better": "lower"}}
    assert primary_note("a", distortions, ["a", "b"], {}) == ["The primary outcome is A."]
    (note,) = primary_note("gone", distortions, ["a", "b"], {"gone": "no weights"})
    assert "gone, could not be computed here" in note
    assert "Sorted by A" in note


def test_distortions_that_disagree_significantly_are_said() -> None:
    base = {"upscaler": "u", "factor": 4}
    pairs = pd.DataFrame(
        [
            base | {"distortion": "a", "loses_less": "x", "loses_more": "y", "p_holm": 0.01},
            base | {"distortion": "b", "loses_less": "y", "loses_more": "x", "p_holm": 0.02},
            base | {"distortion": "c", "loses_less": "x", "loses_more": "y", "p_holm": 0.03},
            base | {"distortion": "a", "loses_less": "x", "loses_more": "z", "p_holm": 0.01},
            base | {"distortion": "b", "loses_less": "z", "loses_more": "x", "p_holm": 0.2},
        ]
    )
    labels = {name: {"label": name.upper()} for name in "abc"}
    assert "x loses less than y by A, C, more by B" in disagreement_note(pairs, labels, list("abc"), 0.05)
    assert disagreement_note(pairs[:1], labels, list("abc"), 0.05) == ""

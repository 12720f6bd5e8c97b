"""From rows to scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ida_rd.aggregate.statistics import bootstrap_interval, paired_difference, summarise
from ida_rd.aggregate.tables import markdown_table
from ida_rd.core.errors import UserError

OPTIONS = {"confidence": 0.95, "resamples": 500, "seed": 0}


def _rows(values: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"image_id": f"i{i}", "sample": k, "finite": not np.isnan(value), "d": value}
            for i, samples in enumerate(values)
            for k, value in enumerate(samples)
        ]
    )


def test_a_score_is_the_mean_over_images_of_the_mean_over_samples() -> None:
    score, images = summarise(_rows([[1, 3], [2, 2], [4, 8]]), "d", **OPTIONS)  # type: ignore[arg-type]
    assert images.tolist() == [2, 2, 6]
    assert score.mean == pytest.approx(10 / 3)
    assert score.std_images == pytest.approx(np.std([2, 2, 6], ddof=1))
    assert score.std_samples == pytest.approx((np.sqrt(2) + 0 + np.sqrt(8)) / 3)


def test_an_image_with_a_lost_sample_counts_as_much_as_any_other() -> None:
    score, images = summarise(_rows([[1, np.nan], [2, 4], [np.nan, np.nan]]), "d", **OPTIONS)  # type: ignore[arg-type]
    assert images.to_dict() == {"i0": 1, "i1": 3}
    assert score.mean == 2


def test_one_sample_has_no_spread_and_one_image_no_interval() -> None:
    score, _ = summarise(_rows([[1], [2]]), "d", **OPTIONS)  # type: ignore[arg-type]
    assert score.std_samples is None
    with pytest.raises(UserError, match="only 1 images"):
        summarise(_rows([[1, 2]]), "d", **OPTIONS)  # type: ignore[arg-type]


def test_the_score_is_the_sum_of_variance_and_bias() -> None:
    rows = _rows([[1, 3], [2, 2], [4, 8], [5, np.nan]])
    rows["d:spread"] = [1, 1, 0, 0, 6, 6, np.nan, np.nan]  # one sample has nothing to lie apart from
    score, _ = summarise(rows, "d", **OPTIONS)  # type: ignore[arg-type]
    assert score.mean == pytest.approx((2 + 2 + 6 + 5) / 4)
    assert score.variance == pytest.approx((0.5 + 0 + 3) / 3)
    assert score.bias == pytest.approx((1.5 + 2 + 3) / 3)
    assert score.variance_to_bias == pytest.approx(3.5 / 6.5)
    rows["d:spread"] *= 100
    assert summarise(rows, "d", **OPTIONS)[0].variance_to_bias is None, "a bias below zero: nothing to divide by"  # type: ignore[arg-type]
    rows["d:spread"] = np.nan
    assert summarise(rows, "d", **OPTIONS)[0].variance is None  # type: ignore[arg-type]


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
    score, _ = summarise(pd.DataFrame(rows), "d", **OPTIONS)  # type: ignore[arg-type]
    assert score.variance_to_bias == pytest.approx(1, abs=0.05)
    assert score.mean == pytest.approx(4, abs=0.1)


def test_differences_are_paired_by_image() -> None:
    rng = np.random.default_rng(0)
    less = pd.Series(rng.uniform(0, 1, 40), index=[f"i{i}" for i in range(40)])
    more = (less + rng.normal(0.01, 0.002, 40)).sample(frac=1, random_state=0)  # in another order
    more["only-here"] = 9.0
    found = paired_difference(less, more, **OPTIONS)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(0.01, abs=0.001)
    assert 0.008 < found.low < found.mean < found.high < 0.012
    turned = paired_difference(more, less, **OPTIONS)  # type: ignore[arg-type]
    assert turned.mean == -found.mean
    with pytest.raises(UserError, match="only 1 images are common"):
        paired_difference(less[:1], more, **OPTIONS)  # type: ignore[arg-type]


@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=30), seed=st.integers(0, 3))
def test_the_interval_lies_within_the_data_and_is_repeatable(values: list[float], seed: int) -> None:
    data = np.array(values)
    low, high = bootstrap_interval(data, 0.95, 200, seed)
    assert data.min() - 1e-12 <= low <= high <= data.max() + 1e-12
    assert bootstrap_interval(data, 0.95, 200, seed) == (low, high)


@pytest.mark.parametrize("count", [12, 24, 50, 100])
@pytest.mark.parametrize("law", ["normal", "gamma", "lognormal"])
def test_the_interval_covers_the_mean_as_often_as_it_says(law: str, count: int) -> None:
    rng = np.random.default_rng(0)
    draw, mean = {
        "normal": (lambda size: rng.normal(0.3, 0.1, size), 0.3),
        "gamma": (lambda size: rng.gamma(2, 0.1, size), 0.2),
        "lognormal": (lambda size: np.exp(rng.normal(0, 0.3, size)), float(np.exp(0.045))),
    }[law]
    low, high = bootstrap_interval(draw((4000, count)), 0.95, 1000, 0)
    assert 0.93 <= np.mean((low <= mean) & (mean <= high)) <= 0.97


def test_plain_intervals_of_24_images_are_too_short() -> None:
    """Why they are widened: they cover 92 % of the time, not 95."""
    from scipy import stats

    values = np.random.default_rng(0).gamma(2, 0.1, (4000, 24))
    plain = stats.bootstrap((values,), np.mean, n_resamples=1000, batch=10, axis=-1, rng=0).confidence_interval
    assert np.mean((plain.low <= 0.2) & (plain.high >= 0.2)) == pytest.approx(0.92, abs=0.01)


def test_intervals_of_a_table_are_those_of_its_rows() -> None:
    values = np.random.default_rng(0).gamma(2, 1, (7, 30))
    values[3] = 0.25
    low, high = bootstrap_interval(values, 0.95, 3000, 1)
    for i in range(7):
        assert (low[i], high[i]) == pytest.approx(bootstrap_interval(values[i], 0.95, 3000, 1), rel=1e-12)
    assert low[3] == high[3] == 0.25


def test_the_table_sorts_by_the_leading_distortion_and_marks_the_best() -> None:
    base = {
        "upscaler": "u",
        "factor": 4,
        "std_images": 0.1,
        "std_samples": 0.1,
        "images": 9,
        "samples": 2,
        "stochastic": True,
        "marks": "",
    }
    base |= {"nonfinite_rate": 0.0, "clipped_rate": 0.0, "ci_low": 0.0, "ci_high": 1.0}
    results = [
        base | {"downscaler": name, "distortion": distortion, "mean": mean}
        for name, fsim, psnr in (("bad", 0.9, 40.0), ("good", 0.1, 30.0))
        for distortion, mean in (("fsim", fsim), ("psnr", psnr))
    ]
    distortions = {"fsim": {"label": "F", "better": "lower"}, "psnr": {"label": "P", "better": "higher"}}
    text = markdown_table(pd.DataFrame(results), distortions, ["fsim", "psnr"], {"lpips": "of this"}, 0.95)
    lines = text.splitlines()
    assert lines[0].endswith("| F ↓ | P ↑ |")
    assert "good | **0.1000**" in lines[2]
    assert "bad | 0.9000" in lines[3]
    assert "**40.00**" in lines[3]
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
    assert lines[0].endswith("| F ↓ | variance : bias² | P ↑ |")
    assert "| 0.2000 : 0.4000 = 0.50 |" in lines[2]
    assert "| one sample |" in lines[3]

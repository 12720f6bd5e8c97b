"""Paired tests, ranks, agreement, power."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ida_rd.aggregate.comparisons import (
    _agreements,
    differences,
    halves,
    holm,
    losses,
    mean_ranks,
    rank_agreement,
    taus,
)
from ida_rd.aggregate.power import Components, components, paired_rows, photographs_needed
from ida_rd.aggregate.results import image_means
from ida_rd.aggregate.statistics import mean_interval, sign_flip_p
from ida_rd.aggregate.tables import differences_markdown, mean_std_csv, mean_std_latex, mean_std_markdown
from ida_rd.core.errors import UserError

OPTIONS = {"confidence": 0.95, "resamples": 500, "seed": 0}


def _means(count: int = 30, **shift: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.1, 0.5, count)
    values = {name: hard + by + rng.normal(0, 0.01, count) for name, by in shift.items()}
    return pd.DataFrame(values, index=[str(i) for i in range(count)])


def test_every_pair_is_compared_image_by_image() -> None:
    means = _means(b=0.02, a=0.0, c=0.02)
    table = differences(means, **OPTIONS)  # type: ignore[arg-type]
    assert len(table) == 3
    assert set(table.loses_less[:2]) == {"a"}
    assert (table.difference >= 0).all()
    first = table.iloc[0]
    value = (means[first.loses_more] - means.a).to_numpy()
    assert first.difference == pytest.approx(value.mean())
    assert (first.low, first.high) == pytest.approx(mean_interval(value, 0.95))
    assert first.p == sign_flip_p(value, 500, 0)
    assert first.effect == pytest.approx(value.mean() / value.std(ddof=1))
    assert first.share == (value > 0).mean()
    assert first.p_holm >= first.p
    # The images differ by far more than the downscalers: only the pairing sees it.
    assert first.p_holm < 0.01
    assert stats.mannwhitneyu(means.a, means[first.loses_more]).pvalue > 0.05
    assert table.iloc[2].p_holm > 0.05


def test_a_lost_image_leaves_its_own_pairs_alone() -> None:
    means = _means(a=0.0, b=0.1, c=0.2)
    means.loc["0", "c"] = np.nan
    table = differences(means, **OPTIONS).set_index(["loses_less", "loses_more"])  # type: ignore[arg-type]
    assert table.images.to_dict() == {("a", "b"): 30, ("a", "c"): 29, ("b", "c"): 29}
    means.loc["1":, "c"] = np.nan
    assert len(differences(means, **OPTIONS)) == 1  # type: ignore[arg-type]


def test_a_pair_is_turned_by_the_images_that_both_have() -> None:
    """`b` has the higher mean only because the easy images were lost."""
    means = pd.DataFrame({"a": [0.1] * 10 + [0.9] * 10, "b": [np.nan] * 10 + [0.8] * 10})
    row = differences(means, **OPTIONS).iloc[0]  # type: ignore[arg-type]
    assert (row.loses_less, row.loses_more) == ("b", "a")
    assert row.difference == pytest.approx(0.1)
    assert 0 < row.low <= row.high


def test_downscalers_that_are_alike_do_not_differ_significantly() -> None:
    means = _means(a=0.0)
    means["b"] = means.a
    row = differences(means, **OPTIONS).iloc[0]  # type: ignore[arg-type]
    assert (row.difference, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 1, 1)


P_VALUES = st.one_of(st.sampled_from([0.0, 0.002, 0.004, 0.006, 0.01, 0.02, 0.03, 0.05, 0.06, 0.1]), st.floats(0, 1))


@given(p=st.lists(P_VALUES, max_size=12), seed=st.integers(0, 9))
def test_holms_correction(p: list[float], seed: int) -> None:
    """Its decisions are those of the procedure as published: step down until one is not rejected."""
    found = holm(p)
    order = sorted(range(len(p)), key=p.__getitem__)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for place, i in enumerate(order):
            if (len(p) - place) * p[i] > level:
                break
            rejected.add(i)
        assert {i for i, q in enumerate(found) if q <= level} == rejected
    shuffled = np.random.default_rng(seed).permutation(len(p))
    again = holm([p[i] for i in shuffled])
    assert sorted(again) == sorted(found)


def test_ranks_share_ties_and_leave_out_incomplete_images() -> None:
    means = pd.DataFrame({"a": [1, 1, 5.0, np.nan], "b": [2, 1, 1.0, 0], "c": [3, 2, 2.0, 0]}, index=list("wxyz"))
    found = mean_ranks(means)
    assert found.photographs == 3
    assert found.mean.to_dict() == {"a": (1 + 1.5 + 3) / 3, "b": (2 + 1.5 + 1) / 3, "c": (3 + 3 + 2) / 3}
    tiled = mean_ranks(means, {"w": "p", "x": "p", "y": "q", "z": "q"})
    assert tiled.photographs == 2, "w and x are one photograph, and z has no value of a"
    assert tiled.mean.to_dict() == {"a": (1 + 3) / 2, "b": (2 + 1) / 2, "c": (3 + 2) / 2}


def test_rankings_of_halves_agree_where_there_is_an_order_and_not_where_there_is_none() -> None:
    order = halves(_means(a=0.0, b=0.1, c=0.2, d=0.3), None, 0)
    assert order is not None
    assert (order["kendall"], order["low"], order["high"]) == (1, 1, 1)
    noise = halves(_means(200, **dict.fromkeys("abcdef", 0.0)), None, 0)
    assert noise is not None
    assert noise["kendall"] < 0.6
    assert noise["low"] < 0.2
    assert halves(_means(a=0, b=1), None, 0) is None
    assert halves(_means(3, a=0, b=1, c=2), None, 0) is None
    tiles = _means(30, a=0, b=1, c=2)
    assert halves(tiles, {str(i): "abc"[i % 3] for i in range(30)}, 0) is None, "three photographs"


@given(data=st.data(), methods=st.integers(3, 6))
def test_agreements_of_many_rankings_are_those_of_each(data: st.DataObject, methods: int) -> None:
    row = st.lists(st.integers(0, 4).map(float), min_size=methods, max_size=methods)
    a, b = (np.array(data.draw(st.lists(row, min_size=5, max_size=5))) for _ in range(2))
    expected = [rank_agreement(pd.Series(x), pd.Series(y)) for x, y in zip(a, b, strict=True)]
    kept = [(e["kendall"], e["spearman"]) for e in expected if e is not None]
    found = list(zip(*_agreements(a, b), strict=True))
    assert len(found) == len(kept)
    assert np.array(found).ravel() == pytest.approx(np.array(kept).ravel())


def test_tau_is_scipys_row_by_row() -> None:
    a, b = np.random.default_rng(0).integers(0, 4, (2, 50, 6)).astype(float)  # with ties
    a[3] = 1
    expected = [stats.kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert np.isnan(expected[3])
    np.testing.assert_allclose(taus(a, b), expected, rtol=1e-14)
    near = a * (1 + 1e-14 * np.arange(6))
    assert not np.allclose(taus(near, b), expected, equal_nan=True), "the last digits are taken for an order"
    np.testing.assert_array_equal(taus(near, b, tied=1e-12), taus(a, b))


def test_agreement_is_of_the_downscalers_that_both_have() -> None:
    a = pd.Series({"w": 1.0, "x": 2.0, "y": 3.0, "z": 4.0})
    assert rank_agreement(a, a.rename({"w": "other"})) == {"downscalers": 3, "kendall": 1, "spearman": 1}
    found = rank_agreement(a, -a)
    assert found is not None
    assert found["kendall"] == -1
    assert rank_agreement(a, a[:2]) is None


def test_what_is_better_when_higher_is_turned_round() -> None:
    table = pd.DataFrame(
        {
            "upscaler": "u",
            "factor": 4,
            "downscaler": ["b", "b", "a", "a"],
            "image_id": ["x", "y", "y", "x"],
            "d": [1.0, 2, 3, 4],
        }
    )
    wide = image_means(table, "d", "higher")["u", 4]
    assert list(wide.columns) == ["b", "a"]
    assert wide.loc["x"].to_dict() == {"a": -4, "b": -1}
    assert losses(wide, "lower") is wide


def _random_effects(
    images: int, samples: int, *, mean: float, between: float, within: float, seed: int
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = mean + rng.normal(0, between, (images, 1)) + rng.normal(0, within, (images, samples))
    ids = [f"i{i}" for i in range(images) for _ in range(samples)]
    return pd.DataFrame({"image_id": ids, "sample": list(range(samples)) * images, "finite": True, "d": values.ravel()})


def test_variance_is_split_between_photographs_images_and_samples() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 5, 3000)
    of = np.repeat(np.arange(3000), sizes)
    tiles = rng.normal(0, 0.2, 3000)[of] + rng.normal(0, 0.15, len(of))
    values = tiles[:, None] + rng.normal(0, 0.1, (len(of), 2))
    ids = [f"i{i}" for i in range(len(of))]
    rows = pd.DataFrame({"image_id": np.repeat(ids, 2), "d": values.ravel()})
    parts = components(rows, "d", {name: f"p{p}" for name, p in zip(ids, of, strict=True)})
    assert parts.between == pytest.approx(0.04, rel=0.1)
    assert parts.tiles == pytest.approx(0.0225, rel=0.1)
    assert parts.within == pytest.approx(0.01, rel=0.1)
    assert parts.images_each == pytest.approx(1 / np.mean(1 / sizes))
    assert (parts.photographs, parts.images) == (3000, len(of))
    total = 0.04 + 0.0225 + 0.01 / 2
    assert parts.intraclass_correlation() == pytest.approx(0.04 / total, rel=0.05)
    assert parts.design_effect() == pytest.approx(1 + (parts.images_each - 1) * 0.04 / total, rel=0.05)
    assert parts.variance_of_photograph_mean(1) == pytest.approx(0.04 + (0.0225 + 0.01) / parts.images_each, rel=0.1)


def test_variance_is_split_between_images_and_samples() -> None:
    parts = components(_random_effects(4000, 3, mean=1, between=0.2, within=0.1, seed=0), "d")
    assert parts.mean == pytest.approx(1, abs=0.01)
    assert parts.between == pytest.approx(0.04, rel=0.05)
    assert parts.within == pytest.approx(0.01, rel=0.05)
    assert parts.share_of_samples() == pytest.approx((0.01 / 3) / (0.04 + 0.01 / 3), rel=0.1)
    alone = components(_random_effects(50, 1, mean=1, between=0.2, within=0.1, seed=0), "d")
    assert alone.within is None
    assert alone.share_of_samples() is None
    assert alone.variance_of_photograph_mean(1) == pytest.approx(0.05, rel=0.5)
    with pytest.raises(UserError, match="samples: 2 or more"):
        alone.variance_of_photograph_mean(2)
    pure = components(_random_effects(50, 4, mean=0, between=0, within=1, seed=0), "d")
    assert pure.between < 0.1
    with pytest.raises(UserError, match="1 photographs"):
        components(_random_effects(1, 4, mean=0, between=0, within=1, seed=0), "d")


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_the_photographs_asked_for_give_the_power_that_is_asked_for(samples: int) -> None:
    """Simulate runs of that size, and of two photographs less, and count how often the test sees it."""
    parts = Components(
        mean=0.1, between=0.04, tiles=None, within=0.09, samples=2, images_each=1, photographs=9, images=9
    )
    needed = photographs_needed(parts, samples, power=0.8, level=0.05)
    assert needed is not None
    seen = []
    for count in (needed, needed - 2):
        rng = np.random.default_rng(2)
        image = 0.1 + rng.normal(0, 0.2, (20000, count))
        values = image + rng.normal(0, 0.3, (20000, count, samples)).mean(axis=2)
        seen.append(np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05))
    assert seen[1] < 0.8 < seen[0] + 0.01
    assert seen[0] < 0.83


def test_more_samples_need_no_more_photographs_and_nothing_helps_where_there_is_no_difference() -> None:
    pilot = components(_random_effects(50, 3, mean=0.1, between=0.2, within=0.3, seed=0), "d")
    needed = [photographs_needed(pilot, k, power=0.8, level=0.05) for k in (1, 2, 3, 5, 10)]
    assert all(n is not None for n in needed)
    assert needed == sorted(needed, reverse=True)  # type: ignore[type-var]
    none = components(
        _random_effects(50, 3, mean=0, between=0.2, within=0.3, seed=0).assign(d=[0.1, -0.1, 0] * 50), "d"
    )
    assert photographs_needed(none, 3, power=0.8, level=0.05) is None


def test_samples_are_paired_and_lost_ones_left_out() -> None:
    a = _random_effects(3, 2, mean=0, between=1, within=1, seed=0)
    b = a.assign(d=a.d + 0.5).sample(frac=1, random_state=0)
    b.loc[b.index[0], "finite"] = False
    found = paired_rows(a, b, "d")
    assert len(found) == 5
    assert found.d.to_numpy() == pytest.approx(0.5)


def _results() -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    base = {"upscaler": "u_1", "factor": 4, "stochastic": True, "marks": "", "std_images": 0.125}
    values = {"best": (0.1, 30.0), "second": (0.2, 40.0), "also-second": (0.2, 20.0), "last": (0.3, 10.5)}
    rows = [
        base | {"downscaler": name, "distortion": d, "mean": mean}
        for name, means in values.items()
        for d, mean in zip(("fsim", "psnr"), means, strict=True)
    ]
    return pd.DataFrame(rows), {
        "fsim": {"label": "1 - F & G", "better": "lower"},
        "psnr": {"label": "P (dB)", "better": "higher"},
    }


def test_the_papers_tables_mark_the_best_and_the_second() -> None:
    table, distortions = _results()
    text = mean_std_markdown(table, distortions, ["fsim", "psnr"])
    assert "| u_1 | x4 | best | **0.100** ± 0.125 | <u>30.00</u> ± 0.12 |" in text
    assert "| second | <u>0.200</u> ± 0.125 | **40.00**" in text
    assert "| also-second | <u>0.200</u>" in text, "equal means share a place"
    assert "| last | 0.300 ± 0.125 | 10.50" in text
    wide = mean_std_csv(table, distortions, ["fsim", "psnr"])
    assert list(wide.columns) == ["upscaler", "factor", "downscaler", "fsim_mean", "fsim_std", "psnr_mean", "psnr_std"]
    assert list(wide.downscaler) == ["best", "also-second", "second", "last"]


def test_the_latex_table_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex (Debian: texlive-latex-recommended)")
    table, distortions = _results()
    text = mean_std_latex(table, distortions, ["fsim", "psnr"])
    assert r"$\mathbf{0.100} \pm 0.125$ & $\underline{30.00} \pm 0.12$" in text
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + text + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(document)
    done = run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex", cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_a_significant_difference_is_what_the_corrected_p_says() -> None:
    base = {
        "upscaler": "u",
        "factor": 4,
        "distortion": "d",
        "loses_less": "a",
        "images": 9,
        "photographs": 9,
        "effect": 1.0,
        "share": 0.9,
    }
    table = pd.DataFrame(
        [
            base | {"loses_more": "b", "difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.001, "p_holm": 0.04},
            base | {"loses_more": "c", "difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.01, "p_holm": 0.06},
            base
            | {"loses_more": "e", "distortion": "other", "difference": 1, "low": 0, "high": 1, "p": 0, "p_holm": 0},
        ]
    )
    lines = differences_markdown(table, "d", "D", 0.95).splitlines()
    assert [line.split(" | ")[-1] for line in lines[2:4]] == ["yes |", "no |"]
    assert len([line for line in lines if line.startswith("| u ")]) == 2

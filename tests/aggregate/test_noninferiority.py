"""The test behind ``ida-rd assert``: how often it passes what is worse, and what is as good, on real differences."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from numpy.typing import NDArray
from scipy import stats

from ida_rd.aggregate.noninferiority import noninferiority_p, pass_rate, upper_bound

SCORES = ROOT / "experiments/libraries/results/bsds500-test/images.csv"
NAMES = ("bicubic", "lanczos", "bilinear", "box", "hamming", "nearest")
MARGIN, LEVEL, DRAWS = 0.01, 0.05, 6000
ERROR = 3 * (LEVEL * (1 - LEVEL) / DRAWS) ** 0.5  # three standard errors of a share


@pytest.fixture(scope="module")
def differences() -> dict[tuple[str, str], NDArray[np.float64]]:
    """Centred differences of LPIPS on 200 photographs, of every two of Pillow's filters, either way round."""
    table = pd.read_csv(SCORES).pivot_table("lpips-alex", "image_id", "downscaler")
    wide = {name: table[f"pillow-{name}"].to_numpy() for name in NAMES}
    found = {(a, b): wide[a] - wide[b] for a, b in permutations(NAMES, 2)}
    assert all(len(values) == 200 for values in found.values())
    return {pair: values - values.mean() for pair, values in found.items()}


@pytest.mark.parametrize("photographs", [5, 13, 24])
def test_at_the_margin_at_most_one_in_twenty_passes(
    differences: dict[tuple[str, str], NDArray[np.float64]], photographs: int
) -> None:
    rates = {
        pair: pass_rate(
            values + MARGIN, margin=MARGIN, photographs=photographs, level=LEVEL, draws=DRAWS, seed=photographs
        )
        for pair, values in differences.items()
    }
    assert {pair: rate for pair, rate in rates.items() if rate > LEVEL + ERROR} == {}
    assert np.mean(list(rates.values())) > LEVEL / 3  # it is not won by hardly ever passing anything


def test_students_test_alone_would_pass_too_many(differences: dict[tuple[str, str], NDArray[np.float64]]) -> None:
    """Real differences are skewed: that is why there is more to it."""
    values = differences["hamming", "lanczos"]
    assert stats.skew(values) > 0.9
    drawn = values[np.random.default_rng(0).integers(0, 200, (DRAWS, 24))]
    assert (stats.ttest_1samp(drawn, 0.0, axis=1, alternative="less").pvalue < LEVEL).mean() > LEVEL + ERROR


def test_what_is_as_good_passes_as_often_as_the_margin_allows(
    differences: dict[tuple[str, str], NDArray[np.float64]],
) -> None:
    """With 24 photographs: the power is near that of a t-test at the level that the correction leaves."""
    values = differences["lanczos", "bicubic"]
    spread = values.std(ddof=1)
    for margin in (spread / 2, spread * 0.7):
        rate = pass_rate(values, margin=margin, photographs=24, level=LEVEL, draws=DRAWS, seed=1)
        limit = stats.t.ppf(1 - LEVEL / 1.5, 23)
        known = stats.nct.sf(limit, 23, margin / spread * 24**0.5)
        assert rate == pytest.approx(known, abs=0.04)


def test_p_falls_as_the_margin_rises_and_its_bound_is_where_p_is_the_level() -> None:
    rng = np.random.default_rng(3)
    for values in (rng.gamma(1, 1, 9), rng.normal(0, 1, 24), -rng.gamma(0.5, 1, 13), np.array([0.0, 0, 0, 0, 1])):
        margins = np.linspace(-5, 5, 400)
        p = noninferiority_p(values[None] - margins[:, None])
        assert (np.diff(p) <= 1e-12).all()
        bound = upper_bound(values, LEVEL)
        assert noninferiority_p(values - (bound + 1e-6)) < LEVEL < noninferiority_p(values - (bound - 1e-6))
        assert bound > values.mean()


def test_values_that_are_all_the_same() -> None:
    same = np.full(6, 0.1) * 3
    assert noninferiority_p(same - 0.31) == 0
    assert noninferiority_p(same - 0.29) == 1
    assert noninferiority_p(np.zeros(6)) == 1
    assert upper_bound(same, LEVEL) == pytest.approx(0.3)

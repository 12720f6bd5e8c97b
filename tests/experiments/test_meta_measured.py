"""The secondary measures on made data whose answers are known."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from made import script
from scipy import stats


@pytest.fixture(scope="module")
def measured() -> ModuleType:
    return script("meta-measures/measured.py")


@pytest.fixture(scope="module")
def setting(measured: ModuleType) -> Any:
    return measured.Setting(0.95, 2000, 0)


def test_shares_have_wilsons_interval_of_as_many_trials_as_photographs(measured: ModuleType, setting: Any) -> None:
    """The interval of 10 of 10 begins at n / (n + z^2); of 4 photographs none is given."""
    whole = measured.mean_share(np.ones(10), setting)
    assert (whole.value, whole.high, whole.photographs) == (1, 1, 10)
    assert whole.low == pytest.approx(10 / (10 + stats.norm.ppf(0.975) ** 2))
    some = stats.binomtest(7, 10).proportion_ci(method="wilson")
    found = measured.mean_share(np.repeat([1.0, 0.0], [7, 3]), setting)
    assert (found.low, found.high) == pytest.approx((some.low, some.high))
    assert measured.mean_share(np.ones(4), setting).low is None


def test_switch_counts_pairs_and_auc_forgets_the_photograph(measured: ModuleType, setting: Any) -> None:
    """Losses i against the own image, i + 0.5 against another: all pairs are won, and i < j + 0.5 where i < j alone."""
    count = 20
    own = np.arange(count, dtype=float)[:, None]
    others = (own + 0.5)[..., None]
    assert measured.switched(own, others, setting).value == 1
    auc = measured.switched_auc(own, others, setting)
    assert (auc.value, auc.low, auc.high) == (0.5, 0.5, 0.5)
    # Each of ten wins all its 19 pairs now; the other ten win 90 as before.
    auc = measured.switched_auc(np.where(np.arange(count)[:, None] % 2, own, -1), others, setting)
    assert auc.value == pytest.approx((190 + 90) / 380)
    assert auc.low < auc.value < auc.high < 0.95
    assert measured.switched_auc(own, others + 100, setting).low == 1
    assert measured.switched(own, own[..., None], setting).value == 0.5, "a tie is half"
    assert measured.switched(own, others - 1, setting).value == 0


def test_auc_keeps_conditions_apart(measured: ModuleType, setting: Any) -> None:
    """One condition loses far more than the other: its own losses are not held against the other's."""
    own = np.array([[0.0, 10.0]] * 6)
    assert measured.switched_auc(own, own[..., None] + 1, setting).value == 1


def test_the_empty_image_must_lose_on_every_photograph(measured: ModuleType, setting: Any) -> None:
    real = np.tile([0.1, 0.3], (10, 1))
    empty = np.tile([0.5, 0.4], (10, 1))
    names = (["a", "b"], ["constant", "noise"])
    assert measured.beats_empty(real, empty, names, setting).value == 1
    real[:3, 1] = 0.45  # b loses more than noise on three photographs
    found = measured.beats_empty(real, empty, names, setting)
    assert found.value == 0.7
    assert found.detail == "b beats noise on 70%"


def test_changes_are_in_half_widths_of_the_interval(measured: ModuleType, setting: Any) -> None:
    """Every score moves by one half-width, and one by none: sqrt(1/2); shifts alone leave nothing to be drawn."""
    rng = np.random.default_rng(0)
    before = rng.normal(0, 1, (12, 2))
    half = stats.t.ppf(0.975, 11) * before.std(axis=0, ddof=1) / np.sqrt(12)
    found = measured.change(before, before + half * [1, 0], setting)
    assert found.value == pytest.approx(np.sqrt(0.5))
    assert (found.low, found.high) == pytest.approx((found.value, found.value))
    assert found.detail == "largest +1.00"
    assert measured.change(np.ones((12, 2)), before, setting) is None, "no width to measure by"


def test_rank_agreement_is_kendalls_and_its_interval_draws_photographs(measured: ModuleType, setting: Any) -> None:
    rng = np.random.default_rng(1)
    a = np.arange(6.0) + rng.normal(0, 0.01, (15, 6))
    assert measured.rank_agreement(a, a + 1, setting).low == 1
    turned = measured.rank_agreement(a, -a, setting)
    assert (turned.value, turned.high) == (-1, -1)
    b = np.arange(6.0) + rng.normal(0, 6, (15, 6))
    found = measured.rank_agreement(a, b, setting)
    assert found.value == pytest.approx(stats.kendalltau(a.mean(axis=0), b.mean(axis=0)).statistic)
    assert found.low < found.value <= found.high
    tied = np.tile([1.0, 1.0, 2.0], (6, 1))
    other = np.tile([1.0, 2.0, 3.0], (6, 1))
    assert measured.rank_agreement(tied, other, setting).value == pytest.approx(
        stats.kendalltau([1, 1, 2], [1, 2, 3])[0]
    )
    assert measured.rank_agreement(np.ones((6, 3)), other, setting) is None


def test_intervals_hold_the_truth_about_as_often_as_they_say(measured: ModuleType) -> None:
    """A resampled mean of 10 normal numbers, and a share of 10: 200 made sets each."""
    rng, held, shares = np.random.default_rng(2), 0, 0
    quick = measured.Setting(0.9, 400, 0)
    for _ in range(200):
        values = rng.normal(3, 1, 10)
        found = measured.resampled(lambda weights, values=values: weights @ values, 10, quick)
        held += found.low <= 3 <= found.high
        found = measured.mean_share((rng.random((10, 3)) < 0.8).mean(axis=1), quick)
        shares += found.low <= 0.8 <= found.high
    assert 170 <= held <= 190
    assert shares >= 180, "too wide rather than too narrow"


def test_a_ladder_rises_by_steps(measured: ModuleType, setting: Any) -> None:
    ladder = np.tile([0.1, 0.2, 0.3, 0.4], (8, 1))
    found = measured.rises(ladder, setting)
    assert found.value == 1
    assert found.detail.startswith("median rho +1.00, Page's p ")
    ladder[:4, 1] = 0.35  # one of three steps falls on half of the photographs
    assert measured.rises(ladder, setting).value == pytest.approx(5 / 6)
    assert measured.rises(ladder[:, ::-1], setting).detail.startswith("median rho -0.9")
    assert measured.rises(np.ones((8, 3)), setting).value == 0

"""Intervals and tests over a dozen photographs hold what they promise, for skewed values too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ida_rd.calibration.resampling import Settings, joint_p, of_mean, of_means, of_ratio, of_share

RUNS, COUNT = 300, 13
# Of 300 intervals of 95 %, 285 are expected to hold; fewer than 272 or all but two have a probability below 0.001.
LEAST, MOST = 272, 298


def test_an_interval_of_a_mean_of_skewed_values_holds_it_and_percentiles_would_not() -> None:
    held, percentiles = 0, 0
    truth = math.exp(0.125)
    for seed in range(RUNS):
        values = np.random.default_rng([seed, 1]).lognormal(0.0, 0.5, COUNT)
        found = of_mean(values, truth, Settings(resamples=400, seed=seed))
        held += found.low <= truth <= found.high
        assert (found.p < 0.05) == (not found.low <= truth <= found.high) or abs(found.p - 0.05) < 0.01
        share = of_share(values / 100, Settings(resamples=400, seed=seed))
        percentiles += 100 * share.low <= truth <= 100 * share.high
    assert LEAST <= held <= MOST
    assert percentiles < LEAST, "which is why they are not used where there is a standard error"


def test_an_interval_of_a_ratio_holds_it() -> None:
    held = 0
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 2])
        size = rng.gamma(4.0, 0.25, COUNT)  # photographs differ in both together
        a, b = size * rng.gamma(20.0, 0.05, COUNT), size * rng.gamma(20.0, 0.05, COUNT)
        found = of_ratio(a, b, Settings(resamples=400, seed=seed))
        held += found.low <= 1 <= found.high
    assert LEAST <= held <= MOST


def test_several_means_at_once_are_rejected_as_often_as_they_should_be() -> None:
    rejected = 0
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 3])
        values = rng.standard_normal((COUNT, 4)) @ rng.standard_normal((4, 4))  # and they depend on each other
        rejected += joint_p(values, Settings(resamples=400, seed=seed)) < 0.05
    assert RUNS - MOST <= rejected <= RUNS - LEAST


def test_a_mean_that_is_off_is_seen() -> None:
    values = np.random.default_rng(0).normal([0.0, 2.0], 1.0, (COUNT, 2))
    first, second = of_means(values, np.zeros(2), Settings())
    assert first.p > 0.05 > second.p
    assert second.low > 0
    assert joint_p(values, Settings()) < 0.05
    assert joint_p(values[:, :1], Settings()) == pytest.approx(first.p)
    assert second.high - second.value == pytest.approx(second.band)


def test_numbers_that_are_all_the_same_are_known() -> None:
    same = np.full(COUNT, 0.5)
    found = of_mean(same, 0.5, Settings())
    assert (found.value, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 1.0)
    assert of_mean(same, 0.4, Settings()).p < 0.001
    assert of_ratio(same, same, Settings()).p == 1
    assert of_ratio(2 * same, same, Settings()).p < 0.001


def test_a_ratio_without_a_logarithm_says_nothing() -> None:
    found = of_ratio(np.ones(COUNT), np.full(COUNT, -1.0), Settings())
    assert math.isnan(found.low)
    assert math.isnan(found.p)


def test_where_resamples_are_alike_there_is_no_interval() -> None:
    found = of_mean(np.array([0.0] * 7 + [1.0]), 0.0, Settings())
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    ratio = of_ratio(np.array([0.0] * 7 + [1.0]), np.ones(8), Settings())
    assert math.isnan(ratio.low)
    assert ratio.p > 0.05
    assert found.p > 0.05


def test_a_share_stays_between_0_and_1() -> None:
    found = of_share(np.array([0.0] * 5 + [1.0]), Settings())
    assert 0 <= found.low < found.value < found.high <= 1
    assert of_share(np.zeros(6), Settings()).high == 0

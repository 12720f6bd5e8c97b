"""Variance components of crossed designs, from tables whose answer is known."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from made import script
from numpy.typing import NDArray

NAMES = ("downscaler", "photograph", "heat")
Effect = frozenset[str]


@pytest.fixture(scope="module")
def crossed() -> ModuleType:
    return script("reliability/crossed.py")


def simulate(parts: dict[Effect, float], sizes: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Draw a crossed design of independent normal effects with these variances."""
    random = np.random.default_rng(seed)
    values = np.zeros(sizes)
    for effect, variance in parts.items():
        shape = [size if name in effect else 1 for name, size in zip(NAMES, sizes, strict=True)]
        values = values + random.normal(0, np.sqrt(variance), shape)
    return values


def of(*names: str) -> Effect:
    return frozenset(names)


def test_a_small_analysis_worked_by_hand(crossed: ModuleType) -> None:
    """Row means 2, 4, 6; column means 2, 6; sums of squares 16, 24 and 4 of 44."""
    names = ("downscaler", "photograph")
    values = np.array([[1.0, 3], [2, 6], [3, 9]])
    table = crossed.mean_squares(values, names)
    assert table.loc[[of("downscaler"), of("photograph"), of(*names)], "ss"].to_list() == [16, 24, 4]
    assert table.loc[[of("downscaler"), of("photograph"), of(*names)], "df"].to_list() == [2, 1, 2]
    parts = crossed.components(values, names)
    assert parts[of("downscaler")] == pytest.approx(3)
    assert parts[of("photograph")] == pytest.approx(22 / 3)
    assert parts[of(*names)] == pytest.approx(2)
    two = crossed.coefficients(parts, {"photograph": 2}, "downscaler")
    assert two.relative == pytest.approx(3 / 4)
    assert two.absolute == pytest.approx(9 / 23)
    four = crossed.coefficients(parts, {"photograph": 4}, "downscaler")
    assert four.relative == pytest.approx(6 / 7)


def test_components_are_recovered_from_simulated_data(crossed: ModuleType) -> None:
    """The mean over 400 designs is each component, within four of its standard errors."""
    true = {effect: 0.2 * i for i, effect in enumerate(crossed.effects(NAMES), start=1)}
    found = [crossed.components(simulate(true, (5, 7, 3), seed), NAMES) for seed in range(400)]
    for effect, variance in true.items():
        estimates = np.array([parts[effect] for parts in found])
        assert abs(estimates.mean() - variance) < 4 * estimates.std(ddof=1) / 20, crossed.label(effect, NAMES)
    assert any(parts[of("heat")] < 0 for parts in found), "unbiased, so that some are negative"


def test_negative_estimates_become_zero_and_shares_sum_to_one(crossed: ModuleType) -> None:
    true = {of(*NAMES): 1.0}
    table = crossed.study(simulate(true, (4, 9, 3), 1), NAMES, "photograph")
    assert (table.estimate < 0).any()
    assert (table.component >= 0).all()
    assert table.component[table.estimate > 0].equals(table.estimate[table.estimate > 0])
    assert table.share.sum() == pytest.approx(1)
    # The standard errors are as large as the estimates vary from design to design.
    many = [crossed.study(simulate(true, (4, 9, 3), seed), NAMES, "photograph") for seed in range(60)]
    spread = np.std([one.estimate[of("downscaler", "photograph")] for one in many], ddof=1)
    assert np.mean([one.error[of("downscaler", "photograph")] for one in many]) == pytest.approx(spread, rel=0.4)


def test_where_only_the_object_varies_the_coefficients_are_one(crossed: ModuleType) -> None:
    values = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 6, 3))
    parts = crossed.components(values, NAMES)
    numbers = {"photograph": 1, "heat": 1}
    assert crossed.coefficients(parts, numbers, "downscaler") == (1, 1)
    shifted = values + np.arange(6.0)[None, :, None]
    found = crossed.coefficients(crossed.components(shifted, NAMES), numbers, "downscaler")
    assert found.relative == pytest.approx(1), "harder photographs change no ranking"
    assert found.absolute < 0.5
    none = crossed.components(shifted - values, NAMES)
    assert crossed.coefficients(none, numbers, "downscaler") == (0, 0)


def test_what_an_object_does_on_a_fixed_facet_is_its_own(crossed: ModuleType) -> None:
    parts = {of("downscaler"): 2.0, of("downscaler", "photograph"): 4.0, of("downscaler", "heat"): 3.0}
    parts |= {of("heat"): 5.0, of("photograph", "heat"): 6.0}
    numbers = {"photograph": 4, "heat": 3}
    free = crossed.coefficients(parts, numbers, "downscaler")
    assert free.relative == pytest.approx(2 / (2 + 1 + 1))
    assert free.absolute == pytest.approx(2 / (2 + 1 + 1 + 5 / 3 + 6 / 12))
    fixed = crossed.coefficients(parts, numbers, "downscaler", {"heat"})
    assert fixed.relative == pytest.approx(3 / (3 + 1))
    assert fixed.absolute == pytest.approx(3 / (3 + 1 + 6 / 12))


def test_pairs_flip_as_often_as_two_sets_of_photographs_disagree(crossed: ModuleType) -> None:
    random = np.random.default_rng(3)
    for mean in (0.1, 0.3):
        sets = np.sign(random.normal(mean, 1, (20_000, 2, 20)).mean(axis=2))
        truth = (sets[:, 0] != sets[:, 1]).mean()
        large = random.normal(size=4000)
        large = mean + (large - large.mean()) / large.std(ddof=1)  # the mean and variance themselves
        assert crossed.flip_probability(large, 20) == pytest.approx(truth, abs=0.02)
        assert crossed.resampled_flips(large, 20, 4000, 0) == pytest.approx(truth, abs=0.04)
    assert crossed.flip_probability(np.ones(5), 10) == 0
    assert crossed.flip_probability(np.zeros(5), 10) == 0.5
    assert crossed.resampled_flips(np.zeros(8), 4, 10, 0) == 0.5
    assert crossed.resampled_flips(np.ones(8), 4, 10, 0) == 0
    assert crossed.resampled_flips(np.ones(8), 5, 10, 0) is None

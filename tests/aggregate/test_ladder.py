"""Blur-equivalents: monotone, at home on their own rungs, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.aggregate.ladder import Amount, amounts, beyond_ladder, crossing
from ida_rd.aggregate.noninferiority import noninferiority_p
from ida_rd.core.errors import UserError

SIGMAS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.2])
Values = NDArray[np.float64]


def _photographs(rng: np.random.Generator, count: int, blur: float, dip: float = 0.0) -> tuple[Values, Values, Values]:
    """What a downscaler of a known blur-equivalent, the ladder and nearest lose on photographs that differ much."""
    level = rng.gamma(9, 0.02, (count, 1))
    slope = 0.2 + 0.5 * level

    def loss(s: Values) -> Values:
        law = s**2 - dip * s * (s < 0.4)
        return level + slope * law + rng.normal(0, 0.006, (count, len(s)))

    def joined(s: float) -> Values:
        """The law that straight lines through the rungs give, for which the truth is known."""
        upper = int(np.searchsorted(SIGMAS, s))
        share = (s - SIGMAS[upper - 1]) / (SIGMAS[upper] - SIGMAS[upper - 1])
        law = (1 - share) * SIGMAS[upper - 1] ** 2 + share * SIGMAS[upper] ** 2
        return level[:, 0] + slope[:, 0] * law + rng.normal(0, 0.02, count)

    return joined(blur), loss(SIGMAS), level[:, 0] + 3 * slope[:, 0]


def _amount(mine: Values, ladder: Values, nearest: Values, resamples: int = 200, seed: int = 0) -> Amount:
    settings = {"confidence": 0.95, "resamples": resamples, "seed": seed}
    return amounts(mine[:, None], ladder, nearest, SIGMAS, **settings)[0]  # type: ignore[arg-type]


@given(
    st.lists(st.floats(-30, 30, allow_subnormal=False), min_size=6, max_size=6),
    st.lists(st.floats(-40, 40, allow_subnormal=False), min_size=2, max_size=9),
)
def test_what_loses_more_is_never_a_smaller_blur(ladder: list[float], losses: list[float]) -> None:
    """Whatever the ladder does: it may fall, jump, or be flat."""
    ordered = np.sort(np.array(losses))
    found = crossing(ordered, np.array([ladder]), SIGMAS)
    finite = found[np.isfinite(found)]
    assert (np.diff(finite) >= -1e-9).all()
    assert not np.isfinite(found[len(finite) :]).any()
    assert ((finite >= 0) & (finite <= SIGMAS[-1])).all()


def test_each_rung_above_those_before_it_is_its_own_equivalent() -> None:
    ladder = np.array([[0.18, 0.17, 0.175, 0.23, 0.31, 0.38]])  # a little blur may help a decoder
    found = crossing(ladder[0], ladder, SIGMAS)
    assert found.tolist() == pytest.approx([0, 0, 0, 0.6, 0.8, 1.2])
    assert crossing(np.array([0.205]), ladder, SIGMAS)[0] == pytest.approx(0.4 + 0.2 * 0.03 / 0.055)
    assert crossing(np.array([0.5]), ladder, SIGMAS)[0] == np.inf


def test_bicubic_loses_as_much_as_bicubic_in_every_resample() -> None:
    _, ladder, nearest = _photographs(np.random.default_rng(0), 13, 0.5, dip=0.3)
    found = _amount(ladder[:, 0].copy(), ladder, nearest)
    assert (found.blur, found.place, found.blur_low, found.blur_high) == (0, "within", 0, 0)


def test_beyond_either_end_it_says_so() -> None:
    _, ladder, nearest = _photographs(np.random.default_rng(0), 13, 0.5)
    less, more = _amount(ladder[:, 0] - 0.1, ladder, nearest), _amount(ladder[:, -1] + 0.2, ladder, nearest)
    assert (less.place, less.blur, less.blur_high) == ("less", 0, 0)
    assert (more.place, more.blur, more.blur_low) == ("more", 1.2, 1.2)
    assert less.percent == pytest.approx(0)  # it is the least itself
    assert _amount(nearest, ladder, nearest).percent == pytest.approx(100)


def test_too_few_photographs_have_no_interval() -> None:
    mine, ladder, nearest = _photographs(np.random.default_rng(0), 4, 0.5)
    found = _amount(mine, ladder, nearest)
    assert found.blur_low is None
    assert found.percent_high is None


@pytest.mark.parametrize("count", [13, 24])
def test_the_interval_holds_the_truth_in_about_95_of_100_runs(count: int) -> None:
    rng = np.random.default_rng(count)
    runs, held = 500, 0
    for run in range(runs):
        found = _amount(*_photographs(rng, count, 0.5), seed=run)
        assert found.blur_low is not None
        assert found.blur_high is not None
        held += found.blur_low <= 0.5 <= found.blur_high
    assert 0.925 < held / runs < 0.975


@pytest.mark.parametrize(("blur", "dip"), [(0.3, 0.0), (0.5, 0.3)])
def test_what_is_worse_by_just_the_margin_in_blur_seldom_passes(blur: float, dip: float) -> None:
    """The limit is estimated from the same photographs, and that counts."""
    rng = np.random.default_rng(7)
    runs, wrongly = 1200, 0
    for _ in range(runs):
        reference, ladder, _ = _photographs(rng, 24, blur, dip)
        upper = int(np.searchsorted(SIGMAS, blur + 0.1 - 1e-9))
        share = (blur + 0.1 - SIGMAS[upper - 1]) / (SIGMAS[upper] - SIGMAS[upper - 1])
        truth = (1 - share) * ladder[:, upper - 1] + share * ladder[:, upper]
        mine = truth + rng.normal(0, 0.02, 24)
        values, _ = beyond_ladder(mine, reference, ladder, SIGMAS, 0.1)
        wrongly += bool(noninferiority_p(values) < 0.05)
    assert 0.01 < wrongly / runs < 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_margin_in_blur_that_costs_nothing_or_leaves_the_ladder_is_refused() -> None:
    mine, ladder, nearest = _photographs(np.random.default_rng(0), 13, 0.5, dip=0.5)
    with pytest.raises(UserError, match=r"^--margin blur:0.1: a blur of 0.10 LR pixels loses no more"):
        beyond_ladder(mine, ladder[:, 0], ladder, SIGMAS, 0.1)
    with pytest.raises(UserError, match=r"^--margin blur:1.5: is .* and the ladder of blurs ends at 1.2 LR pixels"):
        beyond_ladder(mine, ladder[:, 0], ladder, SIGMAS, 1.5)
    with pytest.raises(UserError, match=r"^--margin blur:0.1: what it is compared with loses more than all of them"):
        beyond_ladder(mine, nearest, ladder, SIGMAS, 0.1)

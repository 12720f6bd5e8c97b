"""Upscalers made of upscalers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw, generator
from ida_rd.upscale import cascade, flow
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Descriptor, Problem, Samples, SizeRule

PLACES = st.lists(st.integers(0, 2), max_size=3).map(tuple)


class Recorder:
    """Doubles the sides, and keeps the draws that it is given."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def sample(self, lr: NDArray[np.uint8], draws: Any) -> Samples:
        self.draws += draws
        sr = np.repeat(np.repeat(lr[None], 2, axis=2), 2, axis=3).repeat(len(draws), axis=0)
        return Samples(sr, np.ones(len(draws), np.bool_), np.zeros(len(draws)))


def test_a_cascade_is_its_steps_one_after_the_other() -> None:
    step = {"method": "flow", "factor": 4}
    parameters = cascade.Parameters(steps=[step | {"heat": 0.5}, step | {"heat": 1.2}])
    assert cascade.describe(parameters, 16).factor == 16
    lr = generator("lr").integers(0, 256, (3, 3, 4), dtype=np.uint8)
    draws = [Draw(0, "image", k) for k in range(2)]
    result = cascade.load(parameters, Problem(16), "cpu").sample(lr, draws)
    first = flow.load(flow.Parameters(heat=0.5), Problem(4), "cpu").sample(lr, draws)
    second = flow.load(flow.Parameters(heat=1.2), Problem(4), "cpu")
    for k, draw in enumerate(draws):
        expected = second.sample(first.sr[k], [draw.at_step(1)])
        assert np.array_equal(result.sr[k], expected.sr[0])
        assert result.clipped[k] == max(first.clipped[k], expected.clipped[0])


def test_the_first_step_meets_what_it_would_meet_alone() -> None:
    draw = Draw(0, "image", 1)
    a, b = draw.normal((1000,)), draw.at_step(1).normal((1000,))
    assert np.array_equal(draw.at_step(0).normal((1000,)), a)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.15


@given(PLACES, PLACES)
def test_no_two_upscalers_of_a_chain_share_random_numbers(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return  # the same upscaler, or one within the other
    draws = [Draw(0, "image", 0), Draw(0, "image", 0)]
    for i, places in enumerate((one, other)):
        for place in places:
            draws[i] = draws[i].at_step(place)
    assert not np.array_equal(draws[0].normal((8,)), draws[1].normal((8,)))


def test_a_cascade_within_a_cascade_draws_again_at_every_step() -> None:
    parts = [Recorder() for _ in range(4)]
    chain = cascade.Cascade([cascade.Cascade(parts[:2]), cascade.Cascade(parts[2:])])
    chain.sample(np.zeros((3, 2, 2), np.uint8), [Draw(0, "image", 0)])
    met = [tuple(part.draws[0].normal((8,))) for part in parts]
    assert met[0] == tuple(Draw(0, "image", 0).normal((8,)))
    assert len(set(met)) == 4


def test_a_sample_lost_at_one_step_is_lost() -> None:
    class Fixed:
        def __init__(self, finite: list[bool]) -> None:
            self.finite = finite

        def sample(self, lr: NDArray[np.uint8], draws: Any) -> Any:
            kept = [self.finite[draw.sample] for draw in draws]
            sr = np.repeat(np.repeat(lr[None], 2, axis=2), 2, axis=3).repeat(len(draws), axis=0)
            return Samples(sr, np.array(kept), np.zeros(len(draws)))

    chain = cascade.Cascade([Fixed([True, False, True]), Fixed([True, True, False])])
    result = chain.sample(np.zeros((3, 2, 2), np.uint8), [Draw(0, "i", k) for k in range(3)])
    assert result.finite.tolist() == [True, False, False]
    assert result.sr.shape == (3, 3, 8, 8)


def test_the_embedded_flow_cascades_to_sixteen() -> None:
    assert flow._steps(flow.Parameters(), 16) == [4, 4]
    assert flow._steps(flow.Parameters(), 32) == [8, 4]
    assert flow._steps(flow.Parameters(), 64) == [8, 8]
    check_upscaler(flow, {}, 16)
    with pytest.raises(UserError, match="supports factors 2, 4, 8,"):
        flow.describe(flow.Parameters(), 6)


def test_a_cascades_factors_are_as_alike_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {f"flow-compact.x{factor}": None for factor in (2, 4, 8, 16)}
    monkeypatch.setattr(flow, "catalogue", lambda: names)
    assert [flow._steps(flow.Parameters(), factor) for factor in (8, 32, 64)] == [[8], [8, 4], [8, 8]]
    del names["flow-compact.x16"]
    assert flow._steps(flow.Parameters(), 16) == [4, 4], "not 8, then 2"


RULES = st.builds(SizeRule, least=st.integers(1, 40), multiple=st.integers(1, 12), square=st.booleans())


def _described(rule: SizeRule, factor: int) -> Descriptor:
    return Descriptor(factor, stochastic=True, blind=True, licence="free", weights={}, size=rule)


@given(st.lists(st.tuples(RULES, st.integers(2, 6)), min_size=1, max_size=3), st.integers(1, 60), st.integers(1, 60))
def test_a_chain_takes_an_image_if_every_step_takes_its_own(
    steps: list[tuple[SizeRule, int]], height: int, width: int
) -> None:
    chain = cascade.combine([_described(rule, factor) for rule, factor in steps])
    taken, before = True, 1
    for rule, factor in steps:
        taken &= rule.problem(height * before, width * before, factor) is None
        before *= factor
    assert (chain.size.problem(height, width, chain.factor) is None) == taken
    example = chain.size.example(chain.factor, 20)
    assert chain.size.problem(*example, chain.factor) is None


def test_a_step_that_makes_one_size_decides_that_of_the_chain() -> None:
    """The first makes 256 x 256 alone, so that the chain makes 1024 x 1024 of 64 x 64, whatever a third one says."""
    first, second = _described(SizeRule(hr=256), 4), _described(SizeRule(multiple=128), 4)
    size = cascade.combine([first, second]).size
    assert (size.hr, size.problem(64, 64, 16)) == (1024, None)
    assert "1024 x 1024, the only size" in str(size.problem(32, 32, 16))
    assert cascade.combine([first, _described(SizeRule(hr=1024), 4)]).size.hr == 1024
    with pytest.raises(UserError, match="make HR images of 512 and of 1024 alone: give only one"):
        cascade.combine([first, _described(SizeRule(hr=512), 4)])


@pytest.mark.parametrize(
    ("steps", "factor", "message"),
    [
        ([{"method": "flow", "factor": 4}, {"method": "flow", "factor": 4}], 8, "multiply to 16"),
        ([{"method": "flow", "factor": 4}, {"method": "flow"}], 16, "steps.1.factor"),
        ([{"method": "flow", "factor": 4}, {"method": "flow", "factor": True}], 4, "steps.1.factor"),
        ([{"factor": 4}, {"method": "flow", "factor": 4}], 16, "steps.0.method"),
        ([{"method": "flwo", "factor": 4}, {"method": "flow", "factor": 4}], 16, "steps.0.method.*'flow'"),
        ([{"method": "flow", "factor": 4, "heet": 1}, {"method": "flow", "factor": 4}], 16, "steps.0.heet.*'heat'"),
    ],
)
def test_a_wrong_cascade_is_refused(steps: list[dict[str, Any]], factor: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cascade.describe(cascade.Parameters(steps=steps), factor)


def test_a_cascades_recipe_follows_the_code_of_its_steps() -> None:
    step = {"method": "flow", "factor": 4}
    files = cascade.files(cascade.Parameters(steps=[step, step]), 16)
    assert {path.parent.name for path in files} == {"flow"}

"""What an upscaler says about itself, and the sizes that it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters
from ida_rd.core.seeds import Draw
from ida_rd.upscale import cascade
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Descriptor, Problem, Samples, SizeRule
from ida_rd.upscale.work import sample_image

PLAIN = Descriptor(factor=4, stochastic=True, blind=True, licence="Apache-2.0", weights={})
RULES = st.builds(
    SizeRule,
    least=st.integers(1, 40),
    multiple=st.integers(1, 12),
    square=st.booleans(),
    hr=st.none() | st.sampled_from([64, 128]),
)


@pytest.mark.parametrize(
    ("change", "marks"),
    [
        ({}, []),
        ({"stochastic": False}, ["deterministic"]),
        ({"blind": False, "matched": True}, ["not blind", "matched"]),
        ({"licence": "CC BY-NC-SA 4.0, Non-Commercial"}, ["non-commercial"]),
    ],
)
def test_marks_are_what_a_reader_must_know(change: dict[str, Any], marks: list[str]) -> None:
    assert dataclasses.replace(PLAIN, **change).marks() == marks


@given(RULES, st.integers(1, 60), st.floats(0.5, 2))
def test_an_example_of_a_rule_obeys_it(rule: SizeRule, side: int, ratio: float) -> None:
    if rule.hr is not None and (rule.hr // 4 < rule.least or (rule.hr // 4) % rule.multiple):
        return  # no image obeys it
    height, width = rule.example(4, side, ratio)
    assert rule.problem(height, width, 4) is None


@pytest.mark.parametrize(
    ("rule", "size", "problem"),
    [
        (SizeRule(), (1, 7), None),
        (SizeRule(least=8), (8, 7), "are smaller than 8 per side"),
        (SizeRule(multiple=4), (8, 6), "have a side that is not a multiple of 4"),
        (SizeRule(square=True), (8, 12), "are not square"),
        (SizeRule(square=True, hr=1024), (256, 256), None),
        (SizeRule(square=True, hr=1024), (128, 128), "do not give an HR image of 1024 x 1024"),
    ],
)
def test_a_size_that_breaks_a_rule_is_named(rule: SizeRule, size: tuple[int, int], problem: str | None) -> None:
    found = rule.problem(*size, 4)
    assert (found is None) == (problem is None)
    assert problem is None or (problem in str(found) and f"{size[1]} x {size[0]}" in str(found))


class _Picky:
    """Takes what its rule allows, and nothing else."""

    def __init__(self, rule: SizeRule, factor: int, columns: dict[str, Any]) -> None:
        self.rule, self.factor, self.columns = rule, factor, columns

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        assert self.rule.problem(lr.shape[1], lr.shape[2], self.factor) is None
        big = lr.repeat(self.factor, 1).repeat(self.factor, 2)
        noisy = [np.clip(big + 9 * draw.normal(big.shape), 0, 255).astype(np.uint8) for draw in draws]
        columns = {name: make(len(draws)) for name, make in self.columns.items()}
        return Samples(np.stack(noisy), np.ones(len(draws), bool), np.zeros(len(draws)), columns)


def _method(descriptor: Descriptor, **columns: Any) -> ModuleType:
    module = ModuleType("picky")

    def load(parameters: Parameters, problem: Problem, device: str) -> _Picky:
        return _Picky(descriptor.size, problem.factor, columns)

    vars(module).update(Parameters=Parameters, describe=lambda parameters, factor: descriptor, load=load)
    return module


@pytest.mark.parametrize(
    "rule", [SizeRule(), SizeRule(least=30), SizeRule(multiple=7), SizeRule(square=True), SizeRule(square=True, hr=128)]
)
def test_the_check_gives_images_of_sizes_that_the_rule_allows(rule: SizeRule) -> None:
    check_upscaler(_method(dataclasses.replace(PLAIN, size=rule), steps=np.zeros), {}, 4)


def test_the_check_refuses_what_it_cannot_give_and_columns_of_another_length() -> None:
    with pytest.raises(UserError, match="asks for downscaler"):
        check_upscaler(_method(dataclasses.replace(PLAIN, asks=("downscaler",))), {}, 4)
    with pytest.raises(UserError, match="column steps must have one value per sample"):
        check_upscaler(_method(PLAIN, steps=lambda count: np.zeros(count + 1)), {}, 4)


def test_a_column_of_an_upscaler_takes_the_place_of_none_that_every_sample_has() -> None:
    lr = np.zeros((4, 4, 3), np.uint8)
    for name in ("finite", "attempts", "clipped", "image_id", "sample"):
        with pytest.raises(UserError, match=f"its samples have a column {name}, as every sample has"):
            sample_image(_Picky(SizeRule(), 4, {name: np.zeros}), lr, "a", [0, 1], 0)
    drawn, _ = sample_image(_Picky(SizeRule(), 4, {"steps": np.zeros}), lr, "a", [0, 1], 0)
    assert list(drawn.columns) == ["steps"]


def test_samples_are_replaced_and_joined_with_their_columns() -> None:
    def samples(values: Sequence[int]) -> Samples:
        array = np.array(values)
        return Samples(
            array.astype(np.uint8)[:, None, None, None], array > 0, array / 10, {"converged": array > 1, "steps": array}
        )

    whole = samples([0, 1, 2])
    mended = whole.replaced(np.array([0]), samples([7]))
    assert mended.sr.ravel().tolist() == [7, 1, 2]
    assert mended.finite.tolist() == [True] * 3
    assert mended.columns["steps"].tolist() == [7, 1, 2]
    assert whole.columns["steps"].tolist() == [0, 1, 2], "the first ones stay as they were"
    joined = Samples.joined([whole, samples([5])])
    assert len(joined) == 4
    assert joined.columns["converged"].tolist() == [False, False, True, True]


def test_a_chain_is_what_its_steps_are() -> None:
    first = dataclasses.replace(PLAIN, size=SizeRule(least=9), kind="flow", settings={"heat": 1.0})
    second = dataclasses.replace(PLAIN, stochastic=False, blind=False, kind="gan")
    both = cascade.combine([first, second])
    assert (both.factor, both.kind, both.size.least, both.stochastic) == (16, "chain", 9, True)
    assert both.marks() == ["not blind"]
    assert both.settings == {"steps": [{"heat": 1.0}, {}]}
    assert cascade.combine([first]).kind == "flow"

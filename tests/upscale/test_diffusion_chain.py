"""The law of upscalers by diffusion: noise, batches and progress are no model's own affair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from golden.sr3.recipe import SCHEDULES, TINY_BETAS, buffers
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw
from ida_rd.models.sr3.schedule import betas_of
from ida_rd.upscale.diffusion.ancestral import Ancestral
from ida_rd.upscale.diffusion.chain import Noise, draw_samples

CPU = torch.device("cpu")
DRAWS = [Draw(3, "image", k) for k in range(5)]


class State(NamedTuple):
    """An image, and what a sampler of second order remembers of the step before."""

    x: Tensor
    before: Tensor | None


class Walk:
    """A chain that goes towards grey and remembers its last step; it counts what it is asked."""

    steps, each = 4, 1.0
    shape = (3, 6, 5)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.kept: list[Tensor] = []

    def begin(self, noise: Noise) -> State:
        x = noise.start(self.shape)
        self.batches.append(len(x))
        return State(x, None)

    def step(self, number: int, state: State, noise: Noise) -> State:
        change = 0.5 * (0.5 - state.x) + 0.1 * noise.step(number, self.shape)
        before = change if state.before is None else state.before
        return State(state.x + 0.7 * change + 0.3 * before, change)

    def end(self, state: State) -> Tensor:
        self.kept.append(state.x)
        return state.x


def _drawn(draws: list[Draw], batch: int | None = None) -> tuple[Walk, NDArray[np.uint8]]:
    chain = Walk()
    return chain, draw_samples(chain, draws, CPU, batch).sr


def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks() -> None:
    """To the last bit here, where a batch computes every sample by itself."""
    one_by_one, expected = _drawn(DRAWS)
    assert one_by_one.batches == [1] * 5
    for batch, sizes in ((5, [5]), (2, [2, 2, 1]), (8, [5])):
        chain, found = _drawn(DRAWS, batch)
        assert chain.batches == sizes
        assert np.array_equal(found, expected)
        assert torch.equal(torch.cat(chain.kept), torch.cat(one_by_one.kept))
    assert np.array_equal(_drawn(DRAWS[3:4])[1][0], expected[3])
    assert np.array_equal(_drawn(DRAWS[::-1], 2)[1][::-1], expected)


def test_noise_is_a_function_of_seed_image_sample_and_step() -> None:
    shape = (3, 20, 20)

    def at(draw: Draw, number: int | None) -> Tensor:
        noise = Noise([draw], CPU)
        return noise.start(shape) if number is None else noise.step(number, shape)

    first = DRAWS[0]
    others = [Draw(4, "image", 0), Draw(3, "other", 0), Draw(3, "image", 1), Draw(3, "image", 0, 1), first.at_step(1)]
    fields = [at(draw, number) for draw in (first, *others) for number in (None, 0, 1)]
    flat = torch.stack(fields).flatten(1).double()
    correlation = torch.corrcoef(flat) - torch.eye(len(flat))
    assert correlation.abs().max() < 5 / 1200**0.5, "none is another's"
    assert torch.equal(at(first, 1), at(Draw(3, "image", 0), 1))
    assert at(first, None).shape == (1, *shape)
    double = Noise([first], CPU, torch.float64).step(0, shape)
    assert torch.equal(double, at(first, 0).double())


def test_progress_is_that_of_all_samples() -> None:
    seen: list[float] = []
    with listening(seen.append):
        draw_samples(Walk(), DRAWS[:2], CPU, None)
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(1 / 8)
    assert seen[-1] == 1
    assert len(set(seen)) == 8


def test_a_sample_that_is_not_finite_says_so_and_spoils_no_other() -> None:
    class Broken(Draw):
        def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
            numbers = super().normal(shape, label)
            return np.full_like(numbers, np.inf) if label == "step 2" else numbers

    broken = [DRAWS[0], Broken(3, "image", 1), DRAWS[2]]
    found = draw_samples(Walk(), broken, CPU, 3)
    assert found.finite.tolist() == [True, False, True]
    assert np.array_equal(found.sr[[0, 2]], _drawn([DRAWS[0], DRAWS[2]])[1])


@pytest.mark.parametrize("name", ["tiny_linear_20", "official_linear_2000"])
def test_coefficients_equal_the_golden_ones(name: str) -> None:
    """To the last bit of float32."""
    betas = TINY_BETAS if name.startswith("tiny") else betas_of("linear", 2000, 1e-6, 1e-2)
    golden = SCHEDULES[name]
    where = golden.get("index", range(len(betas)))
    for key, mine in buffers(betas).items():
        ulp = 1 if key == "posterior_log_variance_clipped" else 0  # which goes through an exponential here
        np.testing.assert_array_max_ulp(mine.numpy()[where], np.asarray(golden[key], np.float32), maxulp=ulp)


def test_steps_are_those_of_bayes_rule() -> None:
    """The mean and the spread of what lay before, given the clean image and what came of it."""
    betas = betas_of("linear", 10, 0.01, 0.4)
    by, kept = Ancestral.of(betas), np.cumprod(1 - betas)
    x, image, t = torch.tensor([0.7]).double(), torch.tensor([-0.2]).double(), 6
    prior, spread = kept[t - 1] ** 0.5 * -0.2, 1 - kept[t - 1]
    precision = 1 / spread + (1 - betas[t]) / betas[t]
    mean = (prior / spread + (1 - betas[t]) ** 0.5 * 0.7 / betas[t]) / precision
    assert float(by.mean(t, x, image)) == pytest.approx(mean, rel=1e-6)
    assert by.spread[t] == pytest.approx(precision**-0.5, rel=1e-6)
    noise = (x - kept[t] ** 0.5 * image) / (1 - kept[t]) ** 0.5
    assert float(by.clean(t, x, noise)) == pytest.approx(-0.2, rel=1e-5)

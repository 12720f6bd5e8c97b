"""The upscaler ``gaussian``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ida_rd.core.errors import UserError
from ida_rd.core.methods import validate
from ida_rd.core.seeds import Draw
from ida_rd.models.gaussian_field import ROUNDING, Posterior
from ida_rd.models.linear_filters import FILTERS, kernel_of
from ida_rd.upscale import gaussian
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem


def told(**arguments: Any) -> Problem:
    """A problem that names its downscaler, as a recipe does."""
    parameters = {"function": "periodic.reduce", "arguments": arguments}
    return Problem(4, {"stage": "downscale", "method": "python", "parameters": parameters})


@pytest.mark.parametrize("name", FILTERS)
def test_it_keeps_the_contract(name: str) -> None:
    check_upscaler(gaussian, {"filter": name}, 2)
    check_upscaler(gaussian, {"filter": name, "noise": 2.0}, 4)


def test_who_is_told_the_downscaler_is_neither_blind_nor_unmatched() -> None:
    matched = gaussian.describe(gaussian.Parameters(), 4)
    assert matched.marks() == ["not blind", "matched"]
    assert matched.asks == ("downscaler",)
    blind = gaussian.describe(gaussian.Parameters(filter="bicubic"), 4)
    assert blind.marks() == []
    assert blind.asks == ()
    # One that is told the filter and believes in another noise does not match.
    assert gaussian.describe(gaussian.Parameters(noise=1.0), 4).marks() == ["not blind"]


def test_it_believes_what_the_downscaler_says() -> None:
    world = gaussian.world_of(gaussian.Parameters(), told(filter="lanczos", noise=2.0))
    np.testing.assert_array_equal(world.kernel.taps, kernel_of("lanczos", 4).taps)
    assert world.noise == 4 + ROUNDING
    assert gaussian.world_of(gaussian.Parameters(), told(filter="box")).noise == ROUNDING
    # What nearest keeps are whole levels: nothing is rounded, unless there was noise.
    assert gaussian.world_of(gaussian.Parameters(), told(filter="nearest")).noise == 0
    assert gaussian.world_of(gaussian.Parameters(), told(filter="nearest", noise=1)).noise == 1 + ROUNDING
    # Its own parameters come first.
    other = gaussian.world_of(gaussian.Parameters(filter="box", noise=1.0), told(filter="lanczos", noise=2.0))
    assert len(other.kernel.taps) == 4
    assert other.noise == 1 + ROUNDING
    assert gaussian.world_of(gaussian.Parameters(noise=0.0), told(filter="box", noise=2.0)).noise == ROUNDING


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (told(), "this one has none"),
        (told(filter="sinc"), "one of box, bilinear"),
        (Problem(4, {"method": "dpid", "parameters": {}}), "this one has none: name the filter"),
        (told(filter="box", noise="much"), "noise must be from 0 to 255, not 'much'"),
    ],
)
def test_a_downscaler_of_which_nothing_is_known_is_one_line(problem: Problem, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        gaussian.load(gaussian.Parameters(), problem, "cpu")
    assert "\n" not in str(error.value)


def test_parameters_that_are_no_field_are_refused() -> None:
    for wrong in ({"sigma": 0}, {"cutoff": 0}, {"floor": 2}, {"correlation": 1}, {"noise": -1}, {"filter": "sinc"}):
        with pytest.raises(UserError, match=f"^u.{next(iter(wrong))}: "):
            validate(gaussian.Parameters, wrong, where="u")


def test_samples_are_the_posteriors_and_depend_on_their_draws_alone() -> None:
    parameters = gaussian.Parameters(filter="bicubic", noise=2.0, sigma=20.0)
    lr = np.random.default_rng(0).integers(60, 200, (3, 16, 12), dtype=np.uint8)
    upscaler = gaussian.load(parameters, Problem(4), "cpu")
    draws = [Draw(0, "a", k) for k in range(200)]
    samples = upscaler.sample(lr, draws)
    posterior = Posterior(gaussian.world_of(parameters, Problem(4)), 64, 48)
    assert samples.sr.mean() == pytest.approx(posterior.mean(lr.astype(float)).mean(), abs=0.1), "rounded, not cut"
    deviation = np.sqrt(np.square(samples.sr - posterior.mean(lr.astype(float))).mean(axis=(0, 2, 3)))
    seen = (
        posterior.prior.mean(axis=(1, 2))
        - (np.abs(posterior.gain) ** 2 * np.tile(posterior.power, (4, 4))).mean(axis=(1, 2)) / 16
    )
    np.testing.assert_allclose(deviation, np.sqrt(seen.mean() + ROUNDING), rtol=0.01)
    other = upscaler.sample(lr, [draws[7], Draw(0, "b", 7), Draw(1, "a", 7)]).sr
    assert np.array_equal(other[0], samples.sr[7])
    assert len({image.tobytes() for image in other}) == 3


def test_what_lies_outside_eight_bits_is_counted() -> None:
    upscaler = gaussian.load(gaussian.Parameters(filter="box", sigma=60.0), Problem(2), "cpu")
    samples = upscaler.sample(np.zeros((3, 16, 16), np.uint8), [Draw(0, "a", 0)])
    assert 0.3 < samples.clipped[0] < 0.7
    assert (samples.sr == 0).mean() >= samples.clipped[0]

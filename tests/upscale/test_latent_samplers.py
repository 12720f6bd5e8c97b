"""Samplers of latent diffusion: their tables, their laws, and where their noise comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from golden.latent.network import HERE
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import Draw
from ida_rd.upscale.diffusion.chain import Noise, draw_samples
from ida_rd.upscale.diffusion.ddim import DDIM
from ida_rd.upscale.diffusion.edm import DPM2M, SDE3M, levels_of
from ida_rd.upscale.diffusion.guidance import guided, rising
from ida_rd.upscale.diffusion.sampler import Network, Prediction, Sampler, State
from ida_rd.upscale.diffusion.samplers import SAMPLERS, Name, sampler_of
from ida_rd.upscale.diffusion.schedule import evenly_spaced, from_below, scaled_linear, zero_terminal
from ida_rd.upscale.diffusion.spaced import Spaced
from ida_rd.upscale.diffusion.start import drawn, posterior, towards

PARITY = pytest.mark.parity("ida_rd.upscale.diffusion.samplers", "ida_rd.upscale.diffusion.guidance")
DIFFBIR, STABLESR = (dict(np.load(HERE / f"{model}.npz")) for model in ("diffbir", "stablesr"))
KEPT = scaled_linear()
ZERO = zero_terminal(KEPT)
CPU = torch.device("cpu")
MEAN, STEPS = 0.7, 8


# Tables


@PARITY
def test_schedules_equal_the_golden_ones() -> None:
    for kept, name in ((KEPT, ""), (ZERO, "_zsnr")):
        np.testing.assert_allclose(kept, DIFFBIR[f"alphas_cumprod{name}"], rtol=0, atol=1e-15)
        betas = 1 - kept / np.concatenate([[1.0], kept[:-1]])
        np.testing.assert_allclose(betas, DIFFBIR[f"betas{name}"], rtol=0, atol=1e-12)
    assert ZERO[-1] == 0
    assert ZERO[0] == pytest.approx(KEPT[0], rel=1e-15)
    assert KEPT[-1] == pytest.approx(float(STABLESR["alphas_cumprod_999"][0]), rel=1e-7)  # float32 on its way


@PARITY
@pytest.mark.parametrize(("prefix", "steps"), [("spaced", 5), ("spaced", 50), ("s", 4), ("s", 5), ("s", 200)])
def test_tables_of_spaced_steps_equal_the_golden_ones(prefix: str, steps: int) -> None:
    """StableSR's own (`s`) go through float32 on their way."""
    golden = {
        key.removeprefix(f"{prefix}{steps}_"): value
        for key, value in (DIFFBIR | STABLESR).items()
        if key.startswith(f"{prefix}{steps}_")
    }
    by, rtol = Spaced.of(KEPT, steps), 1e-6 if prefix == "spaced" else 5e-5
    assert by.times == tuple(golden["timesteps"] if prefix == "spaced" else STABLESR[f"t{steps}"])
    inverse, noise = (1 / by.kept) ** 0.5, (1 / by.kept - 1) ** 0.5
    mine: dict[str, NDArray[np.float64]] = {
        "sqrt_recip_alphas_cumprod": inverse,
        "sqrt_recipm1_alphas_cumprod": noise,
        "posterior_mean_coef1": by.to_image,
        "posterior_mean_coef2": by.to_state,
        "posterior_variance": by.variance,
        "posterior_log_variance_clipped": np.log(np.maximum(by.variance, 1e-20)),
        "alphas_cumprod": by.kept,
        "sqrt_alphas_cumprod": by.kept**0.5,
        "sqrt_one_minus_alphas_cumprod": (1 - by.kept) ** 0.5,
        "betas": 1 - by.kept / np.concatenate([[1.0], by.kept[:-1]]),
    }
    compared = 0
    for key, value in golden.items():
        if key != "timesteps":
            np.testing.assert_allclose(mine[key], value, rtol=10 * rtol if "recipm1" in key else rtol, atol=1e-7)
            compared += 1
    assert compared == (5 if prefix == "spaced" else 10)


@PARITY
def test_tables_of_other_samplers_equal_the_golden_ones() -> None:
    for kept, name in ((KEPT, ""), (ZERO, "_zsnr")):
        times, levels = levels_of(kept, 10)
        assert [*times, 0] == DIFFBIR["edm10_timesteps"].tolist()
        np.testing.assert_allclose(levels, DIFFBIR[f"edm10_sigmas{name}"], rtol=1e-6)
    by = DDIM.of(KEPT, 5)
    assert by.times == tuple(DIFFBIR["ddim5_timesteps"])
    np.testing.assert_allclose(by.kept, DIFFBIR["ddim5_alphas"], rtol=1e-6)
    np.testing.assert_allclose(by.before, DIFFBIR["ddim5_alphas_prev"], rtol=1e-6)
    for loop in ("ddim5_canvas_v", "ddim5_canvas_neg7"):
        by = DDIM.of(KEPT, 5, eta=1, offset=0)
        assert by.times == tuple(STABLESR[f"tab_{loop}"])
        assert evenly_spaced(5) == tuple(STABLESR[f"t_{loop}"])
        for key, value in {"alphas": by.kept, "alphas_prev": by.before, "sigmas": by.spread}.items():
            np.testing.assert_allclose(value, STABLESR[f"ddim_{key}_{loop}"], rtol=2e-5)
    times, scales = DIFFBIR["rescale_cfg_scale4"].T
    assert [rising(4)(time) for time in times] == pytest.approx(scales, abs=1e-12)


def test_one_step_begins_at_the_last_time() -> None:
    assert evenly_spaced(1) == (999,)
    assert evenly_spaced(1000) == tuple(range(1000))
    assert from_below(100, offset=1)[-1] == 991
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match="steps over 1000 times"):
            evenly_spaced(wrong)
        with pytest.raises(ValueError, match="steps over 1000 times"):
            from_below(wrong)


def test_noise_cannot_be_predicted_where_nothing_is_left_of_the_image() -> None:
    for make in (Spaced.of, lambda kept, steps: sampler_of("dpm_solver", kept, steps)):
        with pytest.raises(ValueError, match="ask for v"):
            make(ZERO, 5)


# Laws


class Units:
    """Every element of a row is its own case: number 0 without noise, number i with a 1 at the start or at a step."""

    def __init__(self, steps: int) -> None:
        self.count = steps + 2
        self.asked: set[int] = set()

    def _unit(self, number: int) -> Tensor:
        self.asked.add(number)
        return torch.eye(self.count, dtype=torch.float64)[number].view(1, 1, 1, -1)

    def start(self, shape: tuple[int, ...]) -> Tensor:
        return self._unit(1)

    def step(self, number: int, shape: tuple[int, ...]) -> Tensor:
        assert shape == (1, 1, self.count)
        return self._unit(number + 2)


def moments(sampler: Sampler, network: Network, last: int | None = None) -> tuple[float, float]:
    """Mean and variance of the state after some of the steps, exactly: it is linear in the noise."""
    noise: Any = Units(sampler.steps)
    state = sampler.begin(noise.start((1, 1, noise.count)))
    for number in range(sampler.steps if last is None else last):
        state = sampler.step(number, state, network, noise)
    row = state.x.flatten()
    return float(row[0]), float(((row[1:] - row[0]) ** 2).sum())


def knowing(sampler: Any, kept: NDArray[np.float64], variance: float) -> Network:
    """The best network for images of mean MEAN and a variance: what it gives is exact."""
    times = {float(time): float(share) for time, share in zip(range(len(kept)), kept, strict=True)}
    if hasattr(sampler, "levels"):  # these take another level for the last time
        times |= {float(t): 1 / (1 + level**2) for t, level in zip(sampler.times, sampler.levels, strict=False)}
    elif not isinstance(sampler, Spaced | DDIM):
        times |= dict(zip(map(float, sampler.times), sampler.kept, strict=True))

    def network(x: Tensor, time: float) -> Tensor:
        left = times[float(time)]
        total = left * variance + 1 - left
        image = MEAN + math.sqrt(left) * variance / total * (x - math.sqrt(left) * MEAN)
        noise = (x - math.sqrt(left) * image) / math.sqrt(1 - left)
        if sampler.predicts == "eps":
            return noise
        return math.sqrt(left) * noise - math.sqrt(1 - left) * image

    return network


def made(name: Name, steps: int, predicts: Prediction, eta: float) -> tuple[Any, NDArray[np.float64]]:
    kept = KEPT if predicts == "eps" or name == "dpm_solver" else ZERO
    return sampler_of(name, kept, steps, predicts, eta=eta), kept


def left_after(sampler: Any, number: int) -> tuple[float, float]:
    """Factor of the image, and variance of the noise, of the state before step `number`."""
    if hasattr(sampler, "levels"):
        return 1.0, sampler.levels[number] ** 2
    kept = sampler.kept if not isinstance(sampler, Spaced | DDIM) else [*sampler.kept[::-1], 1.0]
    if isinstance(sampler, DDIM):
        kept = [*sampler.kept[::-1], sampler.before[0]]
    return math.sqrt(kept[number]), 1 - kept[number]


@given(
    st.sampled_from(SAMPLERS), st.integers(2, 30), st.sampled_from(["eps", "v"]), st.floats(0, 1), st.integers(1, 30)
)
def test_a_known_image_keeps_its_mean_and_the_noise_its_level(
    name: Name, steps: int, predicts: Prediction, eta: float, last: int
) -> None:
    """Whatever the sampler: after every step the state is the image with noise of just the next level."""
    sampler, kept = made(name, steps, predicts, eta)
    last = min(last, sampler.steps)
    before, variance = left_after(sampler, 0)
    network = knowing(sampler, kept, 0.0)
    offset = before * MEAN / (math.sqrt(1 + sampler.levels[0] ** 2) if hasattr(sampler, "levels") else 1)
    width = math.sqrt(variance / (1 + variance)) if hasattr(sampler, "levels") else math.sqrt(variance)

    class Placed:
        steps, predicts, step = sampler.steps, sampler.predicts, sampler.step

        @staticmethod
        def begin(x: Tensor) -> State:
            return sampler.begin(offset + width * x)

    mean, found = moments(Placed(), network, last)
    factor, wanted = left_after(sampler, last)
    assert mean == pytest.approx(factor * MEAN, abs=1e-6)
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize(("name", "eta"), [*((name, 0.0) for name in SAMPLERS), ("ddim", 1.0)])
def test_many_steps_give_the_mean_and_variance_of_the_images(name: Name, eta: float, predicts: Prediction) -> None:
    """For images that are Gaussian, with the network that knows their law."""
    if name == "dpm_solver" and predicts == "v":
        predicts = "eps"
    variance = 0.3
    errors = []
    for steps in (20, 80, 320):
        sampler, kept = made(name, steps, predicts, eta)
        mean, found = moments(sampler, knowing(sampler, kept, variance))
        errors.append(abs(found - variance))
    assert mean == pytest.approx(MEAN, abs=0.05)  # the chain begins from noise alone, with a little of the image left
    assert errors[-1] < 0.05 * variance, errors
    assert errors[1] < 0.7 * errors[0], errors
    assert errors[2] < 0.5 * errors[1], errors


def test_steps_without_noise_are_of_second_order() -> None:
    """With twice as many steps, a quarter of the error in how much the spread of a state shrinks."""
    variance, end = 0.3, 0.02
    wanted = math.sqrt((variance + end**2) / (variance + 1))

    def error(steps: int) -> float:
        levels = np.geomspace(1.0, end, steps).tolist()
        sampler = DPM2M(tuple(range(steps)), (*levels, 0.0))
        network, noise = knowing(sampler, KEPT, variance), Units(steps)
        state = State(MEAN + noise.start((1, 1, noise.count)))
        for number in range(steps - 1):  # the last step goes to the clean image at once
            state = sampler.step(number, state, network, noise)  # type: ignore[arg-type]
        return abs(float(state.x.flatten()[1] - state.x.flatten()[0]) - wanted)

    assert math.log2(error(40) / error(80)) == pytest.approx(2, abs=0.25)


def test_steps_with_noise_follow_an_image_that_changes_at_a_constant_speed() -> None:
    """From their second on: if it is -log(level), the mean of the state is half behind it."""
    levels = [7.0, 3.0, 2.0, 0.9, 0.5, 0.2]
    sampler = SDE3M(tuple(range(6)), (*levels, 0.0))

    def network(x: Tensor, time: float) -> Tensor:
        level = levels[int(time)]
        return (x * math.sqrt(1 + level**2) + math.log(level)) / level

    noise: Any = Units(6)
    state = sampler.step(0, State(noise.start(()) * 0), network, noise)
    for number in range(1, 5):
        state = State(torch.full_like(state.x, -math.log(levels[number]) - 0.5), state.past)
        state = sampler.step(number, state, network, noise)
        assert float(state.x.flatten()[0]) == pytest.approx(-math.log(levels[number + 1]) - 0.5, abs=1e-12)


# Noise


class Latent:
    """A chain through a sampler, of a network that looks at nothing but the pixel."""

    each, shape = 1.0, (3, 4, 5)

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.steps = sampler, sampler.steps
        self.kept: list[Tensor] = []

    def begin(self, noise: Noise) -> State:
        return self.sampler.begin(noise.start(self.shape))

    def step(self, number: int, state: State, noise: Noise) -> State:
        return self.sampler.step(number, state, lambda x, time: torch.tanh(x) * (1 + time / 1000), noise)

    def end(self, state: State) -> Tensor:
        self.kept.append(state.x)
        return state.x


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_latent_is_the_same_alone_and_in_a_batch_whatever_torch_drew(name: Name) -> None:
    draws = [Draw(3, "image", k) for k in range(3)]

    def ends(batch: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        chain = Latent(sampler_of(name, KEPT, 5, eta=0.5))
        draw_samples(chain, draws, CPU, batch)
        return torch.cat(chain.kept)

    alone = ends(1, 0)
    assert torch.equal(alone, ends(3, 1))
    assert torch.equal(alone, ends(2, 2))
    assert (alone[0] - alone[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "eta", "wanted"),
    [
        ("spaced", 0.0, STEPS - 1),
        ("ddim", 0.0, 0),
        ("ddim", 1.0, STEPS),
        ("euler_a", 0.0, STEPS - 1),
        ("dpm++_2m", 0.0, 0),
        ("dpm++_3m_sde", 0.0, STEPS - 1),
        ("dpm_solver", 0.0, 0),
    ],
)
def test_noise_of_every_step_is_its_own(name: Name, eta: float, wanted: int) -> None:
    """Each step asks for that of its number, once; those that add none ask for none."""
    sampler, noise = sampler_of(name, KEPT, STEPS, eta=eta), Units(STEPS)
    state = sampler.begin(noise.start((1, 1, noise.count)))
    asked: list[int] = []
    for number in range(STEPS):
        noise.asked.clear()
        state = sampler.step(number, state, lambda x, _: x, noise)  # type: ignore[arg-type]
        assert noise.asked <= {number + 2}
        asked += noise.asked
    assert len(asked) == wanted


def test_noise_of_a_purpose_is_each_samples_own() -> None:
    draws = [Draw(3, "image", k) for k in range(2)]
    noise, shape = Noise(draws, CPU), (4, 3, 5)
    fields = [noise.start(shape), noise.step(0, shape), drawn(noise, shape, "posterior"), drawn(noise, shape, "other")]
    flat = torch.stack(fields).flatten(2).flatten(0, 1)
    assert (torch.corrcoef(flat) - torch.eye(8)).abs().max() < 5 / 60**0.5
    assert torch.equal(drawn(Noise(draws[1:], CPU), shape, "posterior")[0], fields[2][1])
    mean = torch.full((1, *shape), 2.0)
    found = posterior(mean, torch.full_like(mean, -100.0), noise)
    assert found.shape == (2, *shape)
    torch.testing.assert_close(found, 2 + math.exp(-15) * fields[2])
    found = posterior(mean, torch.full_like(mean, 2 * math.log(3.0)), noise)
    torch.testing.assert_close(found, 2 + 3 * fields[2])
    assert float(towards(torch.tensor(2.0), 0.25, torch.tensor(1.0))) == pytest.approx(1 + 0.75**0.5)


# Guidance


def _constant(value: float, calls: list[float]) -> Callable[[Tensor, float], Tensor]:
    def network(x: Tensor, time: float) -> Tensor:
        calls.append(time)
        return torch.full_like(x, value)

    return network


def test_guidance_goes_beyond_the_wanted_prompt_and_costs_nothing_at_one() -> None:
    x, calls = torch.zeros(1, 1, 2, 2), []  # type: tuple[Tensor, list[float]]
    for scale, value in ((4.0, 2 + 4 * 3.0), (1.0, 5.0), (0.0, 2.0), (rising(4), 2 + 5 * 3.0)):
        assert guided(_constant(5, []), _constant(2, calls), scale)(x, 0).unique().tolist() == [value]
    assert len(calls) == 3
    assert guided(_constant(5, []), _constant(2, []), rising(4))(x, 1000).unique().tolist() == [5.0]

"""The compact diffusion model: its space, its preconditioning, its shapes, its solver, and its files."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from compact_diffusion import TINY, TINY_X8, network, saved
from conftest import ROOT
from safetensors.torch import load_file, save_file
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.models.bijections import unsqueeze
from ida_rd.models.edm.checkpoint import check_header, load_network
from ida_rd.models.edm.config import EDMConfig
from ida_rd.models.edm.network import EDMNet, kept_share
from ida_rd.models.edm.solver import Solver, noise_levels
from ida_rd.models.edm.space import from_basis, orthonormal_basis, to_basis
from ida_rd.models.flow import RESIDUAL_SCALE
from ida_rd.models.flow import load_network as load_flow


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def levels_of_noise(*sigmas: float) -> Tensor:
    return torch.tensor(sigmas)


# The space


def test_the_basis_is_orthonormal_and_its_first_channel_is_brightness() -> None:
    basis = orthonormal_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(12), rtol=0, atol=1e-6)
    gray = to_basis(torch.full((1, 3, 4, 4), 0.5), basis)
    assert gray[:, 0].allclose(torch.tensor(0.5 * 3**0.5 * 2))
    assert gray[:, 1:].abs().max() < 1e-6
    image = images(2, 3, 8, 6)
    torch.testing.assert_close(from_basis(to_basis(image, basis), basis), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [TINY, TINY_X8], ids=["x4", "x8"])
@torch.no_grad()
def test_an_image_is_its_whitened_residual(config: EDMConfig) -> None:
    net, lr = network(config), images(2, 3, 6, 4)
    space = net.condition(lr).space
    hr = images(2, 3, 6 * config.factor, 4 * config.factor, seed=1)
    y = space.whitened(hr)
    assert y.shape == (2, 12, 3 * config.factor, 2 * config.factor)
    torch.testing.assert_close(space.image(y), hr, rtol=0, atol=1e-5)
    by_hand = (to_basis(hr - net.enlarge(lr), orthonormal_basis()) - space.mean) / space.scale
    torch.testing.assert_close(y, by_hand)
    assert space.scale.min() >= 1.5 / 255


@torch.no_grad()
def test_what_is_clamped_are_pixels() -> None:
    net = network()
    space = net.condition(images(1, 3, 4, 4)).space
    y = 30 * torch.randn(2, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    assert space.image(y).abs().max() > 1.5
    torch.testing.assert_close(space.image(space.in_range(y)), space.image(y).clamp(0, 1), rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_untrained_head_leaves_the_mean_of_the_flow() -> None:
    flow = load_flow(ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors")
    net = EDMNet(EDMConfig())
    net.encoder.load_state_dict(flow.encoder.state_dict())
    net.prior.load_state_dict(flow.mean.state_dict())
    lr = images(1, 3, 6, 8)
    space = net.condition(lr).space
    torch.testing.assert_close(space.image(torch.zeros_like(space.mean)), flow.predict_mean(lr), rtol=0, atol=1e-5)
    given = flow.condition(lr)
    torch.testing.assert_close(
        from_basis(space.mean, orthonormal_basis()), RESIDUAL_SCALE * unsqueeze(given.mean), rtol=0, atol=1e-6
    )
    assert sum(weight.numel() for weight in net.parameters()) * 2 < 8e6, "what ships in float16"
    assert 1.9e6 < sum(weight.numel() for weight in net.denoiser.parameters()) < 2.1e6


# The denoiser


@torch.no_grad()
def test_an_untrained_denoiser_is_the_best_one_for_noise() -> None:
    """Its last layer is zero, and what is left is the posterior mean of y of variance 1."""
    net, sigma = EDMNet(TINY), levels_of_noise(0.03, 1.0, 30.0)
    given, noisy = net.condition(images(1, 3, 4, 4)), torch.randn(3, 12, 8, 8)
    expected = noisy / (1 + sigma.square())[:, None, None, None]
    torch.testing.assert_close(net.denoise(noisy, sigma, given.features), expected)


@torch.no_grad()
def test_the_denoiser_is_what_is_kept_and_what_the_network_gives() -> None:
    """D = c^2 x + sigma c F(c x), c = (1 + sigma^2)^(-1/2); and F of the training's target gives y."""
    net, sigma = network(), levels_of_noise(0.2, 5.0)
    given, noisy = net.condition(images(1, 3, 4, 6)), 3 * torch.randn(2, 12, 8, 12)
    c = (1 + sigma.double().square()).rsqrt().float()[:, None, None, None]
    torch.testing.assert_close(kept_share(sigma)[:, None, None, None], c)
    s = sigma[:, None, None, None]
    f = net.denoiser(c * noisy, sigma.log(), given.features)
    assert f.abs().mean() > 0.05
    torch.testing.assert_close(net.denoise(noisy, sigma, given.features), c**2 * noisy + s * c * f)
    y = torch.randn_like(noisy)
    target = (y - noisy * c**2) / (s * c)
    torch.testing.assert_close(c**2 * noisy + s * c * target, y, rtol=0, atol=1e-5)


@torch.no_grad()
def test_noise_level_and_features_matter_and_a_batch_shares_features() -> None:
    net = network()
    one, other = (net.condition(images(1, 3, 4, 4, seed=seed)).features for seed in (0, 1))
    x, low, high = torch.randn(2, 12, 8, 8), levels_of_noise(0.1).log(), levels_of_noise(3.0).log()
    found = net.denoiser(x, low, one)
    assert (net.denoiser(x, high, one) - found).abs().max() > 1e-3
    assert (net.denoiser(x, low, other) - found).abs().max() > 1e-3
    both = [torch.cat(pair) for pair in zip(one, one, strict=True)]
    torch.testing.assert_close(net.denoiser(x, low.expand(2), both), found)


@pytest.mark.parametrize("config", [TINY, TINY_X8], ids=["x4", "x8"])
@pytest.mark.parametrize("size", [(1, 1), (5, 4), (4, 7), (6, 6)])
@torch.no_grad()
def test_any_size_goes_in(config: EDMConfig, size: tuple[int, int]) -> None:
    net, factor = network(config), config.factor
    lr = images(1, 3, *size)
    given = net.condition(lr)
    assert given.base.shape == (1, 3, size[0] * factor, size[1] * factor)
    x = torch.randn(2, *given.shape)
    clean = net.denoise(x, levels_of_noise(1.0), given.features)
    assert clean.shape == x.shape
    assert net.image(clean, given).shape == (2, 3, size[0] * factor, size[1] * factor)
    padded = torch.nn.functional.pad(lr, (0, -size[1] % config.multiple, 0, -size[0] % config.multiple), "replicate")
    whole = net.image(clean, net.condition(padded)._replace(size=(size[0] * factor, size[1] * factor)))
    torch.testing.assert_close(net.image(clean, given), whole)


@torch.no_grad()
def test_what_comes_from_features_is_computed_once_an_image() -> None:
    net, calls = network(), Counter[str]()
    for name in ("encoder", "prior", "head", "denoiser.of_fine", "denoiser.of_middle", "denoiser.of_deep"):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    given = net.condition(images(1, 3, 4, 4))
    assert set(calls.values()) == {1}
    assert len(calls) == 6
    Solver(noise_levels(4)).solve(
        torch.randn(3, *given.shape),
        lambda x, sigma: given.space.in_range(net.denoise(x, levels_of_noise(sigma), given.features)),
    )
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("level", [0.03, 1.0])
def test_bfloat16_is_for_the_networks_layers_alone(level: float) -> None:
    """What is kept of the noisy y is not rounded, and what the network adds is nearly the same."""
    net, sigma = network(), levels_of_noise(level)
    given, noisy = net.condition(images(1, 3, 4, 4)), torch.randn(2, 12, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = net.denoise(noisy, sigma, given.features)
    assert half.dtype == torch.float32
    full = net.denoise(noisy, sigma, given.features)
    added = full - noisy / (1 + sigma**2)
    assert 0 < (half - full).norm() < 0.05 * added.norm()


# The solver


def gaussian(variance: float, mean: float) -> tuple[Any, Any]:
    """The denoiser of a normal distribution, and the exact solution of its equation from one level to another."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return mean + (x - mean) * variance / (variance + sigma**2)

    def exact(x: Tensor, here: float, there: float) -> Tensor:
        return mean + (x - mean) * math.sqrt((variance + there**2) / (variance + here**2))

    return denoise, exact


@pytest.mark.parametrize("variance", [0.25, 2.0])
def test_the_solver_is_of_second_order(variance: float) -> None:
    """Twice the steps, a quarter of the error at the last level before 0; the first order alone halves it."""
    denoise, exact = gaussian(variance, 0.7)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors, first = [], []
    for steps in (80, 160, 320):
        levels = noise_levels(steps)
        solver, found = Solver(levels), {}
        for order in (1, 2):
            x, before = levels[0] * noise, None
            for number in range(steps - 1):
                clean = denoise(x, levels[number])
                x, before = solver.step(number, x, clean, before if order == 2 else None), clean
            found[order] = float((x - exact(levels[0] * noise, levels[0], levels[-2])).abs().max())
        errors.append(found[2])
        first.append(found[1])
    for few, many in pairwise(errors):
        assert few / many == pytest.approx(4, rel=0.15)
    for few, many in pairwise(first):
        assert few / many == pytest.approx(2, rel=0.1)
    assert errors[0] < first[0] / 10


@pytest.mark.parametrize(("steps", "widened"), [(12, 0.055), (25, 0.011)])
def test_few_steps_widen_a_distribution_a_little(steps: int, widened: float) -> None:
    """Samples of normal distributions of deviation 0.5 to 1.5 are too wide by so much at most, and not too narrow."""
    noise = torch.ones(1, dtype=torch.float64)
    for spread in (0.5, 1.0, 1.5):
        denoise, _ = gaussian(spread**2, 0.0)
        assert 0 < float(Solver(noise_levels(steps)).solve(noise, denoise)) / spread - 1 < widened


def test_noise_levels_are_those_of_the_paper() -> None:
    levels = noise_levels(3, 80.0, 0.002, 7.0)
    half = ((80.0 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert levels == pytest.approx((80.0, half, 0.002, 0.0))
    assert noise_levels(12)[0] == pytest.approx(30)
    assert noise_levels(12)[-2:] == pytest.approx((0.03, 0))
    assert noise_levels(1) == pytest.approx((30, 0))
    with pytest.raises(ValueError, match="0 steps"):
        noise_levels(0)


# Files


def test_a_file_is_its_network(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.safetensors", TINY_X8)
    net = load_network(path)
    assert net.config == check_header(path) == TINY_X8
    for mine, other in zip(net.parameters(), network(TINY_X8).parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-3)
        assert (mine.dtype, mine.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 3},
        {"width": 9},
        {"width": 0},
        {"width": 10**6},
        {"encoder_blocks": 999},
        {"filters": "bicubic"},
        {"filters": []},
        {"depth": 3},
    ],
)
def test_another_file_is_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    good = saved(tmp_path / "good.safetensors")
    bad = tmp_path / "bad.safetensors"
    save_file(load_file(good), bad, {"config": json.dumps(TINY.as_dict() | change)})
    with pytest.raises(UserError, match=r"bad\.safetensors: its (metadata|tensors) are not") as error:
        load_network(bad)
    assert len(str(error.value).splitlines()) == 1


def test_other_tensors_are_one_line(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.safetensors")
    config, bad = {"config": json.dumps(TINY.as_dict())}, tmp_path / "bad.safetensors"
    tensors = load_file(good)
    save_file({name: tensor for name, tensor in tensors.items() if name != "head.last.bias"}, bad, config)
    with pytest.raises(
        UserError, match=re.escape("1 are missing, unknown or of another shape, such as head.last.bias")
    ):
        load_network(bad)
    save_file(tensors | {"head.last.bias": torch.full((24,), torch.nan)}, bad, config)
    with pytest.raises(UserError, match=re.escape("head.last.bias holds numbers that are not finite")):
        load_network(bad)
    flow = ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors"
    with pytest.raises(UserError, match="its metadata are not those of a compact diffusion network"):
        check_header(flow)

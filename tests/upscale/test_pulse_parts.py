"""The parts of PULSE's search: golden values of losses, spheres, schedules and the bicubic operator; the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.pulse.recipe import image, mapping, meta, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import read_tensors
from ida_rd.upscale import pulse
from ida_rd.upscale.pulse import Term, fit
from ida_rd.upscale.pulse.losses import geocross, l1, loss_of, squared
from ida_rd.upscale.pulse.operators import bicubic, bicubic_kernel, operator_of
from ida_rd.upscale.pulse.spheres import OPTIMISERS, SphericalOptimiser, multiplier, norms

UNITS: dict[str, Any] = meta("loop")["units"]


# The operator


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_the_bicubic_operator_equals_the_golden_one(factor: int) -> None:
    golden = UNITS[f"bicubic_{factor}"]
    kernel, expected = bicubic_kernel(factor), golden["kernel"]
    if isinstance(expected, dict):
        np.testing.assert_allclose(kernel[:8], expected["first"], rtol=0, atol=1e-8)
        assert kernel.max() == pytest.approx(expected["max"], abs=1e-8)
    else:
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-8)
    side = golden["size"]
    hr = torch.from_numpy(image(side, side, golden["image_seed"]) / 255)[None]
    out, stored = bicubic(factor)(hr)[0].numpy(), golden["out"]
    if isinstance(stored, dict):
        np.testing.assert_allclose(out[:, 0], stored["first_row"], atol=1e-7)
        np.testing.assert_allclose(out[:, side // factor // 2], stored["centre"], atol=1e-7)
        assert float(out.sum()) == pytest.approx(stored["sum"], rel=1e-7)
    else:
        np.testing.assert_allclose(out.ravel(), stored, atol=1e-7)


@pytest.mark.parametrize("name", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_downscalers_own_operator_is_pillows(name: str, factor: int, astronaut: Any) -> None:
    """To half a level, what 8 bits leave, at the borders too."""
    photo = astronaut[100:164, 100:164]
    recipe = {"method": "resample", "parameters": {"backend": "pillow", "filter": name, "antialias": None}}
    reduce = operator_of("own", factor, 64, recipe)
    mine = reduce(torch.from_numpy(photo.transpose(2, 0, 1).copy()).double()[None])[0].numpy()
    size = (64 // factor, 64 // factor)
    for channel in range(3):
        one = Image.fromarray(photo[..., channel].astype(np.float32), mode="F")
        np.testing.assert_allclose(
            mine[channel], np.asarray(one.resize(size, Image.Resampling[name.upper()])), atol=1e-3
        )


@pytest.mark.parametrize(
    "downscaler",
    [
        None,
        {"method": "dpid", "parameters": {}},
        {"method": "resample", "parameters": {"backend": "opencv", "filter": "area"}},
        {"method": "resample", "parameters": {"backend": "pillow", "filter": "nearest"}},
        {"method": "resample", "parameters": {"backend": "pillow", "filter": "box"}, "degrade": [{"jpeg": {}}]},
    ],
)
def test_a_downscaler_that_cannot_be_followed_is_one_line(downscaler: Any) -> None:
    with pytest.raises(UserError, match="operator: own follows downscalers with") as error:
        operator_of("own", 4, 64, downscaler)
    assert "\n" not in str(error.value)


# The loss


def test_geocross_equals_the_golden_one() -> None:
    golden = UNITS["geocross"]
    x = normal(golden["seed"], *golden["shape"]).requires_grad_()
    value = geocross(x)
    np.testing.assert_allclose(value.detach(), golden["per_sample"], rtol=1e-12)
    value.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.ravel()[:5], golden["grad_first"], rtol=1e-9)
    assert float(x.grad.abs().sum()) == pytest.approx(golden["grad"]["abs_sum"], rel=1e-9)
    assert float(geocross(x[:1, :1].detach())) == 0
    same = x.detach()[:1, :1].expand(1, 18, 512)
    assert float(geocross(same)) == pytest.approx(UNITS["geocross_identical"], rel=0.3)


def test_opposite_styles_are_pi_apart() -> None:
    x = torch.stack([torch.eye(1, 512)[0], -torch.eye(1, 512)[0]])[None].double()
    assert float(geocross(x)) == pytest.approx(512 * np.pi**2 / 2 / 8, rel=1e-4)


def test_l2_and_l1_equal_the_golden_ones_and_pull_no_more_below_eps() -> None:
    golden = UNITS["L2"]
    reference = torch.zeros(3, 3, 8, 8, dtype=torch.float64)
    scales = torch.tensor(golden["scales"], dtype=torch.float64)[:, None, None, None]
    x = (normal(golden["seed"], *reference.shape) * scales).requires_grad_()
    found = loss_of([Term(1.0, "L2")], x, reference, x.flatten(2), golden["eps"])
    np.testing.assert_allclose(found["residual"].detach(), golden["mse"], rtol=1e-7)
    assert float(found["total"].detach().sum()) == pytest.approx(golden["value"], rel=1e-7)
    found["total"].sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.abs().sum(dim=(1, 2, 3)), golden["grad_abs_sum"], rtol=1e-7)
    assert not x.grad[0].any()
    y = x.detach().requires_grad_()
    assert float(l1(y, reference, golden["eps"]).detach().sum()) == pytest.approx(UNITS["L1"], rel=1e-7)
    l1(y, reference, 0.5).sum().backward()
    assert y.grad is not None
    assert [bool(one.any()) for one in y.grad] == [False, False, True]


def test_terms_are_weighted_and_a_sample_has_its_own() -> None:
    small, lr, styles = normal(1, 3, 3, 4, 4), normal(2, 1, 3, 4, 4), normal(3, 3, 5, 7)
    found = loss_of([Term(2.0, "L2"), Term(3.0, "L1"), Term(0.5, "GEOCROSS")], small, lr, styles, 1e-3)
    torch.testing.assert_close(
        found["total"], 2 * squared(small, lr) + 3 * l1(small, lr, 1e-3) + geocross(styles) / 2, rtol=1e-12, atol=0
    )
    alone = loss_of([Term(2.0, "L2"), Term(3.0, "L1"), Term(0.5, "GEOCROSS")], small[1:2], lr, styles[1:2], 1e-3)
    assert torch.equal(alone["total"], found["total"][1:2])


# Spheres


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_spherical_steps_equal_the_golden_ones(name: str) -> None:
    golden = UNITS[f"spherical_{name}"]
    seeds = golden["seeds"]
    p, n = normal(seeds["p"], 2, 3, 6).requires_grad_(), normal(seeds["n"], 2, 1, 4, 4).requires_grad_()
    to_p, to_n = normal(seeds["target_p"], 2, 3, 6), normal(seeds["target_n"], 2, 1, 4, 4)
    optimiser = SphericalOptimiser([p, n], name, golden["base_lr"], "linear1cycledrop", golden["steps"])
    losses, rates = [], []
    for _ in range(golden["steps"]):
        loss = (p - to_p).square().sum() + (n - to_n).square().sum()
        optimiser.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        rates.append(optimiser.current_rate())
        optimiser.step()
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-12)
    np.testing.assert_allclose(rates, golden["lrs"], rtol=1e-12)
    np.testing.assert_allclose(p.detach().ravel(), golden["final_p"], rtol=1e-10)
    np.testing.assert_allclose(n.detach().ravel(), golden["final_n"], rtol=1e-10)
    np.testing.assert_allclose(p.detach().norm(dim=2).ravel(), golden["norms_p"], rtol=1e-10)


@pytest.mark.parametrize("name", ["sgdm", "adamax"])
def test_the_other_optimisers_are_the_usual_ones(name: str) -> None:
    """Heavy ball, and Adam by the largest gradient (Kingma, Ba, 2015, algorithm 2); then back on the sphere."""
    x, target = normal(1, 2, 3, 7), normal(2, 2, 3, 7)
    mine = x.clone().requires_grad_()
    optimiser = SphericalOptimiser([mine], name, 0.1, "fixed", 4)
    radius, first, second = norms(x), torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, 5):
        optimiser.zero_grad()
        (mine - target).square().sum().backward()
        optimiser.step()
        gradient = 2 * (x - target)
        if name == "sgdm":
            first = 0.9 * first + gradient
            x = x - 0.1 * first
        else:
            first, second = 0.9 * first + 0.1 * gradient, torch.maximum(0.999 * second, gradient.abs() + 1e-8)
            x = x - 0.1 / (1 - 0.9**step) * first / second
        x = x / norms(x) * radius
        torch.testing.assert_close(mine.detach(), x, rtol=1e-7, atol=1e-9)


def test_schedules_equal_the_golden_ones() -> None:
    for name, values in UNITS["lr_multipliers_100"].items():
        found = [multiplier(name, step, 100) for step in UNITS["lr_multiplier_steps"]]
        np.testing.assert_allclose(found, values, rtol=1e-9)
    assert {multiplier("fixed", step, 100) for step in range(100)} == {1.0}


@settings(max_examples=30)
@given(
    optimiser=st.sampled_from(sorted(OPTIMISERS)),
    schedule=st.sampled_from(["fixed", "linear1cycle", "linear1cycledrop"]),
    batch=st.integers(1, 3),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_radii_are_kept_and_a_batch_couples_none_of_its_members(
    optimiser: str, schedule: str, batch: int, steps: int, seed: int
) -> None:
    """Whatever the gradients: here of a size that differs a thousandfold between samples."""
    start = [normal(seed, batch, 4, 9), normal(seed + 1, batch, 1, 5, 5)]
    pulls = [normal(seed + 2 + i, steps, *x.shape) for i, x in enumerate(start)]
    scale = 10.0 ** torch.arange(0, -3 * batch, -3).double()

    def run(which: slice) -> list[Tensor]:
        x = [one[which].clone().requires_grad_() for one in start]
        stepper = SphericalOptimiser(x, optimiser, 0.4, schedule, steps)
        for step in range(steps):
            for one, pull in zip(x, pulls, strict=True):
                one.grad = pull[step][which] * scale[which].view(-1, *[1] * (one.ndim - 1))
            stepper.step()
            for one, first in zip(x, start, strict=True):
                torch.testing.assert_close(norms(one.detach()), norms(first[which]), rtol=1e-9, atol=0)
        return [one.detach() for one in x]

    together = run(slice(None))
    for k in range(batch):
        for mine, alone in zip(together, run(slice(k, k + 1)), strict=True):
            assert torch.equal(mine[k : k + 1], alone)


# The fit


def test_the_fit_is_that_of_the_last_layer_before_its_activation() -> None:
    net = mapping(torch.float32, width=16)
    seen: list[Tensor] = []
    list(net.children())[-1].register_forward_hook(lambda _, __, out: seen.append(out.double()))
    found = fit.compute_fit(net, latents=25_000, seed=3)
    before = torch.cat(seen)
    assert before.shape == (25_000, 16)
    np.testing.assert_allclose(found.mean, before.mean(dim=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.std, before.std(dim=0), rtol=1e-5)
    assert not torch.equal(fit.compute_fit(net, latents=25_000, seed=4).mean, found.mean)


def test_a_fit_is_kept_by_the_hash_of_its_network_and_computed_where_it_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fit, "FIT_LATENTS", 200)
    net, count, compute = mapping(torch.float32, width=8), 0, fit.compute_fit

    def counted(net: Any) -> fit.Fit:
        nonlocal count
        count += 1
        return compute(net, 200)

    monkeypatch.setattr(fit, "compute_fit", counted)
    first, again = fit.fit_of(net, "a" * 64), fit.fit_of(net, "a" * 64)
    assert count == 1
    assert torch.equal(first.mean, again.mean)
    assert torch.equal(first.std, again.std)
    fit.fit_of(net, "b" * 64)
    assert count == 2
    (kept,) = tmp_path.rglob(f"*{'a' * 64}.safetensors")
    kept.write_bytes(b"half of it")
    assert torch.equal(fit.fit_of(net, "a" * 64).mean, first.mean)
    assert count == 3
    monkeypatch.setenv("TORCH_HOME", str(kept))  # a file: nothing can be written below it
    assert torch.equal(fit.fit_of(net, "a" * 64).mean, first.mean)
    assert count == 4


def test_a_fit_of_the_old_format_is_read_and_another_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gaussian_fit.pt"
    good = {"mean": normal(1, 8).float(), "std": normal(2, 8).float().abs() + 0.1}
    torch.save(good, path, _use_new_zipfile_serialization=False)
    assert torch.equal(fit.read_fit(read_tensors(path), 8).std, good["std"])
    for wrong, message in [
        ({"mean": good["mean"]}, "has no tensor std"),
        (good | {"std": -good["std"]}, "std above 0"),
        (good | {"mean": good["mean"] * torch.nan}, "not finite"),
        (good | {"std": good["std"].int()}, "std is of shape"),
        (good | {"mean": good["mean"][:7]}, r"mean is of shape \(7,\), not \(8,\)"),
    ]:
        torch.save(wrong, path)
        with pytest.raises(UserError, match=message) as error:
            fit.read_fit(read_tensors(path), 8)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


def test_styles_are_the_latents_scaled_shifted_and_activated() -> None:
    one = fit.Fit(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 3.0]))
    assert one.styles(torch.tensor([[1.0, -1.0]])).tolist() == [[3.0, pytest.approx(-0.8)]]
    assert pulse.FIT_LATENTS == 1_000_000

"""BSRGAN's degradations: what they draw, what they keep, and resizing without antialiasing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import stage_here
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.core.seeds import generator
from ida_rd.downscale import bsrgan_fixed, bsrgan_type4
from ida_rd.downscale.check import check_downscaler


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("kind", ["linear", "cubic"])
@given(n=st.integers(1, 20), m=st.integers(1, 20))
def test_resizing_is_that_of_a_library_without_antialiasing(kind: str, n: int, m: int) -> None:
    image = generator("resize", n, m).random((n, 7, 3))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    mode = {"linear": "bilinear", "cubic": "bicubic"}[kind]
    expected = F.interpolate(tensor, size=(m, 5), mode=mode, align_corners=False, antialias=False)
    ours = bsrgan_type4.resize(image, (m, 5), kind)
    np.testing.assert_allclose(ours, expected[0].permute(1, 2, 0).numpy(), atol=1e-9)


@given(n=st.integers(1, 20), m=st.integers(1, 20))
def test_area_keeps_the_mean_where_it_reduces_and_is_linear_where_it_grows(n: int, m: int) -> None:
    image = generator("area", n, m).random((n, 6, 3))
    result = bsrgan_type4.resize(image, (m, 3), "area")
    if m <= n:
        np.testing.assert_allclose(result.mean(axis=(0, 1)), image.mean(axis=(0, 1)))
    if n % m == 0:
        blocks = image.reshape(m, n // m, 3, 2, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(result, blocks, atol=1e-12)
    if m > n:
        taller = bsrgan_type4.resize(image, (m, 6), "linear")
        np.testing.assert_allclose(bsrgan_type4.resize(image, (m, 6), "area"), taller)


def test_type_four_draws_every_step_and_its_strengths(astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:96, :128])
    seen: dict[str, list[dict[str, Any]]] = {}
    quality = []
    for seed in range(300):
        draws: dict[str, Any] = {}
        lr = bsrgan_type4.downscale(hr, (24, 32), rng=np.random.default_rng(seed), draws=draws)
        assert lr.shape == (24, 32, 3)
        assert lr.dtype == np.uint8
        names = [next(iter(step)) for step in draws["steps"]]
        assert names.count("blur") == 2
        assert names.count("final") == names.count("reduce") == names.count("noise") == 1
        assert names.index("reduce") < names.index("final")
        assert names[-1] == "jpeg"
        assert json.loads(json.dumps(draws)) == draws
        for step in draws["steps"]:
            ((name, drawn),) = step.items()
            seen.setdefault(name, []).append(drawn)
        quality += [drawn["quality"] for step in draws["steps"] for name, drawn in step.items() if name == "jpeg"]
    assert len(seen["resize"]) / 300 == pytest.approx(0.25, abs=0.08)
    assert (len(quality) - 300) / 300 == pytest.approx(0.9, abs=0.06)
    assert (min(quality), max(quality)) == (30, 95)
    sides = {drawn["side"] for drawn in seen["blur"]}
    assert sides == set(range(7, 26, 2))
    isotropic = [drawn["sigma"] for drawn in seen["blur"] if "sigma" in drawn]
    assert len(isotropic) / 600 == pytest.approx(0.5, abs=0.07)
    assert 2.6 < max(isotropic) < 2.8
    variances = [v for drawn in seen["blur"] for v in drawn.get("variances", [])]
    assert 7 < max(variances) < 8
    levels = {drawn["level"] for drawn in seen["noise"] if "level" in drawn}
    assert levels == set(range(2, 26))
    kinds = [drawn["kind"] for drawn in seen["noise"]]
    assert [kinds.count(k) / 300 for k in ("colour", "grey", "correlated")] == pytest.approx([0.4, 0.4, 0.2], abs=0.08)
    assert sum("gaussian" in drawn for drawn in seen["reduce"]) / 300 == pytest.approx(0.25, abs=0.08)


def test_what_is_drawn_is_what_is_done(astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, JPEG and blur, what remains is near plain reduction: nothing moves the image."""
    hr = np.ascontiguousarray(astronaut[:128, :128])
    monkeypatch.setattr(bsrgan_type4, "_blur", lambda image, *_: (image, {}))
    monkeypatch.setattr(bsrgan_type4, "_noise", lambda image, *_: (image, {}))
    monkeypatch.setattr(bsrgan_type4, "_jpeg", lambda image, *_: (image, {}))
    plain = hr.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    for seed in range(60):
        draws: dict[str, Any] = {}
        lr = bsrgan_type4.downscale(hr, (32, 32), rng=np.random.default_rng(seed), draws=draws)
        moved = [np.roll(plain, shift, axis) for axis in (0, 1) for shift in (-1, 1)]
        errors = [np.square(lr - other).mean() for other in (plain, *moved)]
        assert min(errors) == errors[0], draws


def test_blur_is_a_gaussian_of_the_drawn_covariance() -> None:
    covariance = np.array([[3.0, 1.0], [1.0, 2.0]])
    kernel = bsrgan_type4._gaussian(25, covariance)
    steps = np.arange(25) - 12
    x, y = np.meshgrid(steps, steps)
    assert kernel.sum() == pytest.approx(1)
    moments = [(kernel * a * b).sum() for a, b in ((x, x), (x, y), (y, y))]
    assert moments == pytest.approx([3, 1, 2], rel=1e-3)
    assert np.array_equal(
        bsrgan_type4._gaussian(7, np.zeros((2, 2))) > 0.5, (x[9:16, 9:16] == 0) & (y[9:16, 9:16] == 0)
    )


def test_the_contracts_are_kept() -> None:
    check_downscaler(bsrgan_type4, {})
    check_downscaler(bsrgan_fixed, {"noise": 0.4, "blur": 1.2, "jpeg": 50})


def test_fixed_loses_more_with_more_of_each(astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:256, 96:352])

    def loss(noise: float, blur: float, jpeg: int) -> float:
        clean = bsrgan_fixed.downscale(hr, (64, 64), rng=generator("a"), noise=0, blur=0, jpeg=100)
        return -psnr(bsrgan_fixed.downscale(hr, (64, 64), rng=generator("a"), noise=noise, blur=blur, jpeg=jpeg), clean)

    assert loss(0.8, 0.5, 75) > loss(0.2, 0.5, 75)
    assert loss(0.2, 3, 75) > loss(0.2, 0.5, 75)
    assert loss(0.2, 0.5, 20) > loss(0.2, 0.5, 75)
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = bsrgan_fixed.downscale(grey, (64, 64), rng=generator("a"), noise=1, blur=0, jpeg=100)
    luma = np.array([0.299, 0.587, 0.114])  # JPEG halves chroma's resolution, and with it its noise
    assert (noisy @ luma).std() == pytest.approx(25 * np.sqrt(np.square(luma).sum()), rel=0.05)


def test_draws_are_beside_the_images(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("upscalers:", "  wild: {method: bsrgan-type4}\nupscalers:"))
    for name in ("plan", "attributes", "balance"):
        assert stage_here(name, cwd=project).returncode == 0
    assert stage_here("downscale", "wild", "4", cwd=project).returncode == 0
    folder = project / "data/lr/x4/wild"
    drawn = json.loads((folder / "draws.json").read_text())
    assert set(drawn) == {path.stem for path in folder.glob("*.png")}
    steps = [json.dumps(value["downscaler"]["steps"]) for value in drawn.values()]
    assert len(set(steps)) == len(steps), "every image has its own draws"

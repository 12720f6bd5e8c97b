"""Degradations: the goldens, their laws, their place in a downscaling process, and bad parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, stage_here
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image
from ida_rd.downscale.degrade import (
    STEPS,
    Contrast,
    GaussianBlur,
    GaussianNoise,
    Jpeg,
    Quantization,
    apply_steps,
    bicubic_noise_gain,
    check_steps,
)

GOLDEN = ROOT / "tests" / "golden" / "degrade"
BY_NAME: dict[str, Any] = {
    "pilblur": lambda value: GaussianBlur(sigma=value),
    "pilcontrast": lambda value: Contrast(factor=value, compat="pillow"),
    "levels": lambda value: Quantization(n=int(value)),
    "noise": lambda value: GaussianNoise(sigma=value),
}


def bicubic(hr: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(hr).resize((size, size), Image.Resampling.BICUBIC))


def degraded(image: NDArray[np.uint8], steps: Any, when: str, *, seed: int, image_id: str) -> NDArray[np.uint8]:
    return apply_steps(image, steps, when, factor=4, seed=seed, image_id=image_id)[0]


def check_golden(path: Path, hr: NDArray[np.uint8]) -> None:
    found = re.search(r"(pilblur|pilcontrast|levels|noise)([\d.]+?)(_|$)", path.stem)
    assert found
    step = BY_NAME[found[1]](float(found[2]))
    rng = np.random.Generator(np.random.PCG64(0))
    result = bicubic(step.apply(hr, rng), 64) if "_before_" in path.stem else step.apply(bicubic(hr, 64), rng)
    assert np.array_equal(result, read_image(path)), path.name


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.png")), ids=lambda p: p.stem)
def test_degradations_equal_the_golden_images_bit_for_bit(path: Path, astronaut: NDArray[np.uint8]) -> None:
    check_golden(path, np.ascontiguousarray(astronaut[0:256, 96:352]))


def test_degradations_equal_all_available_golden_images(shared: Path) -> None:
    goldens = sorted((shared / "golden" / "downscale" / "degrade").glob("*.png"))
    assert len(goldens) > 30
    for path in goldens:
        check_golden(path, read_image(shared / "golden" / "downscale" / "inputs" / f"{path.stem.split('_')[0]}.png"))


@given(level=st.integers(0, 255), sigma=st.floats(0, 4), backend=st.sampled_from(["pil", "exact"]))
def test_blur_and_contrast_leave_a_constant_image_alone(level: int, sigma: float, backend: Any) -> None:
    image = np.full((9, 7, 3), level, np.uint8)
    rng = np.random.default_rng(0)
    assert np.array_equal(GaussianBlur(sigma=sigma, backend=backend).apply(image, rng), image)
    for compat in (None, "pillow"):
        assert np.array_equal(Contrast(factor=sigma, compat=compat).apply(image, rng), image)


@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_contrast_that_hardly_changes_leaves_the_image_and_pillows_darkens_it(
    factor: float, astronaut: NDArray[np.uint8]
) -> None:
    image, rng = np.ascontiguousarray(astronaut[:128, :128]), np.random.default_rng(0)
    assert np.array_equal(Contrast(factor=factor).apply(image, rng), image)
    truncated = Contrast(factor=factor, compat="pillow").apply(image, rng)
    assert 0.3 < (truncated < image).mean() < 0.7
    assert not (truncated > image).any()


@given(factor=st.floats(0, 3), seed=st.integers(0, 9))
def test_contrast_is_rounded_from_what_pillow_truncates(factor: float, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rng = np.random.default_rng(0)
    rounded, truncated = (Contrast(factor=factor, compat=c).apply(image, rng).astype(int) for c in (None, "pillow"))
    assert set(np.unique(rounded - truncated)) <= {0, 1}


@given(n=st.integers(2, 256), mode=st.sampled_from(["levels", "palette"]))
def test_quantization_keeps_n_levels_and_is_idempotent(n: int, mode: Any) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    once = Quantization(n=n, mode=mode).apply(ramp, np.random.default_rng(0))
    assert len(np.unique(once[..., 0])) <= n
    if mode == "levels":
        assert len(np.unique(once[..., 0])) == n
        assert np.array_equal(Quantization(n=n).apply(once, np.random.default_rng(0)), once)
        assert np.abs(once.astype(int) - ramp).max() <= 255 / (n - 1) / 2 + 0.5


def test_step20_is_a_step_of_twenty_minus_n() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    rng = np.random.default_rng(0)
    assert np.array_equal(Quantization(n=19, mode="step20").apply(ramp, rng), ramp)
    coarse = Quantization(n=15, mode="step20").apply(ramp, rng)
    assert set(np.diff(np.unique(coarse))) == {5}


def test_exact_blur_is_the_gaussian_and_pillows_is_near_it(astronaut: NDArray[np.uint8]) -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    blurred = GaussianBlur(sigma=1.5, backend="exact").apply(point, np.random.default_rng(0))
    y, x = np.mgrid[-20:21, -20:21]
    expected = 255 * np.exp(-(x**2 + y**2) / (2 * 1.5**2)) / (2 * np.pi * 1.5**2)
    assert np.abs(blurred[..., 0] - expected).max() <= 0.6
    face = np.ascontiguousarray(astronaut[:128, 128:256])
    both = [
        GaussianBlur(sigma=2, backend=b).apply(face, np.random.default_rng(0)).astype(int) for b in ("pil", "exact")
    ]
    assert 0 < np.abs(both[0] - both[1]).mean() < 1


def test_noise_has_its_standard_deviation_and_depends_on_image_and_step_alone() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    steps = check_steps([{"gaussian_noise": {"sigma": 0.05}}], where="x")
    first = degraded(grey, steps, "after", seed=0, image_id="a")
    assert first.std() == pytest.approx(0.05 * 255, rel=0.01)
    assert np.array_equal(first, degraded(grey, steps, "after", seed=0, image_id="a"))
    assert not np.array_equal(first, degraded(grey, steps, "after", seed=0, image_id="b"))
    assert not np.array_equal(first, degraded(grey, steps, "after", seed=1, image_id="a"))
    twice = degraded(grey, steps * 2, "after", seed=0, image_id="a")
    assert twice.std() == pytest.approx(0.05 * 255 * np.sqrt(2), rel=0.02)  # the second step's noise is its own
    assert np.array_equal(degraded(grey, steps, "before", seed=0, image_id="a"), grey)


def test_units_are_those_of_the_named_image(astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:256, 96:352])

    def at(image: NDArray[np.uint8], when: str, **step: Any) -> NDArray[np.uint8]:
        return degraded(
            image, check_steps([{"gaussian_blur": step | {"when": when}}], where="x"), when, seed=0, image_id=""
        )

    assert np.array_equal(at(hr, "before", sigma=1, units="lr"), at(hr, "before", sigma=4))
    assert np.array_equal(at(hr, "before", sigma=3, units="hr"), at(hr, "before", sigma=3))
    assert np.array_equal(at(hr, "after", sigma=2, units="hr"), at(hr, "after", sigma=0.5))
    assert np.array_equal(at(hr, "after", sigma=2, units="lr"), at(hr, "after", sigma=2))
    # Noise before that is measured in LR units has that strength in the LR image.
    grey = np.full((256, 256, 3), 128, np.uint8)
    steps = check_steps([{"gaussian_noise": {"sigma": 0.02, "when": "before", "units": "lr"}}], where="x")
    for factor in (3, 4, 8):
        noisy, draws = apply_steps(grey, steps, "before", factor=factor, seed=0, image_id="a")
        lr = np.asarray(Image.fromarray(noisy[:240, :240]).resize((240 // factor,) * 2, Image.Resampling.BICUBIC))
        assert lr[2:-2, 2:-2].std() == pytest.approx(0.02 * 255, rel=0.05)
        assert draws[0]["gaussian_noise"]["sigma"] == pytest.approx(0.02 / bicubic_noise_gain(factor))


def test_jpeg_loses_more_at_a_lower_quality(astronaut: NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(astronaut[:64, :64])
    rng = np.random.default_rng(0)
    losses = [np.square(Jpeg(quality=q).apply(image, rng) - image.astype(float)).mean() for q in (95, 60, 30, 5)]
    assert losses == sorted(losses)
    assert 10 * np.log10(255**2 / losses[0]) > 30
    full = Jpeg(quality=90, subsampling="4:4:4").apply(image, rng)
    assert (
        np.square(full - image.astype(float)).mean()
        < np.square(Jpeg(quality=90).apply(image, rng) - image.astype(float)).mean()
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gaussian_blur": {"sigma": 1}}, "give a list"),
        ([{"gaussian_blur": {"sigma": -1}}], r"x\.0\.gaussian_blur\.sigma: .*greater than or equal to 0"),
        ([{"gaussian_blr": {"sigma": 1}}], "no degradation is called 'gaussian_blr'; did you mean 'gaussian_blur'"),
        ([{"gaussian_blur": {"sigma": 1}, "contrast": {"factor": 1}}], r"x\.0: give one degradation"),
        ([{"gaussian_blur": {"sgma": 1}}], "did you mean 'sigma'"),
        ([{"gaussian_noise": {"sigma": float("nan")}}], "finite number"),
        ([{"contrast": {"factor": float("nan")}}], "finite number"),
        ([{"quantization": {"n": 0}}], "greater than or equal to 2"),
        ([{"quantization": {"n": 20, "mode": "step20"}}], "at most 19"),
        ([{"contrast": {}}], r"x\.0\.contrast\.factor: is missing"),
        ([{"contrast": {"factor": 1, "when": "during"}}], "when"),
        ([{"jpeg": {"quality": 0}}], r"jpeg\.quality: .*greater than or equal to 1"),
        ([{"gaussian_blur": {"sigma": 1, "units": "px"}}], r"units: .*'hr' or 'lr'"),
    ],
)
def test_bad_steps_give_one_clear_line(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check_steps(given, where="x")
    assert "\n" not in str(error.value)


def test_every_degradation_keeps_shape_and_type(astronaut: NDArray[np.uint8]) -> None:
    image = np.ascontiguousarray(astronaut[:33, :47])
    parameters: dict[str, dict[str, Any]] = {
        "gaussian_blur": {"sigma": 1},
        "gaussian_noise": {"sigma": 0.1},
        "contrast": {"factor": 2},
        "quantization": {"n": 5},
        "jpeg": {"quality": 40},
    }
    assert set(parameters) == set(STEPS)
    for kind, values in parameters.items():
        result = STEPS[kind](**values).apply(image, np.random.default_rng(0))
        assert result.shape == image.shape
        assert result.dtype == np.uint8


def test_a_degraded_downscaler_in_the_pipeline(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    steps = "[{contrast: {factor: 0.5, when: before}}, {gaussian_blur: {sigma: 1}}, {gaussian_noise: {sigma: 0.1}}]"
    entry = f"  poor: {{method: resample, filter: bicubic, degrade: {steps}}}\n"
    (project / "params.yaml").write_text(params.replace("upscalers:", f"{entry}upscalers:"))
    for name in ("plan", "attributes", "balance"):
        assert stage_here(name, cwd=project).returncode == 0
    for name in ("bicubic", "poor"):
        assert stage_here("downscale", name, "4", cwd=project).returncode == 0
    recipes = {n: json.loads((project / f"data/plan/downscale/x4/{n}.json").read_text()) for n in ("bicubic", "poor")}
    assert "ida_rd/downscale/degrade.py" in recipes["poor"]["code"]
    assert "ida_rd/downscale/degrade.py" not in recipes["bicubic"]["code"]
    assert "seed" in recipes["poor"]
    rng = np.random.default_rng(0)
    assert not (project / "data/lr/x4/bicubic/draws.json").exists()
    drawn = json.loads((project / "data/lr/x4/poor/draws.json").read_text())
    assert set(drawn) == {path.stem for path in (project / "data/hr").glob("*.png")}
    for path in (project / "data/hr").glob("*.png"):
        hr = read_image(path)
        noise = {
            "gaussian_noise": {"sigma": 0.1, "when": "after"},
            "generator": ["degrade", 0, path.stem, 2],
            "step": 2,
        }
        assert drawn[path.stem] == {"after": [noise]}
        poor = check_steps([{"gaussian_blur": {"sigma": 1}}, {"gaussian_noise": {"sigma": 0.1}}], where="x")
        lr = bicubic(Contrast(factor=0.5).apply(hr, rng), 16)
        # The noise is that of the third step, so a step that does nothing stands before these two.
        nothing = check_steps([{"contrast": {"factor": 1}}], where="x")
        expected = degraded(lr, nothing + poor, "after", seed=0, image_id=path.stem)
        assert np.array_equal(read_image(project / f"data/lr/x4/poor/{path.stem}.png"), expected)
        assert np.array_equal(read_image(project / f"data/lr/x4/bicubic/{path.stem}.png"), bicubic(hr, 16))


def test_a_misspelt_degradation_stops_the_plan(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    entry = "  poor: {method: resample, filter: bicubic, degrade: [{contrst: {factor: 2}}]}\n"
    (project / "params.yaml").write_text(params.replace("upscalers:", f"{entry}upscalers:"))
    done = stage_here("plan", cwd=project)
    assert done.returncode == 2
    assert "downscalers.poor.degrade.0: no degradation is called 'contrst'; did you mean 'contrast'?" in done.stderr

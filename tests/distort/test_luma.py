"""`channel: y` and `border`: what papers about rescaling measure, and nothing else of the image."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skimage.color
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.distort import pixel, structural
from ida_rd.distort._view import View
from ida_rd.distort.check import check_distortion
from ida_rd.distort.recipe import distort_recipe

MEASURES = [(pixel, metric) for metric in ("psnr", "mse")] + [(structural, metric) for metric in structural.METRICS]
BORDER = 4


def _pair(astronaut: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image and one with noise of its own in each channel, (3, 192, 176)."""
    hr = np.ascontiguousarray(astronaut[:192, 60:236].transpose(2, 0, 1))
    noise = np.random.default_rng(0).normal(0, 12, hr.shape)
    return hr, np.clip(hr + noise, 0, 255).astype(np.uint8)


def _value(module: ModuleType, hr: NDArray[np.uint8], sr: NDArray[np.uint8], **parameters: Any) -> float:
    distortion = module.load(module.Parameters(**parameters), "cpu")
    return float(distortion.distance(distortion.reference(hr), sr[None])[0])


def _luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Y without its border, by scikit-image, in grey levels."""
    return skimage.color.rgb2ycbcr(image.transpose(1, 2, 0))[BORDER:-BORDER, BORDER:-BORDER, 0]


def test_psnr_and_ssim_of_luma_are_those_of_the_papers(astronaut: NDArray[np.uint8]) -> None:
    """Against scikit-image's Y and SSIM (a window of 11 x 11, sigma 1.5, wherever all of it lies in the image)."""
    hr, sr = _pair(astronaut)
    x, y = _luma(hr), _luma(sr)
    expected = -10 * np.log10(np.mean((x - y) ** 2) / 255**2)
    assert _value(pixel, hr, sr, metric="psnr", channel="y", border=BORDER) == pytest.approx(expected, abs=1e-4)
    assert _value(pixel, hr, sr, metric="mse", channel="y", border=BORDER) == pytest.approx(
        np.mean((x - y) ** 2) / 255**2, rel=1e-9
    )
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    similarity = skimage.metrics.structural_similarity(x, y, **options)
    assert _value(structural, hr, sr, metric="ssim", channel="y", border=BORDER) == pytest.approx(
        1 - similarity, abs=1e-6
    )


def test_luma_runs_from_16_to_235() -> None:
    ends = np.array([0, 255], np.uint8)[None, None, :].repeat(3, axis=0)
    assert View("y").levels(ends).ravel().tolist() == [16.0, 235.0]


@pytest.mark.parametrize(("module", "metric"), MEASURES, ids=lambda one: one if isinstance(one, str) else "")
def test_every_measure_of_luma_keeps_the_contract(module: ModuleType, metric: str) -> None:
    check_distortion(module, {"metric": metric, "channel": "y", "border": 1})


@pytest.mark.parametrize("channel", ["rgb", "y"])
@pytest.mark.parametrize(("module", "metric"), MEASURES, ids=lambda one: one if isinstance(one, str) else "")
def test_the_border_is_not_looked_at_and_the_rest_is(
    astronaut: NDArray[np.uint8], module: ModuleType, metric: str, channel: str
) -> None:
    hr, sr = _pair(astronaut)
    seen = {"metric": metric, "channel": channel, "border": BORDER}
    before = _value(module, hr, sr, **seen)
    inner = (slice(None), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    framed = 255 - sr
    framed[inner] = sr[inner]
    assert _value(module, hr, framed, **seen) == before
    assert _value(module, hr[inner], sr[inner], metric=metric, channel=channel) == before
    framed[:, BORDER : BORDER + 40, BORDER : BORDER + 40] = 0
    assert _value(module, hr, framed, **seen) != before


@pytest.mark.parametrize(("module", "metric"), MEASURES, ids=lambda one: one if isinstance(one, str) else "")
def test_luma_is_another_measure_than_rgb(astronaut: NDArray[np.uint8], module: ModuleType, metric: str) -> None:
    hr, sr = _pair(astronaut)
    assert _value(module, hr, sr, metric=metric, channel="y") != _value(module, hr, sr, metric=metric)


@settings(max_examples=25)
@given(st.integers(2, 5), st.sampled_from(["rgb", "y"]), st.integers(0, 2), st.integers(0, 1000))
def test_the_spread_is_the_mean_distance_to_the_others(samples: int, channel: str, border: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (samples + 1, 3, 9, 7), dtype=np.uint8)
    mse = pixel.load(pixel.Parameters(metric="mse", channel=channel, border=border), "cpu")  # type: ignore[arg-type]
    distance, spread = mse.with_spread(mse.reference(images[0]), images[1:])
    for k in range(samples):
        others = np.delete(images[1:], k, axis=0)
        assert spread[k] == pytest.approx(mse.distance(mse.reference(images[k + 1]), others).mean(), rel=1e-9)
    assert distance == pytest.approx([mse.distance(mse.reference(images[0]), one[None])[0] for one in images[1:]])


def test_a_recipe_says_so_only_where_it_is_set() -> None:
    """Recipes and bundles of before stay what they were."""
    for module, metric in ((pixel, "psnr"), (structural, "ssim")):
        assert module.Parameters(metric=metric).model_dump(mode="json") == {"metric": metric}
        seen = {"metric": metric, "channel": "y", "border": 4}
        assert module.Parameters(**seen).model_dump(mode="json") == seen
        assert module.Parameters(metric=metric, border=4).model_dump(mode="json") == {"metric": metric, "border": 4}


def test_labels_say_what_is_seen() -> None:
    labels = [
        pixel.describe(pixel.Parameters(channel="y", border=4)).label,
        pixel.describe(pixel.Parameters(border=4)).label,
        pixel.describe(pixel.Parameters()).label,
        structural.describe(structural.Parameters(metric="ssim", channel="y", border=4)).label,
        structural.describe(structural.Parameters(metric="ssim")).label,
    ]
    assert labels == [
        "PSNR (Y, border 4; dB)",
        "PSNR (border 4; dB)",
        "PSNR (dB)",
        "1 - SSIM (Y, border 4)",
        "1 - SSIM",
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"channel": "Y"}, r"distortions\.d\.channel: input should be 'rgb' or 'y' \(it is 'Y'\)"),
        ({"border": -1}, r"distortions\.d\.border: input should be greater than or equal to 0"),
        ({"border": 30}, "d needs images of at least 71 pixels a side; the smallest here has 64"),
    ],
)
def test_what_cannot_be_seen_is_one_line(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        distort_recipe("d", {"method": "structural", "metric": "ssim"} | entry, smallest=64, download=False)

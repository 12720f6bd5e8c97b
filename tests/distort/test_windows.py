"""Measures of this room against piq, over sizes and kinds of images; the HR image's half once; memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import piq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.images import image_files, read_image
from ida_rd.distort import _similarity, _windows, structural

OWN = {
    "ssim": piq.ssim,
    "ms-ssim": piq.multi_scale_ssim,
    "vif": piq.vif_p,
    "fsim": piq.fsim,
    "dss": piq.dss,
}
# FSIM is computed in float32, as before.
TOLERANCE = {"fsim": 1e-6, "dss": 1e-7}


def _by_piq(metric: str, hr: NDArray[np.uint8], sr: NDArray[np.uint8]) -> float:
    x, y = (torch.from_numpy(image[None]).double() / 255 for image in (sr, hr))
    value = float(OWN[metric](x, y, data_range=1.0))
    descriptor = structural.describe(structural.Parameters(metric=metric))  # type: ignore[arg-type]
    return float(np.clip(value if metric == "vif" else 1 - value, 0, descriptor.high))


def _ours(metric: str, hr: NDArray[np.uint8], *sr: NDArray[np.uint8]) -> NDArray[np.float64]:
    distortion = structural.load(structural.Parameters(metric=metric), "cpu")  # type: ignore[arg-type]
    return distortion.distance(distortion.reference(hr), np.stack(sr))


def _kinds(hr: NDArray[np.uint8], rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    height, width = hr.shape[1:]
    small = Image.fromarray(np.ascontiguousarray(hr.transpose(1, 2, 0))).resize((width // 4, height // 4))
    half = hr.copy()
    half[:, : height // 2] = 77
    return {
        "noise": np.clip(hr + rng.normal(0, 15, hr.shape), 0, 255).astype(np.uint8),
        "blur": np.ascontiguousarray(np.asarray(small.resize((width, height))).transpose(2, 0, 1)),
        "inverted": 255 - hr,
        "half flat": half,
        "unrelated": rng.integers(0, 256, hr.shape, dtype=np.uint8),
        "same": hr,
    }


@pytest.mark.parametrize("metric", OWN)
@settings(max_examples=4)
@given(data=st.data())
def test_any_pair_of_images_has_the_value_of_piq(metric: str, data: st.DataObject) -> None:
    least = structural.METRICS[metric].minimum_side
    height, width = (data.draw(st.integers(least, least + 40)) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    hr = np.ascontiguousarray(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1))
    if data.draw(st.booleans()):
        hr = np.repeat(hr[:1], 3, axis=0)  # grey
    sr = _kinds(hr, rng)
    values = _ours(metric, hr, *sr.values())
    for (kind, image), value in zip(sr.items(), values, strict=True):
        assert value == pytest.approx(_by_piq(metric, hr, image), abs=TOLERANCE.get(metric, 1e-9)), kind


@pytest.mark.parametrize("metric", OWN)
def test_photographs_have_the_value_of_piq(metric: str, shared: Path) -> None:
    for path in list(image_files(shared / "images" / "set14", what="images").values())[:1]:
        hr = np.ascontiguousarray(read_image(path)[:243, :250].transpose(2, 0, 1))
        sr = _kinds(hr, np.random.default_rng(0))
        for (kind, image), value in zip(sr.items(), _ours(metric, hr, *sr.values()), strict=True):
            assert value == pytest.approx(_by_piq(metric, hr, image), abs=TOLERANCE.get(metric, 1e-9)), (path, kind)


def test_fsim_of_a_smooth_photograph_has_the_value_of_piq(shared: Path) -> None:
    """Its filters hardly answer there: a guard against division by zero that is too large shows."""
    path = next((shared / "images" / "faces_celebahq").rglob("female_051340.jpg"))
    hr = np.ascontiguousarray(read_image(path)[:192, :200].transpose(2, 0, 1))
    sr = _kinds(hr, np.random.default_rng(0))["noise"]
    assert _ours("fsim", hr, sr)[0] == pytest.approx(_by_piq("fsim", hr, sr), abs=1e-6)


@pytest.mark.parametrize("metric", OWN)
def test_constant_images_have_a_value(metric: str, astronaut: NDArray[np.uint8]) -> None:
    photograph = np.ascontiguousarray(astronaut[:256, :256].transpose(2, 0, 1))  # whose spectrum is exact
    flat = np.full_like(photograph, 90)
    values = _ours(metric, flat, flat, photograph)
    perfect = structural.describe(structural.Parameters(metric=metric)).perfect  # type: ignore[arg-type]
    assert values[0] == pytest.approx(perfect, abs=1e-12)
    assert np.isfinite(values).all()
    assert np.isfinite(_ours(metric, photograph, flat)).all()


@pytest.mark.parametrize("metric", OWN)
def test_values_do_not_depend_on_the_others_to_the_last_bit(metric: str, astronaut: NDArray[np.uint8]) -> None:
    hr = np.ascontiguousarray(astronaut[:170, :190].transpose(2, 0, 1))
    sr = list(_kinds(hr, np.random.default_rng(1)).values())
    assert _ours(metric, hr, *sr).tolist() == [float(_ours(metric, hr, one)[0]) for one in sr]


@pytest.mark.parametrize("metric", ["ssim", "ms-ssim", "vif"])
def test_the_hr_images_moments_are_computed_once(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hr, *sr = np.random.default_rng(0).integers(0, 256, (5, 3, 180, 170), dtype=np.uint8)
    calls = []
    moments = _similarity._moments

    def counted(values: torch.Tensor, window: list[float]) -> _similarity.Moments:
        calls.append(1)
        return moments(values, window)

    monkeypatch.setattr(_similarity, "_moments", counted)
    distortion = structural.load(structural.Parameters(metric=metric), "cpu")  # type: ignore[arg-type]
    reference = distortion.reference(hr)
    once = len(calls)
    kept = distortion.distance(reference, np.stack(sr))
    assert once > 0
    assert len(calls) == once
    # Those of a large image are not kept; its values are the same.
    monkeypatch.setattr(_similarity, "KEPT", 0)
    assert distortion.distance(distortion.reference(hr), np.stack(sr)).tolist() == kept.tolist()
    assert len(calls) > once


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_values_do_not_depend_on_the_bands(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hr, sr = np.random.default_rng(0).integers(0, 256, (2, 3, 181, 170), dtype=np.uint8)
    expected = {metric: _ours(metric, hr, sr)[0] for metric in ("ssim", "ms-ssim", "vif")}
    monkeypatch.setattr(_windows, "BAND", 1)
    monkeypatch.setattr(_windows, "LEAST_ROWS", rows)
    for metric, value in expected.items():
        assert _ours(metric, hr, sr)[0] == pytest.approx(value, abs=1e-12)


MEMORY = """
import os, re, sys, numpy as np, torch
from pathlib import Path
from ida_rd.distort import structural
def resident(line): return int(re.search(line + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
random = np.random.default_rng(0)
hr, *sr = random.integers(0, 256, (4, 3, 2000, 2000), dtype=np.uint8)
for metric in sys.argv[1:]:
    if os.fork():  # each in a process of its own, which has computed nothing
        assert os.wait()[1] == 0, metric
        continue
    loaded = structural.load(structural.Parameters(metric=metric), "cpu")
    held = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    loaded.distance(loaded.reference(hr), sr)
    print(metric, resident("VmHWM") - held, flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_large_image_is_bounded() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY, *OWN], capture_output=True, text=True, check=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    assert list(found) == list(OWN)
    assert [metric for metric in OWN if float(found[metric]) >= 4 * 120] == [], f"MiB, of four megapixels: {found}"

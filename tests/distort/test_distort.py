"""Distortions: the contract, the published LPIPS distances, and equality with the reference packages."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import piq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image
from ida_rd.distort import lpips, pixel, structural
from ida_rd.distort.check import check_distortion

STRUCTURAL = list(structural.METRICS)
PARITY = pytest.mark.parity("ida_rd.distort.lpips", "ida_rd.distort.pixel", "ida_rd.distort.structural")


def _chw(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _pair(astronaut: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return _noisy(astronaut[:side, :side])


def _noisy(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    hr = _chw(image)
    noise = np.random.default_rng(0).normal(0, 12, hr.shape)
    return hr, np.clip(hr + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("metric", STRUCTURAL)
def test_structural_distances_keep_the_contract(metric: str) -> None:
    check_distortion(structural, {"metric": metric})


@pytest.mark.parametrize("metric", ["psnr", "mse"])
def test_pixel_measures_keep_the_contract(metric: str) -> None:
    check_distortion(pixel, {"metric": metric})


# Sides, and one size that no power of two divides, with what piq computes in float64.
SIZES = [(64, 64), (256, 256), *(pytest.param(size, marks=PARITY) for size in ((321, 481), (1024, 1024)))]
PIQ = {
    "ssim": piq.ssim,
    "ms-ssim": piq.multi_scale_ssim,
    "fsim": piq.fsim,
    "vsi": piq.vsi,
    "dss": piq.dss,
    "haarpsi": piq.haarpsi,
    "srsim": piq.srsim,
    "gmsd": piq.gmsd,
    "ms-gmsd": piq.multi_scale_gmsd,
    "mdsi": piq.mdsi,
    "vif": piq.vif_p,
    "psnr": piq.psnr,
    "mse": lambda x, y, data_range: ((x - y) ** 2).mean(),
}
NOT_DISTANCES = ("psnr", "mse", "vif", "gmsd", "ms-gmsd", "mdsi")


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}" if isinstance(s, tuple) else None)
@pytest.mark.parametrize("metric", PIQ)
def test_distances_equal_piq(astronaut: NDArray[np.uint8], metric: str, size: tuple[int, int]) -> None:
    module: ModuleType = pixel if metric in ("psnr", "mse") else structural
    parameters = module.Parameters(metric=metric)
    if min(size) < module.describe(parameters).minimum_side:
        return  # `plan` refuses it, as another test sees
    if size[0] <= 512:
        image = astronaut[: size[0], : size[1]]
    else:
        image = np.asarray(Image.fromarray(astronaut).resize(size[::-1], Image.Resampling.BICUBIC))
    hr, sr = _noisy(image)
    x, y = (torch.from_numpy(image[None]).double() / 255 for image in (sr, hr))
    expected = float(PIQ[metric](x, y, data_range=1.0))
    distortion = module.load(parameters, "cpu")
    value = distortion.distance(distortion.reference(hr), sr[None])[0]
    assert value == pytest.approx(expected if metric in NOT_DISTANCES else 1 - expected, abs=1e-5)


@pytest.mark.parametrize("metric", STRUCTURAL)
def test_the_smallest_side_is_taken_and_one_less_need_not_be(metric: str) -> None:
    parameters = structural.Parameters(metric=metric)  # type: ignore[arg-type]
    side = structural.describe(parameters).minimum_side
    distortion = structural.load(parameters, "cpu")
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (3, side, side), dtype=np.uint8)
    sr = rng.integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    assert np.isfinite(distortion.distance(distortion.reference(hr), sr)).all()


class _Law(NamedTuple):
    symmetric: bool = True
    flips: bool = True


# MDSI and VIF treat one image as the reference. Halving an image starts at its upper left pixel: measures on several
# scales, and VSI, which resizes, are invariant to flips up to a few per cent only.
LAWS = {metric: _Law() for metric in PIQ}
LAWS |= {metric: _Law(flips=False) for metric in ("ms-ssim", "haarpsi", "srsim", "vsi")}
LAWS |= {"mdsi": _Law(symmetric=False), "vif": _Law(symmetric=False, flips=False)}


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(sorted(LAWS)))
def test_laws_of_the_measures(seed: int, metric: str) -> None:
    module: ModuleType = pixel if metric in ("psnr", "mse") else structural
    parameters = module.Parameters(metric=metric)
    descriptor, distortion = module.describe(parameters), module.load(parameters, "cpu")
    rng = np.random.default_rng(seed)
    side = max(descriptor.minimum_side, 64)
    coarse = rng.integers(40, 216, (8, 8, 3), dtype=np.uint8)
    hr = _chw(np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)))
    levels = [np.clip(hr + s * rng.standard_normal(hr.shape), 0, 255).astype(np.uint8) for s in (4, 16, 48)]
    sign = 1 if descriptor.better == "lower" else -1

    def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        return float(distortion.distance(distortion.reference(a), b[None])[0])

    assert distance(hr, hr) == pytest.approx(descriptor.perfect, abs=1e-6)
    rising = [sign * distance(hr, sr) for sr in levels]
    assert rising == sorted(rising), "more noise is worse"
    law, sr = LAWS[metric], levels[1]
    if law.symmetric:
        assert distance(hr, sr) == pytest.approx(distance(sr, hr), rel=1e-4, abs=1e-6)
    if law.flips:
        flipped = [np.ascontiguousarray(image[:, :, ::-1]) for image in (hr, sr)]
        assert distance(*flipped) == pytest.approx(distance(hr, sr), rel=1e-3, abs=1e-5)


def test_the_contract_catches_a_distance_with_an_offset() -> None:
    class Shifted(pixel.PSNR):
        def distance(self, reference: NDArray[np.int32], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
            return super().distance(reference, sr) - 1

    module = ModuleType("shifted")
    vars(module).update(Parameters=pixel.Parameters, describe=pixel.describe, load=lambda parameters, device: Shifted())
    with pytest.raises(UserError, match="identical images give"):
        check_distortion(module, {})


@pytest.fixture(scope="module")
def lpips_folder(shared: Path) -> Path:
    return shared / "weights" / "lpips"


BACKBONES = {"alex": "alexnet_features.pth", "squeeze": "squeezenet1_1_features.pth"}


def test_lpips_gives_the_published_distances(lpips_folder: Path) -> None:
    images = {name: _chw(read_image(lpips_folder / f"ex_{name}.png")) for name in ("ref", "p0", "p1")}
    expected = json.loads((lpips_folder / "expected_distances.json").read_text())
    assert expected
    path = str(lpips_folder / BACKBONES["alex"])
    alex = lpips.load(lpips.Parameters(backbone="alex", path=path), "cpu")
    values = alex.distance(alex.reference(images["ref"]), np.stack([images["p0"], images["p1"]]))
    assert values == pytest.approx([0.7219, 0.1376], abs=5e-5)
    path = str(lpips_folder / BACKBONES["squeeze"])
    squeeze = lpips.load(lpips.Parameters(backbone="squeeze", path=path), "cpu")
    values = squeeze.distance(squeeze.reference(images["ref"]), np.stack([images["p0"], images["p1"]]))
    assert values == pytest.approx([0.711048, 0.147902], abs=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_lpips_keeps_the_contract(lpips_folder: Path, backbone: str) -> None:
    check_distortion(lpips, {"backbone": backbone, "path": str(lpips_folder / BACKBONES[backbone])}, side=64)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_lpips_equals_the_package(lpips_folder: Path, astronaut: NDArray[np.uint8], backbone: str) -> None:
    path = str(lpips_folder / BACKBONES[backbone])
    ours = lpips.load(lpips.Parameters(backbone=backbone, path=path), "cpu")  # type: ignore[arg-type]
    hr, sr = _pair(astronaut, 200)
    x, y = (2 * torch.from_numpy(image[None]).float() / 255 - 1 for image in (hr, sr))
    with torch.no_grad():
        expected = float(ours.network(x, y))
    assert ours.distance(ours.reference(hr), sr[None])[0] == pytest.approx(expected, abs=1e-6)


def test_a_whole_networks_weight_file_serves_as_well(
    lpips_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    features = torch.load(lpips_folder / BACKBONES["alex"], weights_only=True)
    torch.save(features | {"classifier.1.weight": torch.zeros(4096, 9216)}, tmp_path / "alexnet.pth")
    monkeypatch.setattr("ida_rd.core.weights.Weight.accepts", lambda self, digest: True)
    hr, sr = _pair(astronaut, 64)
    values = []
    for path in (lpips_folder / BACKBONES["alex"], tmp_path / "alexnet.pth"):
        distortion = lpips.load(lpips.Parameters(path=str(path)), "cpu")
        values.append(distortion.distance(distortion.reference(hr), sr[None])[0])
    assert values[0] == values[1]


def test_lpips_takes_vggs_weights_as_torchvision_files_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.vgg16().features.state_dict(prefix="features."), tmp_path / "vgg.pth")
    monkeypatch.setattr("ida_rd.core.weights.Weight.accepts", lambda self, digest: True)
    ours = lpips.load(lpips.Parameters(backbone="vgg", path=str(tmp_path / "vgg.pth")), "cpu")
    stored = torch.load(tmp_path / "vgg.pth", weights_only=True)["features.28.weight"]
    assert torch.equal(
        ours.network.net.slice5.get_submodule("28").weight, stored
    )  # the last convolution went where it belongs
    hr, sr = _pair(astronaut, 64)
    x, y = (2 * torch.from_numpy(image[None]).float() / 255 - 1 for image in (hr, sr))
    with torch.no_grad():
        expected = float(ours.network(x, y))
    assert ours.distance(ours.reference(hr), sr[None])[0] == pytest.approx(expected, rel=1e-5)


def test_weights_of_another_backbone_are_refused(lpips_folder: Path) -> None:
    with pytest.raises(UserError, match="has sha256"):
        lpips.load(lpips.Parameters(backbone="vgg", path=str(lpips_folder / BACKBONES["alex"])), "cpu")


def test_a_squared_distance_splits_into_bias_and_variance(
    lpips_folder: Path, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E D(x, X) = D(x, E X) + Var, in the space where the distance is that of embeddings: exact for MSE."""
    rng = np.random.default_rng(3)
    hr = _chw(astronaut[100:164, 200:264])
    sr = np.clip(hr + rng.normal(4, 12, (4, *hr.shape)), 0, 255).astype(np.uint8)
    mse = pixel.load(pixel.Parameters(metric="mse"), "cpu")
    distance, spread = mse.with_spread(mse.reference(hr), sr)
    assert np.array_equal(distance, mse.distance(mse.reference(hr), sr))
    scaled = sr.reshape(4, -1) / 255
    variance = scaled.var(axis=0, ddof=1).mean()
    assert spread.mean() / 2 == pytest.approx(variance, rel=1e-12)
    # Unbiased: the squared distance of the mean holds a K-th of the variance itself.
    of_mean = np.square(scaled.mean(axis=0) - hr.reshape(-1) / 255).mean()
    assert distance.mean() - spread.mean() / 2 == pytest.approx(of_mean - variance / 4, rel=1e-9)

    alex = lpips.load(lpips.Parameters(path=str(lpips_folder / BACKBONES["alex"])), "cpu")
    reference = alex.reference(hr)
    distance, spread = alex.with_spread(reference, sr)
    assert distance == pytest.approx(alex.distance(reference, sr), abs=1e-9)
    for k in range(4):
        others = alex.distance(alex.reference(sr[k]), np.delete(sr, k, axis=0))
        assert spread[k] == pytest.approx(others.mean(), abs=1e-6)
    monkeypatch.setattr(lpips, "BATCH_PIXELS", (2 * 64 * 64, 2 * 64 * 64))  # as large images are, two samples at once
    assert alex.distance(reference, sr[:3]) == pytest.approx(distance[:3], abs=1e-7)
    assert alex.with_spread(reference, sr)[1] == pytest.approx(spread, abs=1e-7)
    same = alex.with_spread(reference, np.stack([hr, hr]))
    assert max(np.abs(same[0]).max(), np.abs(same[1]).max()) < 1e-12


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), *SIZES])
def test_lpips_and_its_maps_equal_the_package_at_any_size(
    lpips_folder: Path, astronaut: NDArray[np.uint8], backbone: str, size: tuple[int, int]
) -> None:
    path = str(lpips_folder / BACKBONES[backbone])
    ours = lpips.load(lpips.Parameters(backbone=backbone, path=path), "cpu")  # type: ignore[arg-type]
    hr, sr = _noisy(np.asarray(Image.fromarray(astronaut).resize(size[::-1], Image.Resampling.BICUBIC)))
    reference = ours.reference(hr)
    x, y = (2 * torch.from_numpy(image[None]).float() / 255 - 1 for image in (hr, sr))
    with torch.no_grad():
        expected = float(ours.network(x, y))
        ours.network.spatial = True
        maps = ours.network(x, y)[0, 0].numpy()
        ours.network.spatial = False
    value = ours.distance(reference, sr[None])
    assert value[0] == pytest.approx(expected, abs=1e-6)
    assert ours.maps(reference, sr[None])[0] == pytest.approx(maps, abs=1e-6)
    assert ours.distance(reference, np.stack([sr] * 8)) == pytest.approx(np.repeat(value, 8), abs=1e-6)
    assert ours.distance(reference, hr[None])[0] == 0


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_laws_of_lpips(lpips_folder: Path, seed: int) -> None:
    alex = lpips.load(lpips.Parameters(path=str(lpips_folder / BACKBONES["alex"])), "cpu")
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, 3, 40, 56), dtype=np.uint8)
    one, two = (float(alex.distance(alex.reference(images[i]), images[[1 - i]])[0]) for i in (0, 1))
    assert one == pytest.approx(two, rel=1e-6)
    assert one >= 0
    flat = np.full((3, 40, 56), rng.integers(0, 256), np.uint8)  # features may vanish: no division by zero
    assert np.isfinite(alex.distance(alex.reference(flat), images)).all()
    assert alex.distance(alex.reference(flat), flat[None])[0] == 0

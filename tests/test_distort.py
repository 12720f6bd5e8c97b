"""Distortions: the contract, the published LPIPS distances, and equality with the reference packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import piq
import pytest
import torch
from numpy.typing import NDArray

from stages.core.errors import UserError
from stages.core.images import read_image
from stages.distort import lpips, pixel, structural
from stages.distort.check import check_distortion

STRUCTURAL = ["fsim", "dss", "ms-ssim"]


def _chw(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _pair(astronaut: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    hr = _chw(astronaut[:side, :side])
    noise = np.random.default_rng(0).normal(0, 12, hr.shape)
    return hr, np.clip(hr + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("metric", STRUCTURAL)
def test_structural_distances_keep_the_contract(metric: str) -> None:
    check_distortion(structural, {"metric": metric})


def test_psnr_keeps_the_contract() -> None:
    check_distortion(pixel, {})


@pytest.mark.parametrize("side", [192, 512])
@pytest.mark.parametrize("metric", [*STRUCTURAL, "psnr"])
def test_distances_equal_piq(astronaut: NDArray[np.uint8], metric: str, side: int) -> None:
    hr, sr = _pair(astronaut, side)
    x, y = (torch.from_numpy(image[None]).double() / 255 for image in (sr, hr))
    reference = {"fsim": piq.fsim, "dss": piq.dss, "ms-ssim": piq.multi_scale_ssim, "psnr": piq.psnr}[metric]
    expected = float(reference(x, y, data_range=1.0))
    module, parameters = (
        (pixel, pixel.Parameters()) if metric == "psnr" else (structural, structural.Parameters(metric=metric))  # type: ignore[arg-type]
    )
    distortion = module.load(parameters, "cpu")
    value = distortion.distance(distortion.reference(hr), sr[None])[0]
    assert value == pytest.approx(expected if metric == "psnr" else 1 - expected, abs=1e-5)


def test_the_contract_catches_a_distance_with_an_offset() -> None:
    class Shifted(pixel.PSNR):
        def distance(self, reference: NDArray[np.int64], sr: NDArray[np.uint8]) -> NDArray[np.float64]:
            return super().distance(reference, sr) - 1

    from types import ModuleType

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
    monkeypatch.setattr("stages.core.weights.Weight.accepts", lambda self, digest: True)
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
    monkeypatch.setattr("stages.core.weights.Weight.accepts", lambda self, digest: True)
    ours = lpips.load(lpips.Parameters(backbone="vgg", path=str(tmp_path / "vgg.pth")), "cpu")
    stored = torch.load(tmp_path / "vgg.pth", weights_only=True)["features.28.weight"]
    assert torch.equal(
        ours.network.net.slice5.get_submodule("28").weight, stored
    )  # the last convolution went to its place
    hr, sr = _pair(astronaut, 64)
    x, y = (2 * torch.from_numpy(image[None]).float() / 255 - 1 for image in (hr, sr))
    with torch.no_grad():
        expected = float(ours.network(x, y))
    assert ours.distance(ours.reference(hr), sr[None])[0] == pytest.approx(expected, rel=1e-5)


def test_weights_of_another_backbone_are_refused(lpips_folder: Path) -> None:
    with pytest.raises(UserError, match="has sha256"):
        lpips.load(lpips.Parameters(backbone="vgg", path=str(lpips_folder / BACKBONES["alex"])), "cpu")

"""DISTS: equal to piq's, of files that are here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import piq
import piq.perceptual
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, Weight, catalogue
from ida_rd.distort import dists
from ida_rd.distort.check import check_distortion
from ida_rd.distort.dists import CHANNELS, Parameters
from ida_rd.scoring import named_distortion


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """VGG-16's features with random weights, and weights of channels: no download, and piq's shapes and names."""
    folder = tmp_path_factory.mktemp("dists")
    torch.manual_seed(0)
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    for part in features:
        if isinstance(part, torch.nn.Conv2d):  # as torchvision begins its training, so that features do not vanish
            torch.nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            assert part.bias is not None
            torch.nn.init.normal_(part.bias, std=0.01)
    torch.save(features.state_dict(prefix="features."), folder / "vgg16.pth")
    alpha, beta = torch.rand(2, 1, sum(CHANNELS), 1, 1)
    total = alpha.sum() + beta.sum()
    torch.save({"alpha": alpha / total, "beta": beta / total}, folder / "channels.pt")
    return {"vgg16": str(folder / "vgg16.pth"), "channels": str(folder / "channels.pt")}


@pytest.fixture
def any_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Weight, "accepts", lambda self, digest: True)


@pytest.mark.usefixtures("any_hash")
def test_the_contract_is_kept(files: dict[str, str]) -> None:
    check_distortion(dists, {"paths": files}, side=48)


@pytest.mark.usefixtures("any_hash")
@pytest.mark.parity("ida_rd.distort.dists")
@pytest.mark.parametrize("size", [(32, 32), (70, 49), (258, 260)], ids=str)
def test_it_equals_piqs(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8], size: tuple[int, int]
) -> None:
    """The last is larger than what is not reduced. piq's constructor, given our files where it would download."""

    def vgg16(**options: Any) -> torch.nn.Module:
        whole = torch.nn.Module()
        whole.features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
        whole.load_state_dict(torch.load(files["vgg16"], weights_only=True))
        return whole

    monkeypatch.setattr(piq.perceptual, "vgg16", vgg16)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: torch.load(files["channels"]))
    hr = np.ascontiguousarray(astronaut[: size[0], : size[1]].transpose(2, 0, 1))
    noise = np.random.default_rng(0).normal(0, 60, hr.shape)
    sr = np.clip(hr + noise, 0, 255).astype(np.uint8)
    with torch.inference_mode():
        expected = float(piq.DISTS()(*(torch.from_numpy(image[None]).float() / 255 for image in (sr, hr))))
    ours = dists.load(Parameters(paths=files), "cpu")  # type: ignore[arg-type]
    found = ours.distance(ours.reference(hr), np.stack([sr, hr]))
    assert expected > 0.01
    assert found[0] == pytest.approx(expected, abs=1e-5)
    assert found[1] == pytest.approx(0, abs=1e-7)  # as far as the weights sum to 1 in float32


def test_it_does_not_split_and_names_its_files() -> None:
    descriptor = dists.describe(Parameters(paths={"vgg16": "v.pth"}))
    assert not descriptor.squared
    assert descriptor.weights == {"torchvision.vgg16": "v.pth", "dists.channels": None}
    assert catalogue()["dists.channels"].sha256 == ("f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",)
    assert named_distortion("dists") == {"method": "dists"}


def test_files_of_another_hash_or_shape_are_refused(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"vgg16\.pth \(weights torchvision\.vgg16\) has sha256"):
        dists.load(Parameters(paths=files), "cpu")  # type: ignore[arg-type]
    monkeypatch.setattr(Weight, "accepts", lambda self, digest: True)
    broken = Path(files["channels"]).with_name("broken.pt")
    for made in ({"alpha": torch.ones(1, 1475, 1, 1)}, {k: torch.ones(1, 9, 1, 1) for k in ("alpha", "beta")}):
        torch.save(made, broken)
        with pytest.raises(UserError, match=r"broken\.pt: not DISTS's weights of channels") as error:
            dists.load(Parameters(paths=files | {"channels": str(broken)}), "cpu")  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    torch.save({"alpha": torch.ones(2, 1475, 1, 1), "beta": torch.ones(2, 1475, 1, 1)}, broken)
    with pytest.raises(UserError, match=r"tensors of shape \(2, 1475, 1, 1\)"):
        dists.load(Parameters(paths=files | {"channels": str(broken)}), "cpu")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"channels\.pt: not torchvision's VGG-16 weights"):
        dists.load(Parameters(paths=files | {"vgg16": files["channels"]}), "cpu")  # type: ignore[arg-type]


def test_where_its_weights_of_channels_are_missing_one_line_says_what_to_install(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    monkeypatch.setattr(Weight, "accepts", lambda self, digest: True)
    with pytest.raises(MissingWeights, match=r"lie in the package dists-pytorch==0\.1, .*: pip install dists-pytorch"):
        dists.load(Parameters(paths={"vgg16": files["vgg16"]}), "cpu")

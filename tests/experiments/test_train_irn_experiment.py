"""IRN_sigma from its training to what ships: trained, measured, described, and found in the catalogue."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from made import script
from numpy.typing import NDArray
from training_photos import cut_photos, held_out

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import _collect
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet
from ida_rd.training import irn as training
from ida_rd.training.export import export
from ida_rd.training.irn import TrainConfig, train
from ida_rd.training.options import parse
from ida_rd.training.patches import PatchSource

SMALL: dict[str, Any] = {"blocks": "1", "growth": 2, "patch": 32, "batch": 2, "critic_width": 2, "features": "filters"}
CREDITS = (
    "file,title,author,licence,source\n0.png,A,NASA,CC0-1.0,x\n1.png,B,NASA,CC-BY-4.0,x\n2.png,C,D,CC-BY-SA-4.0,x\n"
)


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = cut_photos(tmp_path, astronaut, count=3)
    (folder / "LICENSES.csv").write_text(CREDITS)
    return folder


def _trained(photos: Path, folder: Path, **options: Any) -> Path:
    """Train, export; the weight file."""
    initial = options.pop("initial", None)
    name = options.pop("name")
    state, config = folder / "state" / name, TrainConfig(**SMALL | options)
    train(config, photos, held_out(photos), state, initial=initial, exclude_licence="CC-BY-SA", log_every=1)
    export(state, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def test_a_trained_network_is_measured_described_and_ships(
    shared: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, card = script("train-irn/by_sigma.py"), script("train-irn/describe.py")
    ship = script("train-irn/ship.py")
    first = _trained(photos, tmp_path, name="irn", kind="irn", steps=3)
    weights = _trained(
        *(photos, tmp_path), name="irn-sigma_x4", kind="irn-sigma", steps=3, critic_ahead=1, initial=first
    )
    figures_file = weights.with_suffix(".json")
    backbone = shared / "weights/lpips/alexnet_features.pth"
    figures = measure.measure(weights, photos, backbone, count=3, samples=2, sigmas=(0.0, 1.0), crop=64)
    assert figures["validation"] == {"images": 3, "crop": 64, "samples": 2}
    assert figures["sigmas"]["0.0"]["psnr"] > figures["sigmas"]["1.0"]["psnr"] + 1, (
        "noise in a latent that is nearly Haar"
    )
    (step,) = figures["steps"]["psnr"]
    assert step["change"] == pytest.approx(figures["sigmas"]["1.0"]["psnr"] - figures["sigmas"]["0.0"]["psnr"])
    assert figures["lr_psnr"] > 25
    assert figures["latent"] > 0
    assert figures["parameters"] == sum(p.numel() for p in load_network(weights).parameters())
    with pytest.raises(UserError, match="in ascending order"):
        measure.measure(weights, photos, backbone, count=3, samples=2, sigmas=(1.0, 0.0))

    figures_file.write_text(json.dumps(figures))
    with pytest.raises(UserError, match=r"irn-sigma_x4\.md: is missing: run the stages measure and card"):
        ship.ship(weights, tmp_path / "home")
    runs = [str(tmp_path / "state" / name) for name in ("irn", "irn-sigma_x4")]
    command = ["describe.py", "--runs", *runs, "--weights", str(weights), "--figures", str(figures_file)]
    monkeypatch.setattr(sys, "argv", command)
    card.main()
    text = weights.with_suffix(".md").read_text()
    assert "IRN_sigma x4: an invertible rescaling network, 1 + 1 blocks of growth 2" in text
    assert "2 photographs, each credited" in text
    assert "CC0-1.0 (1), CC-BY-4.0 (1). None is under a share-alike licence." in text
    assert (
        "| scratch | IRN | 3 | 2 x 32^2, float32 | 0.0002, halved at 0.2,0.4,0.6,0.8 | L_r 1, L_g 16; latent 1 | 1 |"
        " none |" in text
    )
    assert f"| `{sha256_file(first)[:12]}` | IRN_sigma | 3 |" in text
    assert (
        "L_r 0.01, L_g 16; L_d 1 (gan), L_p 0.01 (filters) | 0,0.5,1, all as often | width 2, 1 steps ahead, learns"
        in text
    )
    assert f"| sigma 0.0 | {figures['sigmas']['0.0']['psnr']:.4f} |" in text
    assert "flatters" not in text, "its features were the oriented filters"
    assert "LPIPS flatters it" in card.flattered({"kind": "irn-sigma", "features": "alexnet"})
    assert "2.png" not in weights.with_suffix(".csv").read_text()
    assert weights.with_suffix(".webp").stat().st_size > 10_000

    (tmp_path / "home").mkdir()
    entry = ship.ship(weights, tmp_path / "home")
    known = _collect(entry.parent)["irn-sigma.x4"]
    assert known.problem() is None
    assert known.sha256 == (sha256_file(weights),) == (sha256_file(Path(str(known.file))),)
    assert "Training data" in Path(str(known.file)).with_suffix(".md").read_text()
    with pytest.raises(UserError, match="what ships is called irn-sigma_x4"):
        ship.ship(first, tmp_path / "home")
    export(tmp_path / "state" / "irn", weights)
    with pytest.raises(UserError, match="is not the card of these weights"):
        ship.ship(weights, tmp_path / "home")
    monkeypatch.setattr(ship, "LARGEST", 1000)
    with pytest.raises(UserError, match="more than 1,000: give fewer blocks"):
        ship.ship(weights, tmp_path / "home")


def test_the_runs_of_the_pipeline_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that exist, one shape for all, equally long from one start, and at most 4 MB."""
    parameters = yaml.safe_load((ROOT / "experiments/train-irn/params.yaml").read_text())
    entries = {**parameters["begin"], **{name: one["options"] for name, one in parameters["go_on"].items()}}
    assert {one["initial"] for one in parameters["go_on"].values()} == set(parameters["begin"])
    configs = {}
    for name, options in entries.items():
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        folders = ["--images", "a", "--validation", "b", "--out", "c"]
        monkeypatch.setattr(sys, "argv", shlex.split(shlex.join(["x", *folders, *flags])))
        configs[name], _ = parse(TrainConfig, prog="x", description="")
        configs[name].check()
    kinds = {name: config.kind for name, config in configs.items()}
    assert kinds == {
        "irn-zero": "irn-sigma", "irn-sigma_x4": "irn-sigma", "irn-sigma-two_x4": "irn-sigma",
        "irn-plus_x4": "irn-plus", "irn-longer_x4": "irn",
    }  # fmt: skip
    assert configs["irn-zero"].points() == [0.0]
    assert configs["irn-sigma_x4"].points() == [0.0, 0.5, 1.0]
    assert configs["irn-sigma-two_x4"].points() == [0.0, 1.0]
    shapes = {config.network() for config in configs.values()}
    assert len(shapes) == len({configs[name].settled().steps for name in parameters["go_on"]}) == 1
    with torch.device("meta"):
        assert 2 * sum(p.numel() for p in IRNNet(shapes.pop()).parameters()) < 4_000_000
    assert set(parameters["cards"]) == set(parameters["go_on"])


def test_where_the_features_weights_lie_decides_nothing(
    shared: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file by its path is the one of torch's cache; a run that was begun with one goes on with the other."""
    source = shared / "weights/lpips/alexnet_features.pth"
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").symlink_to(source)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    options: dict[str, Any] = {"kind": "irn-sigma", "critic_ahead": 0, "steps": 2, "features": "alexnet", "patch": 64}
    run = tmp_path / "run"
    saved = train(TrainConfig(**SMALL | options | {"features_path": str(source)}), photos, held_out(photos), run)
    assert "features_path" not in torch.load(saved, weights_only=True)["settings"]
    assert train(TrainConfig(**SMALL | options), photos, held_out(photos), run) == saved
    other = train(TrainConfig(**SMALL | options), photos, held_out(photos), tmp_path / "other")
    one, two = (torch.load(path, weights_only=True)["modules"]["net"] for path in (saved, other))
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(UserError, match=r"none\.pth \(weights torchvision\.alexnet\): no such file"):
        train(
            TrainConfig(**SMALL | options | {"features_path": "none.pth"}), photos, held_out(photos), tmp_path / "third"
        )


def test_a_network_is_trained_in_the_order_of_numbers_that_is_fast(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(**SMALL | {"kind": "irn"}).settled()
    source = PatchSource([photos / "0.png"], 4, 32, 0, downscalings=[training.GUIDE])
    made = training._Training(config, source, None, tmp_path, torch.device("cpu"))
    weight = made.net.get_submodule("operations.1.F.conv5").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    made.step_irn(0)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    plain = IRNNet(IRNConfig((1, 1), growth=2))
    hr = torch.rand(2, 3, 32, 32)
    made.net.load_state_dict(plain.state_dict())
    assert torch.allclose(made.net.encode(hr)[1], plain.encode(hr)[1], atol=1e-6)

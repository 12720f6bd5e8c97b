"""The compact diffusion decoder from its training to what ships: trained, measured, described, and in the catalogue."""

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
from ida_rd.models.edm.network import EDMNet
from ida_rd.training.edm import TrainConfig, train
from ida_rd.training.export import export
from ida_rd.training.options import parse
from ida_rd.training.ship import ship_weights

NAME = "diffusion-compact_x4"
SMALL: dict[str, Any] = {
    "width": 4, "deep_width": 4, "crop": 48, "patch": 32, "ring": 2, "head_steps": 1, "head_batch": 1, "steps": 2,
    "batch": 2, "filters": "bicubic,box", "watch_images": 0,
}  # fmt: skip
CREDITS = "file,title,author,licence,source\n0.png,A,NASA,CC0-1.0,x\n1.png,C,D,CC-BY-SA-4.0,x\n"


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = cut_photos(tmp_path, astronaut)
    (folder / "LICENSES.csv").write_text(CREDITS)
    return folder


def test_a_trained_network_is_measured_described_and_ships(
    shared: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, card, ship = (
        script(f"train-diffusion-compact/{name}.py") for name in ("by_steps", "describe_diffusion", "ship_diffusion")
    )
    run, weights = tmp_path / "run", tmp_path / f"{NAME}.safetensors"
    train(TrainConfig(**SMALL), photos, held_out(photos), run, exclude_licence="CC-BY-SA", log_every=1)
    export(run, weights)
    backbone = shared / "weights/lpips/alexnet_features.pth"
    options: dict[str, Any] = {"count": 1, "samples": 2, "crop": 64}
    figures = measure.measure(weights, photos, backbone, steps=(2, 12), filters=("bicubic", "box"), **options)
    assert figures["validation"] == {"images": 1, "crop": 64, "samples": 2}
    assert figures["steps"]["12"] == figures["filters"]["bicubic"] != figures["steps"]["2"]
    for row in (*figures["steps"].values(), *figures["filters"].values()):
        assert row["variance"] + row["bias2"] == pytest.approx(row["lpips"])
        assert row["ratio"] == pytest.approx(row["variance"] / row["bias2"])
    assert figures["largest_pixel"]["noise 0.2"] == pytest.approx(1, abs=1e-4)
    assert (figures["samples"], figures["not_finite"], figures["clipped"]) == (2 * 3 + 4, 0, 0)
    assert figures["gains"].keys() == {"0.1", "0.3", "1", "2", "4", "8"}
    with pytest.raises(UserError, match="--steps 2: 12 must be among them"):
        measure.measure(weights, photos, backbone, steps=(2,), **options)
    with pytest.raises(UserError, match="--samples 1: how far samples spread takes 2 or more"):
        measure.measure(weights, photos, backbone, **options | {"samples": 1})

    file = weights.with_suffix(".json")
    file.write_text(json.dumps(figures))
    with pytest.raises(UserError, match=r"x4\.md: is missing: run the stages measure and card first"):
        ship.ship(weights, tmp_path / "home")
    command = ["describe_diffusion.py", "--runs", str(run), "--weights", str(weights), "--figures", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    card.main()
    text = weights.with_suffix(".md").read_text()
    assert "1 photographs, each credited" in text
    assert "CC0-1.0 (1). None is under a share-alike licence. LR images by Pillow's bicubic, box." in text
    assert "| scratch | 1 x 1 | 2 | 2 x 32^2 | 0.02 / 0.001 | 0.2, 1.35 | bicubic, box | 0 | 0 |" in text
    assert f"| 12 | {figures['steps']['12']['psnr']:.2f} | {figures['steps']['12']['lpips']:.4f} |" in text
    assert f"| box | {figures['filters']['box']['psnr']:.2f} |" in text
    assert "1.png" not in weights.with_suffix(".csv").read_text()
    assert weights.with_suffix(".webp").stat().st_size > 10_000

    entry = ship.ship(weights, tmp_path / "home")
    known = _collect(entry.parent)["diffusion-compact.x4"]
    assert known.problem() is None
    assert known.sha256 == (sha256_file(weights),) == (sha256_file(Path(str(known.file))),)
    monkeypatch.setattr(ship, "LARGEST", 1000)
    with pytest.raises(UserError, match="more than 1,000: give smaller widths"):
        ship.ship(weights, tmp_path / "home")
    (run / "training.json").write_text('{"config": {}, "images": []}')
    with pytest.raises(UserError, match="is not a training of this model"):
        card.main()


def test_a_second_network_ships_beside_the_first(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found: list[str] = []
    for factor in (8, 4, 8):
        weights = tmp_path / f"mine_x{factor}.safetensors"
        weights.write_bytes(bytes(len(found) + 1))
        for ending in (".csv", ".json", ".webp"):
            weights.with_suffix(ending).write_text("")
        weights.with_suffix(".md").write_text(f"sha256 `{sha256_file(weights)}`")
        entry = ship_weights(weights, f"mine.x{factor}", home, largest=10, by="this test", smaller="")
        found.append(sha256_file(weights))
        _collect.cache_clear()
    known = _collect(entry.parent)
    assert {key: one.sha256 for key, one in known.items()} == {"mine.x4": (found[1],), "mine.x8": (found[2],)}
    assert entry.read_text().startswith("# Written by this test. Fields: ")


def test_the_runs_of_the_pipeline_are_what_they_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that exist, of what ships, and at most 8 MB."""
    parameters = yaml.safe_load((ROOT / "experiments/train-diffusion-compact/params.yaml").read_text())
    runs = {**parameters["begin"], **{name: one["options"] for name, one in parameters["go_on"].items()}}
    assert set(parameters["cards"]) <= set(runs)
    for name, options in runs.items():
        flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        folders = ["--images", "a", "--validation", "b", "--out", "c"]
        monkeypatch.setattr(sys, "argv", shlex.split(shlex.join(["x", *folders, *flags])))
        config, _ = parse(TrainConfig, prog="x", description="")
        config.check()
        assert name.endswith(f"_x{config.factor}")
        with torch.device("meta"):
            net = EDMNet(config.network())
        assert 2 * sum(weight.numel() for weight in net.parameters()) < 8_000_000 - 50_000, "with its header"

"""The experiments: they run in folders of their own, and their tables follow from the rows."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run
from numpy.typing import NDArray
from PIL import Image

FOLDERS = sorted(
    path.parent
    for path in (ROOT / "experiments").rglob("params.yaml")
    if "downscalers" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_experiments_parameters_are_valid(folder: Path, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    here = tmp_path / "run"
    here.mkdir()
    (tmp_path / "images").mkdir()
    Image.fromarray(astronaut[:256, :256]).save(tmp_path / "images" / "a.png")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["distortions"] = {"psnr": {"method": "pixel"}}  # what it is about is in the rest; no weights are here
    (here / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    # In a folder of its own, with the code elsewhere.
    run("python", "-m", "stages.plan", cwd=here, env={"PYTHONPATH": str(ROOT)})
    for path in (here / "data/plan/downscale/x4").glob("*.json"):
        recipe = json.loads(path.read_text())
        assert f"stages/downscale/{recipe['method']}.py" in recipe["code"]
        assert ("stages/downscale/kernels.py" in recipe["code"]) == (recipe["method"] in ("dpid", "l0", "perceptual"))


def test_an_experiment_runs_where_it_lies(finished: Path, tmp_path: Path) -> None:
    """The root's small run, as an experiment two folders down, gives the same scores."""
    for name in ("stages", ".dvc/config", ".dvcignore", ".gitignore"):
        source, target = finished / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    experiment = tmp_path / "experiments" / "a" / "b"
    experiment.mkdir(parents=True)
    shutil.copyfile(ROOT / "experiments" / "sync.py", tmp_path / "experiments" / "sync.py")
    shutil.copyfile(finished / "dvc.yaml", tmp_path / "dvc.yaml")
    shutil.copyfile(finished / "params.yaml", tmp_path / "params.yaml")
    shutil.copyfile(finished / "params.yaml", experiment / "params.yaml")
    shutil.copytree(finished / "photos", experiment / "photos")
    run("python", "experiments/sync.py", cwd=tmp_path)
    run("git", "init", "--quiet", cwd=tmp_path)
    environment = {"PYTHONPATH": str(tmp_path)}
    run("dvc", "repro", cwd=experiment, env=environment)
    for name in ("metrics/ida_rd.json", "metrics/tables/ida_rd.md"):
        assert (experiment / name).read_bytes() == (finished / name).read_bytes()
    again = run("dvc", "repro", cwd=experiment, env=environment).stdout
    assert "up to date" in again
    # An edit of the code reruns its branch there too.
    mine = tmp_path / "stages" / "downscale" / "mine.py"
    mine.write_text(mine.read_text() + "\n# edited\n")
    stdout = run("dvc", "repro", cwd=experiment, env=environment).stdout
    assert "Running stage 'downscale@mine-4'" in stdout
    assert "Running stage 'downscale@bicubic-4'" not in stdout


def script(name: str) -> ModuleType:
    """Import a script of an experiment."""
    path = ROOT / "experiments" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    return script("validity/claims.py")


def test_weights_are_measured_and_their_card_says_so(
    shared: Path, tmp_path: Path, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, card = script("train-flow-compact/measure.py"), script("train-flow-compact/card.py")
    (tmp_path / "validation").mkdir()
    for i in range(2):
        Image.fromarray(astronaut[200 * i : 300 + 200 * i, :280]).save(tmp_path / "validation" / f"{i}.png")
    weights = tmp_path / "w.safetensors"
    shutil.copyfile(ROOT / "stages/upscale/flow/weights/flow-compact_x4.safetensors", weights)
    monkeypatch.setattr(measure, "FILTERS", ("bicubic", "nearest"))
    monkeypatch.setattr(measure, "ORDER", (("bicubic", "nearest"), ("nearest", "bicubic")))
    backbone = shared / "weights/lpips/alexnet_features.pth"
    figures = measure.measure(weights, tmp_path / "validation", backbone, count=5, samples=2, heats=(0.0, 0.9))
    assert figures["validation"] == {"images": 2, "crop": 256, "samples": 2}
    assert figures["heats"]["0.9"]["lpips"] < figures["heats"]["bicubic"]["lpips"]
    assert figures["heats"]["0.0"]["psnr"] > figures["heats"]["0.9"]["psnr"]
    assert "between" not in figures["heats"]["0.0"], "one sample at heat 0"
    assert figures["heats"]["0.9"]["between"] > 0.01
    assert figures["preset_heat"] == 0.9, "the only heat that draws"
    assert figures["order_kept"]["0.9"] == ["bicubic < nearest"], "one of two claims, and it holds"
    assert figures["filters_at_preset"]["bicubic"] == pytest.approx(figures["heats"]["0.9"]["lpips"])
    assert figures["filters_at_preset"]["bicubic"] < figures["filters_at_preset"]["nearest"]
    assert figures["largest_pixel_at_preset"]["noise 0.2"] > figures["largest_pixel_at_preset"]["bicubic"] > 0.5
    assert figures["not_finite"] == 0
    assert 0 < figures["bits_per_dimension"]["256"] < 8

    credit = {"file": "a.jpg", "title": "A", "author": "B", "licence": "CC0-1.0", "source": "here"}
    config = {"nll_steps": 20, "nll_batch": 3, "patch": 80, "seed": 4, "l1_steps": 10}
    training = {"config": config, "images": [credit], "commit": "c" * 40, "device": "cpu", "torch": "2.15.0+x"}
    later = training | {"initial": "d" * 64, "config": config | {"jpeg": 0.75, "candidates": 2}}
    log = [{"validation_bits": 3.21, "skipped": 0, "seconds": 60}]
    text = card.card(figures, [(training, log), (later, log)], weights)
    assert "| scratch | 10 of L1 loss, then 20 of NLL | 3 x 80^2 | none | 4 | 0 | 1 |" in text
    assert "| `dddddddddddd` | 20 of NLL | 3 x 80^2 | 75% through JPEG, the more detailed of 2 crops | 4 |" in text
    assert f"**{figures['bits_per_dimension']['160']:.3f} on 160 x 160" in text
    assert card.credits(training) == "file,title,author,licence,source\na.jpg,A,B,CC0-1.0,here\n"


def _rows(folder: Path, branch: str, level: float, images: NDArray[np.float64]) -> None:
    path = folder / f"{branch}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "image_id": f"i{i}",
            "sample": k,
            "finite": True,
            "attempts": 1,
            "clipped": 0.0,
            "lpips-alex": level * x + 0.001 * k,
        }
        for i, x in enumerate(images)
        for k in range(2)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


def test_claims_are_judged_by_paired_differences(
    claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    monkeypatch.setattr(claims, "RESAMPLES", 500)
    shutil.copytree(ROOT / "experiments/validity/order", tmp_path / "order", ignore=lambda *_: ["data", "metrics"])
    images = np.random.default_rng(0).uniform(0.1, 1, 30)  # images differ far more than conditions do
    noise = np.random.default_rng(1)
    heats = yaml.safe_load((tmp_path / "order/params.yaml").read_text())["upscalers"]
    levels = {"bilinear": 1.02, "bicubic": 1, "lanczos": 1.05, "dpid": 1.1, "l0": 1.2, "perceptual": 1.2, "nearest": 2}
    levels["box"] = 1.07
    for heat in heats:
        for name, level in levels.items():
            folder = tmp_path / "order/data/distortion" / heat / "x4"
            if heat == "heat-0":  # no order: lanczos a little higher by chance
                _rows(folder, name, 1 + 0.002 * (name == "lanczos"), images + noise.normal(0, 0.05, 30))
            else:
                _rows(folder, name, level, images)
    for factor in claims.FACTORS:
        for name in ("bicubic", "lanczos"):
            level = {4: 1, 8: 1.5, 16: 1.4}[factor]  # x16 below x8: a claim that fails
            _rows(tmp_path / "factors/data/distortion/flow-compact" / f"x{factor}", name, level, images)
    claims.main()
    figures = json.loads((tmp_path / "metrics/validity.json").read_text())
    assert figures["order_hold"] == "8 of 8"
    assert figures["factors_hold"] == "2 of 4"
    assert (figures["samples"], figures["not_finite"]) == ((7 * 8 + 6) * 60, 0)
    assert figures["deterministic_hold"] == "0 of 8"
    deterministic = figures["deterministic"].values()
    assert any(c["difference"] > 0 > c["low"] for c in deterministic), "a difference that is not shown must be there"
    found = figures["order"]["bicubic < lanczos"]
    assert found["difference"] == pytest.approx(0.05 * images.mean())
    assert 0 < found["low"] < found["difference"] < found["high"]
    table = (tmp_path / "metrics/tables/claims.md").read_text()
    assert table.count("holds") == 8 + 2
    assert table.count("**reversed**") == 2
    assert "| 0.9 |" in (tmp_path / "metrics/tables/heat.md").read_text()


def test_a_missing_run_is_named(claims: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HERE", tmp_path)
    with pytest.raises(Exception, match="run `dvc repro` in experiments/validity/factors"):
        claims.factor_claims()
    assert not os.listdir(tmp_path)

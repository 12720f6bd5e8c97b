"""The experiments run in folders of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, run, stage_here
from numpy.typing import NDArray
from PIL import Image
from training_photos import write_photos

from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet

FOLDERS = sorted(
    path.parent
    for path in (ROOT / "experiments").rglob("params.yaml")
    if "downscalers" in path.read_text(encoding="utf-8")
)


# Many entries, each of which is looked up: `test_resizers_folder` has what is quick of it.
LONG = {"resizers"}


@pytest.mark.parametrize(
    "folder",
    [pytest.param(path, marks=pytest.mark.slow if path.name in LONG else ()) for path in FOLDERS],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_an_experiments_parameters_are_valid(folder: Path, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    here = tmp_path / "run"
    here.mkdir()
    (tmp_path / "images").mkdir()
    Image.fromarray(astronaut[:256, :256]).save(tmp_path / "images" / "a.png")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    if params["images"].get("pattern"):
        params["images"] |= {"path": "../images", "pattern": None}
    if "ffhq-features" in params["attributes"]:
        (tmp_path / "ffhq.json").write_text("[]")
        params["attributes"]["ffhq-features"]["path"] = str(tmp_path / "ffhq.json")
        weights = tmp_path / ".deepface" / "weights" / "race_model_single_batch.pth"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"not loaded here")
    params["distortions"] = {"psnr": {"method": "pixel"}}  # what it is about is in the rest; no weights are here
    params["primary"] = None
    for entry in params.get("adapted", {}).values():
        entry["adapt"] |= {"images": str(write_photos(tmp_path / "photos", side=300)), "exclude_licence": None}
    network = here / "tiny_x4.pth"  # of an IRN, which an experiment trains, or its user fetches
    torch.save(IRNNet(IRNConfig((1, 1), growth=2)).state_dict(), network)
    for entry in (*params["downscalers"].values(), *params["upscalers"].values()):
        if entry["method"] == "irn":
            entry |= {"path": str(network), "weights": None}
    for entry in params["upscalers"].values():
        if "path" in entry and entry["method"] != "irn":  # what an experiment trains
            shutil.copyfile(ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors", here / entry["path"])
    (here / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for path in (*folder.glob("*.py"), *folder.glob("*.mjs")):  # functions and programs of its own, as downscalers
        shutil.copy(path, here)
    # In a folder of its own, with the code elsewhere.
    done = stage_here("plan", cwd=here, env={"DEEPFACE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    for path in (here / "data/plan/downscale/x4").glob("*.json"):
        recipe = json.loads(path.read_text())
        if "skipped" in recipe:  # a program or package that is not installed
            assert params["missing_software"] == "skip"
            continue
        assert f"ida_rd/downscale/{recipe['method'].replace('-', '_')}.py" in recipe["code"]
        assert ("ida_rd/downscale/kernels.py" in recipe["code"]) == (recipe["method"] in ("dpid", "l0", "perceptual"))


STUDY = """
kind: ranking
data: four-photos
title: Two downscalers
baseline: bicubic
panels:
  given: {conditions: {bicubic: ""}}
  own: {conditions: {mine: ""}}
"""


def test_an_experiment_runs_where_it_lies(finished: Path, tmp_path: Path) -> None:
    """The root's small run, as an experiment two folders down, gives the same scores."""
    for name in ("ida_rd", "stages", ".dvc/config", ".dvcignore", ".gitignore"):
        source, target = finished / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    experiment = tmp_path / "experiments" / "a" / "b"
    experiment.mkdir(parents=True)
    shutil.copyfile(ROOT / "experiments/sync.py", tmp_path / "experiments/sync.py")
    (experiment / "study.yaml").write_text(STUDY)
    shutil.copyfile(finished / "dvc.yaml", tmp_path / "dvc.yaml")
    shutil.copyfile(finished / "params.yaml", tmp_path / "params.yaml")
    shutil.copyfile(finished / "params.yaml", experiment / "params.yaml")
    shutil.copyfile(finished / "mine.py", experiment / "mine.py")
    shutil.copytree(finished / "photos", experiment / "photos")
    # What is finished there counts here: all but the reconstructions of one downscaler, which are computed again.
    store = Path(shutil.copytree(finished / ".ida-rd/store", experiment / ".ida-rd/store"))
    computed = {path.read_bytes() for path in (finished / "data/sr/flow-compact/x4/mine").rglob("*.webp")}
    again = [path for path in store.rglob("*.webp") if path.read_bytes() in computed]
    assert len(again) == len(computed) == 8
    for path in again:
        path.unlink()
        path.with_suffix(".json").unlink()
    run("python", "experiments/sync.py", cwd=tmp_path)
    run("git", "init", "--quiet", cwd=tmp_path)
    environment = {"PYTHONPATH": str(tmp_path)}
    run("dvc", "repro", cwd=experiment, env=environment)
    for name in ("metrics/ida_rd.json", "metrics/tables/ida_rd.md"):
        assert (experiment / name).read_bytes() == (finished / name).read_bytes()
    results = experiment / "results" / "four-photos"
    assert {path.name for path in results.iterdir()} == {
        "differences.csv", "images.csv", "provenance.json",
        "scores.pdf", "scores.png", "scores.svg", "study.json", "study.md", "study.tex", "table.csv",
    }  # fmt: skip
    scores = json.loads((finished / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]
    table = pd.read_csv(results / "table.csv").set_index("condition")
    assert table.loc["mine", "mean"] == scores["mine"]["dss"]["mean"]
    (difference,) = pd.read_csv(results / "differences.csv").difference
    assert difference == pytest.approx(scores["mine"]["dss"]["mean"] - scores["bicubic"]["dss"]["mean"])
    assert "up to date" in run("dvc", "repro", cwd=experiment, env=environment).stdout
    # An edit of the code reruns its branch there too.
    method = tmp_path / "ida_rd" / "downscale" / "python.py"
    method.write_text(method.read_text() + "\n# edited\n")
    stdout = run("dvc", "repro", "downscale", cwd=experiment, env=environment).stdout
    assert "Running stage 'downscale@mine-4'" in stdout
    assert "Running stage 'downscale@bicubic-4'" not in stdout

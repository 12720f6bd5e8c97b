"""The experiments: they run in folders of their own, and their tables follow from the rows."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_code, run
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file

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
    if params["images"].get("pattern"):
        params["images"] |= {"path": "../images", "pattern": None}
    if "ffhq-features" in params["attributes"]:
        (tmp_path / "ffhq.json").write_text("[]")
        params["attributes"]["ffhq-features"]["path"] = str(tmp_path / "ffhq.json")
        weights = tmp_path / ".deepface" / "weights" / "race_model_single_batch.pth"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"not loaded here")
    params["distortions"] = {"psnr": {"method": "pixel"}}  # what it is about is in the rest; no weights are here
    (here / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    # In a folder of its own, with the code elsewhere.
    run("python", "-m", "stages.plan", cwd=here, env={"PYTHONPATH": str(ROOT), "DEEPFACE_HOME": str(tmp_path)})
    for path in (here / "data/plan/downscale/x4").glob("*.json"):
        recipe = json.loads(path.read_text())
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
    for name in ("stages", ".dvc/config", ".dvcignore", ".gitignore"):
        source, target = finished / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    experiment = tmp_path / "experiments" / "a" / "b"
    experiment.mkdir(parents=True)
    for name in ("sync.py", "study.py"):
        shutil.copyfile(ROOT / "experiments" / name, tmp_path / "experiments" / name)
    (experiment / "study.yaml").write_text(STUDY)
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
    results = experiment / "results" / "four-photos"
    assert {path.name for path in results.iterdir()} == {
        "scores.pdf", "scores.png", "scores.svg", "study.json", "study.md", "study.tex", "table.csv"
    }  # fmt: skip
    scores = json.loads((finished / "metrics/tables/ida_rd.json").read_text())["flow-compact"]["x4"]
    table = pd.read_csv(results / "table.csv").set_index("condition")
    assert table.loc["mine", "mean"] == scores["mine"]["dss"]["mean"]
    assert table.loc["mine", "difference_mean"] == pytest.approx(
        scores["mine"]["dss"]["mean"] - scores["bicubic"]["dss"]["mean"]
    )
    again = run("dvc", "repro", cwd=experiment, env=environment).stdout
    assert "up to date" in again
    # An edit of the code reruns its branch there too.
    mine = tmp_path / "stages" / "downscale" / "mine.py"
    mine.write_text(mine.read_text() + "\n# edited\n")
    stdout = run("dvc", "repro", "downscale", cwd=experiment, env=environment).stdout
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
    shutil.copyfile(ROOT / "ida_rd/upscale/flow/weights/flow-compact_x4.safetensors", weights)
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
    last = training | {"initial": "e" * 64, "config": config | {"energy": 2.0, "precision": "bfloat16"}}
    log = [{"validation_bits": 3.21, "skipped": 0, "seconds": 60}]
    text = card.card(figures, [(training, log), (later, log), (last, log)], weights)
    assert "| scratch | 10 of L1 loss, then 20 of NLL | 3 x 80^2 | none | 4 | 0 | 1 |" in text
    assert "| `dddddddddddd` | 20 of NLL | 3 x 80^2 | 75% through JPEG, the more detailed of 2 crops | 4 |" in text
    assert (
        "| `eeeeeeeeeeee` | 20 of NLL + 2 energy score | 3 x 80^2 | none | 4 | 0 | 1 | cpu, bfloat16, torch 2.15"
        in text
    )
    assert f"**{figures['bits_per_dimension']['160']:.3f} on 160 x 160" in text
    assert f"{figures['bits_per_dimension']['whole']:.3f} on whole images" in text
    assert figures["bits_per_dimension"]["whole"] != figures["bits_per_dimension"]["256"]
    (tmp_path / "w.md").write_text(text)
    rows = card.earlier_phases(tmp_path / "w.md", training | {"initial": sha256_file(weights)})
    assert len(rows) == 3
    assert all(row in card.card(figures, [(last, log)], weights, rows) for row in rows)
    for other in (tmp_path / "w.md", tmp_path / "none.md"):
        with pytest.raises(UserError, match="is not the card of the weights"):
            card.earlier_phases(other, training | {"initial": "d" * 64})
    assert card.credits(training) == "file,title,author,licence,source\na.jpg,A,B,CC0-1.0,here\n"


def _rows(folder: Path, branch: str, level: float | NDArray[np.float64], images: NDArray[np.float64]) -> None:
    path = folder / f"{branch}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = level * images
    rows = [
        {
            "image_id": f"i{i}",
            "sample": k,
            "finite": True,
            "attempts": 1,
            "clipped": 0.0,
            "lpips-alex": score + 0.001 * k,
        }
        for i, score in enumerate(scores)
        for k in range(2)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return script("study.py")


IMAGES = np.random.default_rng(0).uniform(0.1, 1, 30)  # their scores differ far more than those of conditions do


def _run_study(
    study: ModuleType,
    name: str,
    levels: Mapping[str, float | NDArray[np.float64]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    **changes: object,
) -> str:
    """Judge an experiment's own study.yaml on made rows: a score per condition that all images share."""
    for condition, level in levels.items():
        _rows(folder / "data/distortion/flow-compact/x4", condition, level, IMAGES)
    branches = [{"upscaler": "flow-compact", "factor": 4, "downscaler": condition} for condition in levels]
    descriptor = {"label": "LPIPS", "better": "lower"} | changes.pop("descriptor", {})  # type: ignore[operator]
    recipe = {
        "branches": branches,
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": descriptor},
        "skipped": changes.pop("skipped", {}),
        "recipes": {"upscale/x4/flow-compact": {"descriptor": {"stochastic": changes.pop("stochastic", True)}}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (folder / "data/plan").mkdir(parents=True, exist_ok=True)
    (folder / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text()) | changes
    (folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    monkeypatch.chdir(folder)
    study.main()
    return (folder / "results/sample-photos/study.md").read_text()


def _conditions(name: str) -> list[str]:
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text())
    return list(dict.fromkeys(c for panel in values["panels"].values() for c in panel["conditions"]))


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (ROOT / "experiments").glob("*/study.yaml")))
def test_a_study_compares_what_its_pipeline_computes(name: str) -> None:
    params = yaml.safe_load((ROOT / "experiments" / name / "params.yaml").read_text())
    assert set(_conditions(name)) == set(params["downscalers"])
    values = yaml.safe_load((ROOT / "experiments" / name / "study.yaml").read_text())
    assert set(values.get("paper", {}).get("scores", {})) <= set(params["downscalers"])


def test_ladders_hold_only_if_every_rung_does(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys(_conditions("synthetic-after"), 1.0)
    for ladder in study.Study(
        **yaml.safe_load((ROOT / "experiments/synthetic-after/study.yaml").read_text())
    ).panels.values():
        for rung, condition in enumerate(ladder.conditions):
            levels[condition] = 1 + 0.1 * rung
    text = _run_study(study, "synthetic-after", levels, tmp_path, monkeypatch)
    assert "15 of 15 rungs lose more" in text
    assert "(the more an LR image is degraded, the higher its score) **holds** here" in text
    assert "Image by image, the mean rho is lowest for blur: 1.000." in text
    figures = json.loads((tmp_path / "results/sample-photos/study.json").read_text())["flow-compact"]["x4"]
    assert (figures["shown"], figures["comparisons"], figures["reversed"]) == (15, 15, 0)
    assert figures["samples"] == 16 * 60
    table = pd.read_csv(tmp_path / "results/sample-photos/table.csv")
    row = table[(table.condition == "noise-010")].iloc[0]
    assert (row.against, row.group) == ("noise-005", "noise")
    mean = IMAGES.mean()
    assert row.difference_mean == pytest.approx(0.1 * mean)
    assert row["mean"] == pytest.approx(1.2 * mean + 0.0005)

    levels["noise-010"] = 1.05  # below the rung before
    text = _run_study(study, "synthetic-after", levels, tmp_path, monkeypatch)
    assert "14 of 15 rungs" in text
    assert "noise-010 does not against noise-005" in text
    assert "reversed" in text
    assert "The means do not rise all the way in noise." in text
    assert "mean rho is lowest for noise: 0.800" in text
    assert "**does not hold in full** here" in text

    levels |= {"noise-010": 1.2, "contrast-150": 0.9}
    text = _run_study(study, "synthetic-after", levels, tmp_path, monkeypatch)
    assert "**contrast-150**, not none, loses least." in text


def test_where_higher_is_better_the_judgement_turns(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys(_conditions("real-world"), 1.0)
    order = ["nearest", "dpid", "l0", "perceptual", "lanczos", "bicubic", "bilinear"]
    levels |= {name: 1 + 0.1 * i for i, name in enumerate(order)}  # as PSNR would be
    text = _run_study(study, "real-world", levels, tmp_path, monkeypatch, descriptor={"better": "higher"})
    assert "From least to most lost: bilinear < bicubic < lanczos < perceptual < l0 < dpid < nearest." in text
    assert "8 of 8 comparisons of the claim hold" in text
    assert "**flow-compact, x4**" in text
    text = _run_study(study, "real-world", levels, tmp_path, monkeypatch, stochastic=False)
    assert "**flow-compact (deterministic), x4**" in text
    assert "0 of 8 comparisons of the claim hold" in text
    assert "lanczos is not shown to lose more than bilinear" in text


def test_upscalers_are_compared_and_deterministic_ones_marked(study: ModuleType) -> None:
    def result(name: str, levels: list[float], *, factor: int = 4, stochastic: bool = True) -> object:
        scores = {f"c{i}": study.Score(level, 0.1, None, level, level) for i, level in enumerate(levels)}
        return study.Result(name, factor, scores, {}, [], 0, 0, 1, stochastic)

    results = [
        result("flow", [1, 2, 3, 4]),
        result("mode", [1, 3, 2, 3.5], stochastic=False),
        result("flow", [4, 3, 2, 1], factor=8),
    ]
    assert study.agreement(results) == [
        "flow, x4 and mode (deterministic), x4: Kendall's tau between their rankings 0.67; from the lowest to the"
        " highest score 3.0000 and 2.5000."
    ]


def test_the_threshold_is_the_rung_from_which_on_all_are_seen(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: dict[str, float | NDArray[np.float64]] = dict.fromkeys(_conditions("minimum-degradation"), 1.0)
    # Blur 0.1 is seen, 0.25 higher in the mean but not in every image, 0.3 is seen.
    levels |= {"blur-01": 1.1, "blur-025": 1 + (0.01 + 0.2 * np.resize([-1, 1], 30)) / IMAGES, "blur-03": 1.2}
    levels |= {name: 1.1 for name in levels if name.startswith("noise")}
    levels |= {"contrast-0999": 0.9}
    text = _run_study(study, "minimum-degradation", levels, tmp_path, monkeypatch)
    assert "blur: seen from 0.3 on, not at 0.25 (" in text
    assert "noise: seen from 0.0001 on (" in text
    assert "contrast up: not seen even at 1.1." in text
    assert "**Lower than with no degradation**, by an interval that excludes zero: contrast-0999." in text
    assert "| 0.118 |" in text, "the paper's column"
    assert "**does not hold in full**" in text
    assert "+0.0000 [+0.0000, +0.0000] to none **(not shown)**" in text


def test_a_ranking_sorts_by_what_is_lost_and_says_what_was_skipped(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = dict.fromkeys([c for c in _conditions("libraries") if not c.startswith("vips")], 1.2)
    levels |= {"pillow-bicubic": 1.0, "opencv-area": 0.9, "torch-bicubic-antialias": 1.0, "torch-nearest": 2.0}
    skipped = {c: "the package pyvips is not installed" for c in _conditions("libraries") if c.startswith("vips")}
    text = _run_study(study, "libraries", levels, tmp_path, monkeypatch, skipped=skipped)
    mean = IMAGES.mean() * np.array([0.9, 2]) + 0.0005
    assert f"Least is lost by opencv-area ({mean[0]:.4f}), most by torch-nearest ({mean[1]:.4f})." in text
    assert "1 lose less than pillow-bicubic: opencv-area." in text
    assert "1 cannot be told from pillow-bicubic: torch-bicubic-antialias." in text
    assert "25 lose more than pillow-bicubic" in text
    assert text.count("**Skipped: vips-") == 5
    assert text.count("(less)") == 1
    assert text.count("(not told apart)") == 1
    assert "paper" not in text


def test_a_study_of_what_was_not_run_is_refused(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Exception, match=r"panels\.lanczos: params\.yaml has no downscaler lanczos"):
        _run_study(study, "real-world", {"bilinear": 1, "bicubic": 1}, tmp_path, monkeypatch)
    assert not (tmp_path / "results").exists()


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


def test_scores_without_hr_images(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the small run, with MSE in the lead: what each of them is, recomputed by hand for one image."""
    alternatives = script("ground-truth-free/alternatives.py")
    here = tmp_path / "run"
    shutil.copytree(finished, here)
    parameters = yaml.safe_load((here / "params.yaml").read_text())
    parameters["distortions"] = {"mse": {"method": "pixel", "metric": "mse"}}
    parameters["downscalers"] = {
        "bicubic": {"method": "resample", "filter": "bicubic"},
        "lanczos": {"method": "resample", "filter": "lanczos"},
        "noisy": {"method": "resample", "filter": "bicubic", "degrade": [{"gaussian_noise": {"sigma": 0.1}}]},
    }
    (here / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    values = {"data": "small", "reference": "bicubic", "ranked": list(parameters["downscalers"])}
    (here / "alternatives.yaml").write_text(yaml.safe_dump(values | {"ladders": {"noise": ["bicubic", "noisy"]}}))
    environment = {"PYTHONPATH": str(here)}
    run("dvc", "repro", "distort", cwd=here, env=environment)
    monkeypatch.chdir(here)
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    alternatives.main()
    first = (here / "results/small/table.csv").read_bytes()
    monkeypatch.setenv("IDA_RD_WORKERS", "1")
    shutil.rmtree(here / "results")
    shutil.rmtree(here / ".ida-rd")
    alternatives.main()
    assert (here / "results/small/table.csv").read_bytes() == first
    table = pd.read_csv(here / "results/small/table.csv").pivot(index="downscaler", columns="measure", values="mean")
    assert table.loc["bicubic", "cycle"] == table.loc["bicubic", "surrogate"], "one thing where f is the reference"
    assert table.loc["noisy", "surrogate"] > table.loc["bicubic", "surrogate"]
    rows = pd.read_csv(here / "data/distortion/flow-compact/x4/noisy.csv")
    assert table.loc["noisy", "pairwise"] == pytest.approx(rows["mse:spread"].mean())
    assert table.loc["noisy", "score"] == pytest.approx(rows.mse.mean())
    # f(X') of a plain filter, by Pillow itself.
    errors = []
    for folder in sorted((here / "data/sr/flow-compact/x4/lanczos").glob("photo-*")):
        again = Image.open(folder / "0.webp").convert("RGB").resize((16, 16), Image.Resampling.LANCZOS)
        lr = np.asarray(Image.open(here / f"data/lr/x4/lanczos/{folder.name}.png"), float)
        errors.append(np.square((np.asarray(again, float) - lr) / 255).mean())
    assert table.loc["lanczos", "consistency"] == pytest.approx(np.mean(errors))
    text = (here / "results/small/alternatives.md").read_text()
    assert "* **surrogate**: rho" in text
    assert "| noisy |" in text
    (here / "alternatives.yaml").write_text(yaml.safe_dump(values | {"reference": "gone", "ladders": {}}))
    with pytest.raises(Exception, match=r"params\.yaml has no downscaler gone"):
        alternatives.main()


def test_the_camera_ranks_first_what_it_does_itself(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: NDArray[np.uint8]
) -> None:
    """A camera that is Pillow's bilinear filter, on either grid; pairs of sides that are no multiples of 4."""
    camera = script("camera/camera.py")
    here = tmp_path / "run"
    shutil.copytree(finished, here)
    (here / "pairs").mkdir()
    sizes = {"one": (130, 197), "two": (128, 128)}
    for name, (height, width) in sizes.items():
        hr = Image.fromarray(astronaut[40 : 40 + height, 100 : 100 + width])
        hr.save(here / f"pairs/{name}_HR.png")
        whole = hr.crop((0, 0, width // 4 * 4, height // 4 * 4))
        whole.resize((width // 4, height // 4), Image.Resampling.BILINEAR).save(here / f"pairs/{name}_LR4.png")
    parameters = yaml.safe_load((here / "params.yaml").read_text())
    parameters["images"] = {"source": "folder", "path": "pairs", "pattern": "*_HR.png", "crop": 64}
    parameters["downscalers"] = {
        name: {"method": "resample", "filter": name} for name in ("lanczos", "bilinear", "nearest")
    }
    parameters["distortions"] = {"psnr": {"method": "pixel"}, "mse": {"method": "pixel", "metric": "mse"}}
    (here / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    shutil.copy(ROOT / "experiments/camera/camera.yaml", here)
    run("dvc", "repro", "distort", cwd=here, env={"PYTHONPATH": str(here)})
    monkeypatch.chdir(here)
    monkeypatch.setenv("IDA_RD_DEVICE", "cpu")
    camera.main()
    table = pd.read_csv(here / "results/realsr/pairs-x4.csv")
    assert set(table.grid) == {"LR"}
    assert (table[table.downscaler == "bilinear"].mse == 0).all()
    assert (table[table.downscaler != "bilinear"].mse > 0).all()
    figures = json.loads((here / "results/realsr/camera.json").read_text())["flow-compact-x4"]
    assert figures["psnr"]["order"][0] == figures["mse"]["order"][0] == "bilinear"
    # PSNR leads: higher is better, in the score as beside the camera, and so both coefficients agree.
    scores = pd.read_csv(here / "results/realsr/table.csv").set_index("downscaler")
    assert figures["psnr"]["kendall"] == pytest.approx(scores[["score", "psnr"]].corr("kendall").iloc[0, 1])
    assert figures["mse"]["kendall"] == pytest.approx(-scores[["score", "mse"]].corr("kendall").iloc[0, 1])
    assert set(figures["psnr"]["spearman_by_pair"]) == {"one", "two"}
    text = (here / "results/realsr/camera.md").read_text()
    assert "2 pairs, compared 2 on the LR grid." in text

    for name, (height, width) in sizes.items():
        path = here / f"pairs/{name}_LR4.png"
        wide = Image.open(path).resize((width // 4 * 4, height // 4 * 4), Image.Resampling.BICUBIC)
        Image.fromarray(np.pad(np.asarray(wide), ((0, height % 4), (0, width % 4), (0, 0)))).save(path)
    camera.main()
    table = pd.read_csv(here / "results/realsr/pairs-x4.csv")
    assert set(table.grid) == {"HR"}
    assert ((table.mse == 0) == (table.downscaler == "bilinear")).all()

    Image.new("RGB", (50, 50)).save(here / "pairs/two_LR4.png")
    with pytest.raises(Exception, match=r"two_LR4\.png: 50 x 50 pixels, but its HR image has 128 x 128"):
        camera.main()
    (here / "pairs/two_LR4.png").unlink()
    with pytest.raises(Exception, match=r"1 HR images lack their LR image \(two_LR4\.png\)"):
        camera.main()
    assert "2 pairs" in (here / "results/realsr/camera.md").read_text(), "the results before are kept"


@pytest.fixture(scope="module")
def groups() -> ModuleType:
    return script("faces/groups.py")


def test_a_group_that_differs_is_told_from_one_that_does_not(groups: ModuleType) -> None:
    random = np.random.default_rng(0)
    group = pd.Series(np.resize(["a", "b", "c"], 60))
    one = pd.Series("", index=group.index)
    noise = random.normal(size=60)
    assert groups.shuffle_test(noise + (group == "b"), group, one, 999, 0) < 0.01
    p = [groups.shuffle_test(random.normal(size=60), group, one, 99, 0) for _ in range(100)]
    assert 0.3 < np.mean(p) < 0.7, "where nothing differs, p is as often high as low"
    assert np.mean(np.array(p) <= 0.1) < 0.2
    # The old are wrinkled, and most of the men here are old: nothing is left for gender within an age.
    age = pd.Series(np.repeat(["old", "young"], 30))
    gender = pd.Series(["m"] * 24 + ["f"] * 12 + ["m"] * 6 + ["f"] * 18)
    values = (noise / 4 + (age == "old")).to_numpy()
    assert groups.shuffle_test(values, gender, one, 999, 0) < 0.05
    assert groups.shuffle_test(values, gender, age, 999, 0) > 0.05
    assert groups.shuffle_test(values, one, age, 99, 0) == 1


def test_what_a_group_loses_is_compared_with_the_reference(
    groups: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old faces score higher by every downscaler; `dull` alone loses more on men than bicubic does."""
    monkeypatch.chdir(tmp_path)
    place = np.arange(40)
    subset = pd.DataFrame({"image_id": [f"i{i}" for i in place], "age": np.where(place % 2, "old", "young")})
    subset["gender"] = np.where(place // 2 % 2, "m", "f")
    (tmp_path / "data/plan").mkdir(parents=True)
    subset.to_csv("data/subset.csv", index=False)
    images: NDArray[np.float64] = 1 + 0.3 * (place % 2) + np.random.default_rng(1).normal(0, 0.02, 40)
    levels: dict[str, NDArray[np.float64]] = {
        "bicubic": np.ones(40),
        "dull": 1.1 + 0.2 * (place // 2 % 2).astype(np.float64),
        "even": 1.05 + 0.1 / images,
    }
    for name, level in levels.items():
        _rows(tmp_path / "data/distortion/flow-compact/x4", name, level, images)
    recipe = {
        "branches": [{"upscaler": "flow-compact", "factor": 4, "downscaler": name} for name in levels],
        "distortion_order": ["lpips-alex"],
        "distortions": {"lpips-alex": {"label": "LPIPS", "better": "lower"}},
        "balance": {"attributes": {"age": {}, "gender": {}}},
        "confidence": 0.95,
        "resamples": 500,
        "seed": 0,
    }
    (tmp_path / "data/plan/aggregate.json").write_text(json.dumps(recipe))
    (tmp_path / "groups.yaml").write_text("data: made\nreference: bicubic\nshuffles: 999\n")
    groups.main()
    tests = pd.read_csv("results/made/tests.csv").set_index(["question", "downscaler", "attribute"])
    seen = set(tests.index[tests.p_holm < 0.05])
    scores = {("score", name, "age") for name in levels} | {("score", "dull", "gender")}
    # The levels are factors: dull and even lose more where the score is high.
    assert seen == scores | {("beyond", "dull", "age"), ("beyond", "dull", "gender"), ("beyond", "even", "age")}
    assert tests.loc[("beyond", "dull", "gender"), "most"] == "m"
    assert tests.loc[("score", "dull", "age"), ["p", "p_holm"]].to_list() == [0.001, 0.006], "one of six"
    table = pd.read_csv("results/made/groups.csv").set_index(["downscaler", "attribute", "group"])
    old = images[place % 2 == 1]
    assert table.loc[("even", "age", "old"), "score_mean"] == pytest.approx(
        (levels["even"] * images)[1::2].mean() + 0.0005
    )
    assert table.loc[("bicubic", "age", "old"), "score_ci_low"] < old.mean() + 0.0005
    assert table.loc[("bicubic", "age", "old"), "images"] == 20
    text = (tmp_path / "results/made/groups.md").read_text()
    assert "gender for dull (least f, most m" in text
    assert "3 of 4 groups rank the downscalers as all faces together do: bicubic < even < dull. Not: gender f." in text
    (tmp_path / "groups.yaml").write_text("data: made\nreference: lanczos\n")
    with pytest.raises(Exception, match=r"groups\.yaml: reference: params\.yaml has no downscaler lanczos"):
        groups.main()


def test_faces_are_balanced_and_scored_by_group(shared: Path, tmp_path: Path) -> None:
    """The experiment itself, by DVC, on sixteen real faces with real labels."""
    copy_code(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)  # of the root's pipeline, which DVC reads too
    here = tmp_path / "experiments" / "faces"
    here.mkdir(parents=True)
    for name in ("dvc.yaml", "groups.py", "groups.yaml"):
        shutil.copy(ROOT / "experiments/faces" / name, here)
    params = yaml.safe_load((ROOT / "experiments/faces/params.yaml").read_text())
    sample = shared / "images" / "utkface_sample"
    labels = pd.read_csv(sample / "labels.csv").rename(columns={"file": "image_id", "race": "ethnicity"})
    labels["image_id"] = labels.image_id.str.removesuffix(".jpg")
    labels.to_csv(here / "labels.csv", index=False)
    params["images"] = {"source": "folder", "path": str(sample)}
    params["attributes"] = {"source": "table", "table": {"path": "labels.csv"}}
    rules = params["balance"]["attributes"]
    rules["ethnicity"]["groups"] = {"asian": ["Asian"], "black": ["Black"]}
    rules["age"] = {"edges": [37]}
    params["balance"]["size"] = 16
    params["downscalers"] = {"bicubic": params["downscalers"]["bicubic"]}
    params |= {"samples": 1, "distortions": {"psnr": {"method": "pixel"}}, "aggregate": {"resamples": 200}}
    (here / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run("git", "init", "--quiet", cwd=tmp_path)
    run("dvc", "repro", cwd=here, env={"PYTHONPATH": str(tmp_path)})
    balance = json.loads((here / "metrics/balance.json").read_text())
    assert balance["joint_entropy_bits"] == balance["maximum_entropy_bits"] == 3
    table = pd.read_csv(here / "results/ffhq/groups.csv")
    assert set(table.attribute) == {"age", "gender", "ethnicity"}
    assert (table.images == 8).all()
    assert (table.score_ci_low < table.score_mean).all()
    assert len(table) == 6
    assert (here / "results/ffhq/flow-compact-x8.png").is_file()
    page = (here / "metrics/report/index.html").read_text()
    for attribute, group, candidates in (("gender", "female", 72), ("ethnicity", "asian", 72)):
        assert f"<td>{attribute}</td><td>{group}</td><td>{candidates}</td><td>8</td>" in page
    assert "<td></td><td>male</td>" in page
    assert "<td>chosen</td>" not in page


def test_balanced_subsets_reach_what_is_possible_and_the_paper(shared: Path, tmp_path: Path) -> None:
    """Three attributes on UTKFace's labels: cells are at the theoretical maximum, K-means is not below the paper."""
    folder = tmp_path / "experiments/balanced-subsets"
    shutil.copytree(ROOT / "experiments/balanced-subsets", folder, ignore=shutil.ignore_patterns("labels", "results"))
    copy_code(tmp_path)
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    parameters["labels"] = str(shared / "ffhq")
    parameters["pools"] = {"utkface": parameters["pools"]["utkface"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = run("python", "subsets.py", cwd=folder, env={"PYTHONPATH": str(tmp_path)})
    assert "5667 of 23702 images are left out: 5667 in no group" in done.stderr
    table = pd.read_csv(folder / "results/utkface.csv")
    by = table.set_index(["method", "size"]).joint_entropy_bits
    for size, paper in zip(parameters["sizes"], parameters["paper"], strict=True):
        most = _even_entropy(size, 24)
        assert by["stratified", size] == pytest.approx(most, rel=1e-14)
        assert by["kmeans", size] >= paper
    assert by["stratified", 30] == pytest.approx(4.507, abs=5e-4)
    assert by["stratified", 300] >= 4.58
    parameters["labels"] = "nowhere"
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    failed = run("python", "subsets.py", cwd=folder, env={"PYTHONPATH": str(tmp_path)}, check=False)
    assert failed.returncode == 2
    assert "put the label tables there" in failed.stderr


def _even_entropy(size: int, cells: int) -> float:
    counts = np.full(cells, size // cells) + (np.arange(cells) < size % cells)
    p = counts / size
    return float(-(p * np.log2(p)).sum())


def test_the_ablations_tables_are_those_of_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("ablations/compare.py")
    folder = ROOT / "experiments" / "ablations"
    shutil.copytree(folder / "results", tmp_path / "results")
    monkeypatch.setattr(module, "HERE", tmp_path)
    module.main()
    for name in ("table.md", "prototype.md"):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    (tmp_path / "results/control.json").unlink()
    with pytest.raises(Exception, match=r"control\.json is missing: run `dvc repro` here"):
        module.main()

"""The whole instrument on images whose truth is known: it must find what is known in closed form."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, walk
from made import script

from ida_rd.core.errors import UserError
from ida_rd.models.gaussian_field import expected
from ida_rd.models.linear_filters import FILTERS, kernel_of, over_aliases, transfer
from ida_rd.study.record import write_record
from ida_rd.upscale import gaussian
from ida_rd.upscale.contract import Problem

FOLDER = ROOT / "experiments/exact"
DOWNSCALERS = {"box": ("box", 0.0), "nearest": ("nearest", 0.0), "lanczos-noise-2": ("lanczos", 2.0)}
FAR = 4.0  # standard errors, of 16 images: two-sided p about 0.001, for some dozens of numbers


@pytest.fixture
def exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The experiment's script, in a folder of its own with small images."""
    for path in FOLDER.glob("*.py"):
        shutil.copy(path, tmp_path)
    settings = yaml.safe_load((FOLDER / "exact.yaml").read_text())
    settings = {"data": "small", "world": settings["world"] | {"count": 16, "side": 64}}
    (tmp_path / "exact.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    for key, value in {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "IDA_RD_WORKERS": "1"}.items():
        monkeypatch.setenv(key, value)
    yield script("exact/exact.py")
    for name in ("world", "periodic", "exact"):
        sys.modules.pop(name, None)


def run_here(**upscalers: dict[str, Any]) -> None:
    """Make the images and run the pipeline on them."""
    script("exact/world.py").main()
    params = yaml.safe_load((FOLDER / "params.yaml").read_text())
    params["images"]["crop"] = 64
    params["balance"]["size"] = 16
    params["downscalers"] = {
        name: {"method": "python", "function": "periodic.reduce", "arguments": {"filter": kernel, "noise": noise}}
        for name, (kernel, noise) in DOWNSCALERS.items()
    }
    params["upscalers"] |= upscalers
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    walk()


def test_the_pipeline_finds_what_is_known(exact: ModuleType) -> None:
    run_here(bold={"method": "gaussian", "filter": "box", "noise": 0.0, "sigma": 20.0, "correlation": 0.5})
    vars(exact)["write_record"] = write_record  # these rows have recipes
    exact.main()
    table = pd.read_csv("results/small/table.csv")
    assert set(table.downscaler) == set(DOWNSCALERS)
    assert set(table.upscaler) == {"matched", "bicubic", "bold"}
    assert len(table) == 3 * 5 + 2 * 3 * 8, "score, two parts and two coverages; three gaps where not matched"
    assert (table.standard_errors.abs() < FAR).all(), table[table.standard_errors.abs() >= FAR].to_string()
    assert table.inside.mean() > 0.8
    # What is asked is asked sharply: intervals are some per cent wide.
    scores = table[table.quantity == "score"].set_index(["upscaler", "downscaler"])
    assert ((scores.high - scores.low) / scores.exact < 0.06).all()
    matched = table[table.upscaler == "matched"].set_index(["downscaler", "quantity"])
    for name in DOWNSCALERS:
        one = matched.loc[name]
        assert one.exact["variance"] == pytest.approx(one.exact["squared error"], rel=1e-3)
        assert one.exact["squared error"] == pytest.approx(one.wiener["score"], rel=1e-3)
        assert one.exact["coverage 50%"] == pytest.approx(0.5, abs=1e-3)
        assert one.exact["coverage 90%"] == pytest.approx(0.9, abs=1e-3)
    gap = table[(table.quantity == "gap") & (table.upscaler == "bicubic")].set_index("downscaler")
    assert gap.exact["nearest"] > 100
    assert gap.low["nearest"] > 0, "the wrong decoder is found"
    errors = table[table.quantity == "gap in squared error"]
    assert (errors.exact > 0).all()
    # The score that the project prints is the one that was compared.
    printed = pd.read_csv("metrics/tables/ida_rd.csv").set_index(["upscaler", "downscaler"])["mean"]
    for branch, row in scores.iterrows():
        assert row.measured == pytest.approx(printed[branch] * 255**2)
    images = pd.read_csv("results/small/images.csv").groupby(["upscaler", "downscaler"]).mse.mean()
    for branch, row in scores.iterrows():
        assert row.measured == pytest.approx(images[branch] * 255**2, rel=1e-3), "from six digits"
    made = json.loads(Path("results/small/provenance.json").read_text())
    assert made["conditions"]["lanczos-noise-2"]["parameters"]["arguments"]["noise"] == 2
    found = json.loads(Path("results/small/exact.json").read_text())
    assert found["intervals"] == len(table)
    assert found["branches"]["matched/x4/box"]["score"]["exact"] == pytest.approx(scores.exact["matched", "box"])
    text = Path("results/small/exact.md").read_text()
    assert f"{table.inside.sum()} of {len(table)} intervals hold the closed form" in text
    assert "none differ" in text

    # A decoder that is not what the closed form takes it to be is found out.
    folder = Path("data/plan/upscale/x4/bold")
    for path in folder.glob("*.json"):
        recipe = json.loads(path.read_text())
        recipe["parameters"]["sigma"] = 21.0
        path.write_text(json.dumps(recipe))
    exact.main()
    table = pd.read_csv("results/small/table.csv")
    assert (table[(table.upscaler == "bold") & (table.quantity == "variance")].standard_errors.abs() > 5).all()
    assert "none differ" not in Path("results/small/exact.md").read_text()

    # Neither do other images pass for those of this world.
    settings = yaml.safe_load(Path("exact.yaml").read_text())
    settings["world"]["seed"] = 1
    Path("exact.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(UserError, match=r"data/hr/.*\.png: is not of the world of exact\.yaml: run `python world.py`"):
        exact.main()


def test_what_is_not_known_in_closed_form_is_named(exact: ModuleType) -> None:
    branch = exact.Branch("matched", 4, "box")
    recipes: dict[str, dict[str, Any]] = {
        "downscale/x4/box": {"parameters": {"filter": "box"}},
        "downscale/x4/fine": {"parameters": {"arguments": {"filter": "box"}}},
        "upscale/x4/matched/fine": {"method": "flow", "parameters": {}},
    }
    for parts, recipe in recipes.items():
        path = Path(f"data/plan/{parts}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schema": 2, **recipe}))
    world, project = exact.read_settings().world, exact.Project()
    with pytest.raises(UserError, match=r"downscalers\.box: nothing is known of it in closed form"):
        exact.known(world, branch, project)
    with pytest.raises(UserError, match=r"upscalers\.matched: nothing is known of it"):
        exact.known(world, exact.Branch("matched", 4, "fine"), project)


@pytest.mark.parametrize("factor", [3, 4])
@pytest.mark.parametrize("name", FILTERS)
def test_the_downscalers_are_what_the_decoder_takes_them_for(name: str, factor: int) -> None:
    """Pillow's filters, continued periodically, against the decoder's kernels by FFT."""
    hr = np.random.default_rng(0).integers(0, 256, (24 * factor, 30 * factor, 3), dtype=np.uint8)
    periodic = script("exact/periodic.py")
    lr = periodic.reduce(hr, (24, 30), rng=np.random.default_rng(0), filter=name)
    response = transfer(kernel_of(name, factor), *hr.shape[:2])
    seen = over_aliases(response * np.fft.fft2(hr.transpose(2, 0, 1).astype(float)), factor)
    wanted = np.clip(np.fft.ifft2(seen).real, 0, 255).transpose(1, 2, 0)
    assert np.abs(lr - wanted).max() <= 0.5 + 1e-4


def test_noise_is_added_before_rounding() -> None:
    flat = np.full((256, 256, 3), 128, np.uint8)
    lr = script("exact/periodic.py").reduce(flat, (64, 64), rng=np.random.default_rng(0), filter="box", noise=2.0)
    assert lr.var() == pytest.approx(4 + 1 / 12, rel=0.05)


def test_a_world_is_hardly_clipped_and_always_the_same(exact: ModuleType) -> None:
    world = exact.read_settings().world
    images, clipped = zip(*(world.image(number) for number in range(16)), strict=True)
    assert np.mean(clipped) < 1e-4
    assert np.array_equal(images[3], world.image(3)[0])
    assert not np.array_equal(images[3], images[4])
    pixels = np.stack(images).reshape(-1, 3).astype(float)
    assert pixels.std() == pytest.approx(world.sigma, rel=0.15)
    assert np.corrcoef(pixels.T)[0, 1] == pytest.approx(world.correlation, abs=0.1)


def test_the_committed_closed_forms_are_those_of_this_code() -> None:
    params = yaml.safe_load((FOLDER / "params.yaml").read_text())
    world = yaml.safe_load((FOLDER / "exact.yaml").read_text())["world"]
    default = gaussian.Parameters()
    assert all(getattr(default, key) == world[key] for key in ("sigma", "cutoff", "floor", "correlation", "mean"))
    table = (
        pd.read_csv(FOLDER / "results/gaussian-128/table.csv")
        .set_index(["upscaler", "downscaler", "quantity"])
        .sort_index()
    )
    assert len(set(table["filter"])) >= 5
    assert len(set(table.noise)) == 2
    for downscaler, entry in params["downscalers"].items():
        problem = Problem(4, {"parameters": {"arguments": entry["arguments"]}})
        truth = gaussian.world_of(default, problem)
        for upscaler, parameters in params["upscalers"].items():
            own = {key: value for key, value in parameters.items() if key != "method"}
            belief = gaussian.world_of(gaussian.Parameters(**own), problem)
            found = expected(truth, belief, world["side"], world["side"])
            committed = table.exact[upscaler, downscaler]
            assert committed["score"] == pytest.approx(found.mse)
            assert committed["squared error"] == pytest.approx(found.squared_error.mean())
            assert committed["coverage 90%"] == pytest.approx(found.coverage(0.9, 4, found.variance >= 1))

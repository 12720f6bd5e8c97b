"""A tiny StyleGAN is trained, resumes to the same bytes, is loaded by the upscaler, and searched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from made import script
from PIL import Image
from training_photos import held_out, kill_when, write_photos

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw
from ida_rd.distort import pixel
from ida_rd.upscale import pulse
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.pulse import Parameters, fit

TINY: dict[str, Any] = {"resolution": 16, "channels": "6,6,4", "critic": "4,4,4", "latent": 8, "depth": 2, "batch": 4,
                        "scales": "2,4", "r1_every": 2}  # fmt: skip
FILES = ("mapping.safetensors", "synthesis.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", count=3, side=96)


def _train(photos: Path, out: Path, **options: Any) -> Path:
    """Train here, and return the folder of the two files."""
    train, export = script("pulse/train.py"), script("pulse/export.py")
    train.train(train.TrainConfig(**TINY | options), photos, held_out(photos), out, log_every=1)
    export.export(out, out / "weights")
    return out / "weights"


def _command(photos: Path, out: Path, steps: int) -> list[str]:
    options = TINY | {"steps": steps, "save-every": 5, "log-every": 1}
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    folders = ["--images", str(photos), "--validation", str(held_out(photos)), "--out", str(out)]
    return [sys.executable, str(ROOT / "experiments/pulse/train.py"), *folders, *flags]


def test_training_resumes_after_a_kill_and_ends_with_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    steps = 60
    whole = _train(photos, tmp_path / "whole", steps=steps)
    command, env = _command(photos, tmp_path / "killed", steps), os.environ | {"PYTHONPATH": str(ROOT)}
    checkpoint = tmp_path / "killed/checkpoint.pt"
    kill_when(checkpoint.exists, command, env)
    reached = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < reached < steps
    export = script("pulse/export.py")
    with pytest.raises(UserError, match="has not reached its last step yet"):
        export.export(tmp_path / "killed", tmp_path / "early")
    again = _train(photos, tmp_path / "killed", steps=steps)
    for name in FILES:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_it_learns_with_a_gradient_on_photographs_and_keeps_an_average(tmp_path: Path, photos: Path) -> None:
    train = script("pulse/train.py")
    _train(photos, tmp_path / "run", steps=4)
    state = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    average, module = state["averages"]["generator"], state["modules"]["generator"]
    moved = [key for key in module if not torch.equal(average[key], module[key])]
    assert any(key.startswith("mapping.dense") for key in moved)
    assert {"synthesis.blocks.4x4.const", "synthesis.torgb.weight"} <= set(moved)
    assert "synthesis.blocks.8x8.conv0_up.intermediate.kernel" not in moved
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log[-1].keys() >= {"critic_on_training", "critic_on_held_out", "critic_on_made"}
    assert all(np.isfinite(entry["generator"]) for entry in log[:-1])
    # The weight of the gradient counts in the step that has it, and in no other.
    runs = {}
    for r1 in (0.0, 50.0):
        training = train._Training(
            train.TrainConfig(**TINY | {"r1": r1, "steps": 2}),
            *(train.Crops(sorted(photos.glob("*.png")), 16, [2.0]),) * 2,
            tmp_path / "none",
        )
        training.step(1)
        other = training.critic.logit.weight.detach().clone()
        training.step(2)
        runs[r1] = other, training.critic.logit.weight.detach().clone()
    assert torch.equal(runs[0.0][0], runs[50.0][0])
    assert not torch.equal(runs[0.0][1], runs[50.0][1])


def test_the_spread_of_a_batch_is_what_it_is(tmp_path: Path) -> None:
    train = script("pulse/train.py")
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = train._spread(x)
    for first in (0, 1):  # groups are every other image
        group = x[first::2]
        expected = (group.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found[first::2], expected.expand(4, 1, 4, 4))


def test_crops_are_of_their_key_alone_and_too_small_photographs_one_line(photos: Path) -> None:
    train = script("pulse/train.py")
    crops = train.Crops(sorted(photos.glob("*.png")), 16, [2.0, 8.0])  # at the second, 12 x 13 pixels: none
    assert len(crops.images) == 1
    one = crops.batch(5, "crops", 0, 3)
    assert one.shape == (5, 3, 16, 16)
    assert -1 <= one.min() < one.max() <= 1
    assert torch.equal(crops.batch(5, "crops", 0, 3), one)
    assert not torch.equal(crops.batch(5, "crops", 0, 4), one)
    with pytest.raises(UserError, match="no photograph has 64 x 64 pixels when it is reduced: give smaller --scales"):
        train.Crops(sorted(photos.glob("*.png")), 64, [4.0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resolution": 24}, "--resolution 24: one of 8, 16, 32"),
        ({"channels": "6,4"}, "--channels 6,4: give 3 whole numbers for 16"),
        ({"critic": "6,x,4"}, "--critic 6,x,4: give numbers with commas"),
        ({"scales": "0.5"}, "--scales 0.5: from 1 up"),
        ({"batch": 6}, "--batch 6: a multiple of 4"),
        ({"steps": 0}, "--steps, "),
    ],
)
def test_impossible_settings_of_the_training_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        script("pulse/train.py").TrainConfig(**TINY | wrong).check()
    assert "\n" not in str(error.value)


def test_the_files_are_loaded_by_the_upscaler_and_searched(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    compute = fit.compute_fit
    monkeypatch.setattr(fit, "compute_fit", lambda net: compute(net, 500))
    weights, reach = _train(photos, tmp_path / "run", steps=3), script("pulse/reach.py")
    paths = {name: str(weights / f"{name}.safetensors") for name in ("mapping", "synthesis")}
    entry = {"resolution": 16, "paths": paths, "steps": 8, "rate": 3.0, "schedule": "fixed"}  # it overshoots
    out = tmp_path / "results"
    rows = reach.reach(*(entry, photos, out), factors=[2, 4], count=3, scale=4, distortion={"method": "pixel"}, batch=2)
    assert rows.groupby(["kind", "factor"]).size().to_dict() == {
        (kind, factor): 3 for kind in ("own", "held-out") for factor in (2, 4)
    }
    assert (rows.residual_best <= rows.residual_last).all()
    assert (rows.residual_best < rows.residual_last).any()
    assert ((rows.first_step >= 0) == rows.converged).all()
    pd.testing.assert_frame_equal(pd.read_csv(out / "reach.csv"), rows, check_exact=False)
    text = (out / "reach.md").read_text()
    assert "| own" in text
    told = json.loads((out / "reach.json").read_text())
    assert f"By the held-out images: {told['verdict']}" in text
    assert told["groups"] == reach.numbers(rows, "higher")
    assert told["return"] in ("last", "best")
    assert Image.open(out / "sheet.png").size == (4 * 20 + 4, 12 * 20 + 4)
    # The searches are the upscaler's own: the same LR image and draw give the same last and best image.
    hr = reach.held_out_crops(photos, 16, 4, 3)
    mine = rows[(rows.kind == "held-out") & (rows.residual_best < rows.residual_last)].iloc[0]
    name, factor = mine.image_id, int(mine.factor)
    lr, pixels = reach.reduced_to_lr(hr[name], factor), pixel.load(pixel.Parameters(), "cpu")
    for keep in ("last", "best"):
        upscaler = pulse.load(Parameters.model_validate(entry | {"return": keep}), Problem(factor), "cpu")
        found = upscaler.sample(lr, [Draw(0, name, 0)])
        assert found.columns["residual"][0] == pytest.approx(mine[f"residual_{keep}"], rel=1e-3)
        assert bool(found.columns["converged"][0]) == mine.converged
        distance = pixels.distance(pixels.reference(hr[name]), found.sr)[0]
        assert distance == pytest.approx(mine[f"distance_{keep}"], rel=1e-3)

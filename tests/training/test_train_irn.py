"""Training of IRN, IRN+ and IRN_sigma: it resumes, it learns, and sigma decides what counts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from numpy.typing import NDArray
from training_photos import cut_photos, held_out, kill_when

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image
from ida_rd.core.seeds import Draw, generator
from ida_rd.models.irn.checkpoint import load_network
from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet
from ida_rd.training.export import export, exported
from ida_rd.training.irn import GUIDE, TrainConfig, train, validation_psnr
from ida_rd.training.patches import PatchSource
from ida_rd.upscale import irn
from ida_rd.upscale.contract import Problem

SMALL: dict[str, Any] = {"blocks": "1", "growth": 2, "patch": 32, "batch": 2, "critic_width": 2, "features": "filters"}


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Two photographs of 160 x 160."""
    return cut_photos(tmp_path, astronaut)


def _run(photos: Path, out: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train here; return the state and the log."""
    state = train(TrainConfig(**SMALL | options), photos, held_out(photos), out, log_every=1)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return torch.load(state, weights_only=True), log


def _command(photos: Path, out: Path) -> list[str]:
    options = SMALL | {"kind": "irn-sigma", "steps": 40, "critic_ahead": 2, "log-every": 1, "save-every": 10}
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    folders = ["--images", str(photos), "--validation", str(held_out(photos)), "--out", str(out)]
    return [sys.executable, "-m", "ida_rd.training.irn", *folders, *flags]


def test_training_resumes_after_a_kill_and_gives_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(_command(photos, tmp_path / "whole"), cwd=ROOT, env=variables, check=True, capture_output=True)
    again, log = _command(photos, tmp_path / "killed"), tmp_path / "killed" / "log.jsonl"
    kill_when(lambda: log.exists() and '"step": 22' in log.read_text(), again, variables)
    subprocess.run(again, cwd=ROOT, env=variables, check=True, capture_output=True)
    whole, killed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["step"] == killed["step"] == 40
    for part in ("net", "critic"):  # batch norm's running statistics too
        for name, tensor in whole["modules"][part].items():
            assert torch.equal(tensor, killed["modules"][part][name]), name
    assert exported(tmp_path / "whole") == exported(tmp_path / "killed")
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps.count(5) == 1, "finished steps were not done again"
    assert max(steps.count(step) for step in range(21, 23)) == 2


def test_irn_learns_and_its_weights_are_an_upscaler(tmp_path: Path, photos: Path) -> None:
    _, log = _run(photos, tmp_path / "run", kind="irn", steps=40, rate=2e-3)
    steps = [entry for entry in log if "reconstruction" in entry]
    assert {"guide", "latent", "norm", "rate"} <= steps[0].keys()
    totals = [entry["reconstruction"] + 16 * entry["guide"] + entry["latent"] for entry in steps]
    assert np.mean(totals[-10:]) < 0.8 * np.mean(totals[:10])
    before = validation_psnr(IRNNet(IRNConfig((1, 1), growth=2)), held_out(photos), 1.0)
    assert log[-1]["validation_psnr_sigma_1"] > before + 1
    export(tmp_path / "run", tmp_path / "mine.safetensors")
    parameters = irn.Parameters(path=str(tmp_path / "mine.safetensors"))
    lr = generator("lr").integers(0, 256, (3, 8, 8), dtype=np.uint8)
    assert irn.files(parameters, 4)
    assert irn.load(parameters, Problem(4), "cpu").sample(lr, [Draw(0, "a", 0)]).sr.shape == (1, 3, 32, 32)


def test_sigma_is_drawn_from_its_points_and_decides_what_counts(tmp_path: Path, photos: Path) -> None:
    _, log = _run(photos, tmp_path / "run", kind="irn-sigma", steps=24, critic_ahead=3)
    steps = [entry for entry in log if "sigma" in entry]
    counts = {sigma: sum(entry["sigma"] == sigma for entry in steps) for sigma in (0.0, 0.5, 1.0)}
    assert sum(counts.values()) == 24
    assert min(counts.values()) >= 3
    for entry in steps:
        learns = entry["step"] > 3
        assert ("reconstruction" in entry) == ("guide" in entry) == learns
        assert ("adversarial" in entry) == ("perceptual" in entry) == (learns and entry["sigma"] > 0)
        assert ("critic" in entry) == (entry["sigma"] > 0)
    assert {"validation_psnr_sigma_0", "validation_psnr_sigma_1"} <= log[-1].keys()
    two, log = _run(photos, tmp_path / "two", kind="irn-sigma", steps=8, sigmas="0,1", critic_learns="all")
    steps = [entry for entry in log if "sigma" in entry]
    assert {entry["sigma"] for entry in steps} == {0.0, 1.0}
    assert all("critic" in entry for entry in steps)
    assert two["optimisers"]["critic"]["state"][0]["step"] == 8
    start = IRNNet(IRNConfig((1, 1), growth=2)).state_dict()
    assert two["settings"]["critic_ahead"] == 5000
    assert not any(value.any() for key, value in two["modules"]["net"].items() if "conv5" in key), "the critic alone"
    assert start.keys() == two["modules"]["net"].keys()


@pytest.mark.parametrize("kind", ["irn", "irn-plus"])
def test_bfloat16_is_for_the_convolutions_alone(tmp_path: Path, photos: Path, kind: str) -> None:
    full, half = (
        _run(photos, tmp_path / name, kind=kind, steps=4, critic_ahead=0, rate=2e-3, precision=name)
        for name in ("float32", "bfloat16")
    )
    assert half[0]["settings"]["precision"] == "bfloat16"
    assert all(value.dtype == torch.float32 for value in half[0]["modules"]["net"].values())
    losses = [[entry["reconstruction"] for entry in log if "reconstruction" in entry] for _, log in (full, half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("gan", ["gan", "ragan"])
def test_irn_plus_goes_on_from_an_irn_with_all_its_terms(tmp_path: Path, photos: Path, gan: str) -> None:
    _run(photos, tmp_path / "irn", kind="irn", steps=2, seed=5)
    export(tmp_path / "irn", tmp_path / "irn.safetensors")
    first = load_network(tmp_path / "irn.safetensors").state_dict()
    config = TrainConfig(**SMALL | {"kind": "irn-plus", "steps": 3, "critic_ahead": 1, "gan": gan})
    state = train(
        config, photos, held_out(photos), tmp_path / "plus", log_every=1, initial=tmp_path / "irn.safetensors"
    )
    log = [json.loads(line) for line in (tmp_path / "plus" / "log.jsonl").read_text().splitlines()]
    assert "reconstruction" not in log[0]
    assert "critic" in log[0]
    assert {"reconstruction", "guide", "adversarial", "perceptual", "critic"} <= log[1].keys()
    net = torch.load(state, weights_only=True)["modules"]["net"]
    moved = {key: float((net[key] - value).abs().max()) for key, value in first.items()}
    assert 0 < max(moved.values()) < 1e-3, "two small steps from where the IRN was"
    for other in ({"growth": 3}, {"blocks": "2"}, {"factor": 2}):
        with pytest.raises(UserError, match=r"is a network of IRNConfig.*set --factor, --blocks"):
            train(
                TrainConfig(**SMALL | {"kind": "irn-plus"} | other),
                *(photos, held_out(photos), tmp_path / "other"),
                initial=tmp_path / "irn.safetensors",
            )


def test_what_was_left_open_is_as_published_and_in_the_record(tmp_path: Path, photos: Path) -> None:
    for kind, factor, expected in (
        ("irn", 2, {"steps": 500_000, "rate": 2e-4, "reconstruction": 1.0, "guide": 4.0, "latent": 1.0}),
        ("irn-plus", 4, {"steps": 400_000, "rate": 1e-4, "reconstruction": 0.01, "guide": 16.0, "latent": 0.0}),
        ("irn-sigma", 8, {"steps": 400_000, "rate": 1e-4, "reconstruction": 0.01, "guide": 64.0, "latent": 0.0}),
    ):
        settled = TrainConfig(kind=kind, factor=factor).settled()
        assert {key: getattr(settled, key) for key in expected} == expected
    rates = TrainConfig().settled()
    halved = [rates.halved(1.0, step) for step in (0, 99_999, 100_000, 200_000, 300_000, 400_000, 499_999)]
    assert halved == [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16]
    plus = TrainConfig(kind="irn-plus").settled()
    assert [plus.halved(1.0, step) for step in (49_999, 50_000, 100_000, 200_000, 300_000)] == [
        *(1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    ]
    _run(photos, tmp_path / "run", kind="irn", steps=1)
    record = json.loads((tmp_path / "run" / "training.json").read_text())["config"]
    assert (record["reconstruction"], record["guide"], record["halve_at"]) == (1.0, 16.0, "0.2,0.4,0.6,0.8")
    assert record["guide_image"] == "bicubic, not rounded"
    with pytest.raises(UserError, match="other settings \\(guide\\)"):
        _run(photos, tmp_path / "run", kind="irn", steps=1, guide=4.0)


def _keys(side: int, factor: int) -> NDArray[np.float64]:
    """Weights of antialiased cubic convolution, a = -0.5, by which a side is reduced: (side / factor, side)."""
    centres = (np.arange(side // factor) + 0.5) * factor
    t = np.abs(np.arange(side) + 0.5 - centres[:, None]) / factor
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t < 1, near, np.where(t < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def test_the_guide_is_the_crop_of_the_whole_bicubic_image_and_is_not_rounded(photos: Path) -> None:
    path = photos / "0.png"
    whole = read_image(path)
    reduced = GUIDE.make(whole, (40, 40), rng=generator("x"))
    expected = np.einsum("iy,jx,yxc->ijc", _keys(160, 4), _keys(160, 4), whole.astype(float))
    assert np.abs(expected - np.round(expected)).max() > 0.4
    np.testing.assert_allclose(reduced[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-3)
    hr, guide = PatchSource([path], 4, 32, 0, downscalings=[GUIDE]).batch("irn", 0, 4)
    assert guide.dtype == np.float32
    for big, small in zip(hr, guide, strict=True):
        inner = GUIDE.make(np.ascontiguousarray(big.transpose(1, 2, 0)), (8, 8), rng=generator("x"))
        np.testing.assert_allclose(small.transpose(1, 2, 0)[2:-2, 2:-2], inner[2:-2, 2:-2], atol=1e-3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"kind": "irn-sigm"}, "--kind irn-sigm: did you mean 'irn-sigma'"),
        ({"factor": 3}, "--factor 3: IRN halves the sides: give one of 2, 4, 8"),
        ({"patch": 30}, "--patch 30: is not a multiple of the factor 4"),
        ({"kind": "irn-plus", "patch": 28}, "--patch 28: the critic needs patches of 32 pixels or more"),
        ({"blocks": "8,8,8"}, "--blocks 8,8,8: give one whole number, or 2, one per Haar step"),
        ({"blocks": "1.5"}, "--blocks 1.5: give one whole number"),
        ({"sigmas": "0,2"}, "--sigmas 0,2: give numbers from 0 to 1 with commas between them"),
        ({"sigmas": "0,0,1"}, "--sigmas 0,0,1: names one twice"),
        ({"halve_at": "half"}, "--halve-at half: give numbers from 0 to 1"),
        ({"critic_learns": "none"}, "--critic-learns none: "),
        ({"batch": 0}, "--batch"),
    ],
)
def test_mistaken_options_of_training_are_one_line(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        train(TrainConfig(**option), tmp_path, tmp_path, tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()

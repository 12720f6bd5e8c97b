"""The flow's training: it resumes, it learns, it continues from weights, and it gives what it gave."""

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
from ida_rd.core.files import sha256_file
from ida_rd.core.weights import load_tensors, locate
from ida_rd.models.flow import load_network
from ida_rd.training.export import export
from ida_rd.training.flow import NETWORKS, TrainConfig, train
from ida_rd.training.patches import Downscaling, Pixels

SHIPPED = "x4-larger"  # the network that ships for factor 4, by its name in training


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Two photographs of 200 x 200."""
    return cut_photos(tmp_path, astronaut, side=200)


def _train(photos: Path, out: Path) -> list[str]:
    options = {"patch": 32, "l1-steps": 3, "l1-batch": 2, "nll-steps": 42, "nll-batch": 1, "warmup-steps": 2}
    options |= {"energy": 1, "log-every": 1, "save-every": 10}
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    folders = ["--images", str(photos), "--validation", str(held_out(photos)), "--out", str(out)]
    return [sys.executable, "-m", "ida_rd.training.flow", *folders, *flags]


def test_training_resumes_after_a_kill_and_gives_the_same_weights(tmp_path: Path, photos: Path) -> None:
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(_train(photos, tmp_path / "whole"), cwd=ROOT, env=variables, check=True, capture_output=True)
    again, log = _train(photos, tmp_path / "killed"), tmp_path / "killed" / "log.jsonl"
    kill_when(lambda: log.exists() and '"nll", "step": 22' in log.read_text(), again, variables)
    subprocess.run(again, cwd=ROOT, env=variables, check=True, capture_output=True)
    whole, killed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["step"] == killed["step"] == 42
    for name, tensor in whole["averages"]["net"].items():
        assert torch.equal(tensor, killed["averages"]["net"][name]), name
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps.count(20) == 1  # finished steps were not done again
    assert steps.count(1) == 2  # one of each stage
    entries = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    bits = [entry["bits"] for entry in entries if "bits" in entry]
    assert np.mean(bits[-10:]) < np.mean(bits[:10]) - 0.3, "training must lower the loss"


def test_training_by_the_energy_score_moves_what_samples_are_made_of(tmp_path: Path, photos: Path) -> None:
    shipped = locate("flow-compact.x4").path
    options: dict[str, Any] = {"network": SHIPPED, "patch": 32, "nll_steps": 1, "nll_batch": 2, "warmup_steps": 1}
    weights = {}
    for energy in (0.0, 2.0):
        out, config = tmp_path / f"run-{energy}", TrainConfig(energy=energy, **options)
        state = train(config, photos, held_out(photos), out, initial=shipped, log_every=1)
        weights[energy] = torch.load(state, weights_only=True)["modules"]["net"]
        entry = json.loads((out / "log.jsonl").read_text().splitlines()[0])
        assert ("energy" in entry) == bool(energy)
    parts = ("levels.0.0.last.weight", "levels.1.3.affine.weight", "encoder.head.weight", "log_scale.weight")
    assert all(not torch.equal(weights[0.0][part], weights[2.0][part]) for part in parts)


def test_training_in_bfloat16_is_near_that_in_float32(tmp_path: Path, photos: Path) -> None:
    first = {}
    for precision in ("float32", "bfloat16"):
        options: dict[str, Any] = {"patch": 32, "l1_steps": 1, "nll_steps": 1, "nll_batch": 2, "warmup_steps": 1}
        train(TrainConfig(precision=precision, **options), photos, held_out(photos), tmp_path / precision, log_every=1)
        log = (tmp_path / precision / "log.jsonl").read_text().splitlines()
        first[precision] = json.loads(log[1])["bits"]
    assert first["float32"] != first["bfloat16"]
    assert first["float32"] == pytest.approx(first["bfloat16"], abs=0.02)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"network": "x4-larg"}, "--network x4-larg: did you mean 'x4-large'"),
        ({"precision": "bfloat"}, "--precision bfloat: did you mean 'bfloat16'"),
        ({"energy": -1.0}, "--energy -1.0: a weight is 0 or more"),
        ({"energy": 1.0, "patch": 24}, "--patch 24: the energy score needs patches of 28 pixels"),
    ],
)
def test_mistaken_options_of_training_are_one_line(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        train(TrainConfig(**option), tmp_path, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_continues_from_weights(tmp_path: Path, photos: Path) -> None:
    shipped = locate("flow-compact.x4").path
    config = TrainConfig(network=SHIPPED, patch=32, nll_steps=1, nll_batch=1, warmup_steps=1000)
    state = torch.load(train(config, photos, held_out(photos), tmp_path / "run", initial=shipped), weights_only=True)
    assert (state["stage"], state["step"]) == ("nll", 1)
    start = load_tensors(shipped)
    assert all((state["modules"]["net"][key] - value.float()).abs().max() < 1e-5 for key, value in start.items())
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["initial"] == sha256_file(shipped)
    for smaller_or_other in ("x4", "x8"):
        other = TrainConfig(network=smaller_or_other, patch=32)
        with pytest.raises(UserError, match=f"cannot start a network {smaller_or_other}"):
            train(other, photos, held_out(photos), tmp_path / "other", initial=shipped)


@pytest.mark.parametrize("network", ["x2", "x4"])
def test_weights_are_exported_to_the_same_bytes_each_time(tmp_path: Path, photos: Path, network: str) -> None:
    options: dict[str, Any] = {"network": network, "patch": 32, "l1_steps": 1, "nll_batch": 1, "warmup_steps": 1}
    train(TrainConfig(nll_steps=1, **options), photos, held_out(photos), tmp_path / "run")
    for i in range(8):  # safetensors writes its metadata in any order
        export(tmp_path / "run", tmp_path / f"{i}.safetensors")
    assert len({sha256_file(tmp_path / f"{i}.safetensors") for i in range(8)}) == 1
    assert load_network(tmp_path / "0.safetensors").config == NETWORKS[network]
    average = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["averages"]["net"]
    exported = load_tensors(tmp_path / "0.safetensors")
    assert all(torch.equal(tensor.half(), exported[name]) for name, tensor in average.items())


def test_weights_are_not_exported_before_their_stage(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UserError, match="--run takes the --out of a training run"):
        export(tmp_path / "none", tmp_path / "w.safetensors")
    checkpoint = train(TrainConfig(patch=32, l1_steps=1, nll_steps=0), photos, held_out(photos), tmp_path / "run")
    state = torch.load(checkpoint, weights_only=True) | {"stage": "l1"}
    torch.save(state, checkpoint)
    with pytest.raises(UserError, match=r"checkpoint\.pt: the run has not reached its stage nll yet"):
        export(tmp_path / "run", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_training_takes_a_downscaler_in_place_of_filters(tmp_path: Path, photos: Path) -> None:
    options: dict[str, Any] = {"patch": 32, "l1_steps": 1, "l1_batch": 1, "nll_steps": 0}
    calls = []

    def pick(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        calls.append(hr.shape)
        return hr[::4, ::4]

    chosen = [Downscaling("pick", 1, pick)]
    train(TrainConfig(**options), photos, held_out(photos), tmp_path / "run", downscalings=chosen)
    assert set(calls) == {(40, 40, 3)}  # a margin of one LR pixel around the patch
    assert json.loads((tmp_path / "run" / "training.json").read_text())["config"]["filters"] == "pick"
    with pytest.raises(UserError, match="other settings \\(filters\\)"):
        train(TrainConfig(**options), photos, held_out(photos), tmp_path / "run")

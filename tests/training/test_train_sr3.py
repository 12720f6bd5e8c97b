"""Training of SR3: it resumes, it learns, and its weights are an upscaler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_photos import cut_photos, dying, held_out

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.tensors import read_tensors
from ida_rd.models.sr3.checkpoint import load_network
from ida_rd.models.sr3.schedule import betas_of, levels_of
from ida_rd.training import sr3 as training
from ida_rd.training.export import export, exported
from ida_rd.training.sr3 import SHAPES, TrainConfig, levels, train
from ida_rd.upscale import sr3
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.sr3.sampler import enlarge

SMALL: dict[str, Any] = {"network": "tiny", "patch": 32, "batch": 4, "warmup_steps": 2, "rate": 5e-3}


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Two photographs of 160 x 160."""
    return cut_photos(tmp_path, astronaut)


def _run(photos: Path, out: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train here; return the state and the log."""
    state = train(TrainConfig(**SMALL | options), photos, held_out(photos), out, log_every=1, save_every=3)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return torch.load(state, weights_only=True), log


def test_training_resumes_after_a_kill_and_gives_the_same_bytes(tmp_path: Path, photos: Path) -> None:
    """With dropout too, whose numbers are a function of the step."""
    options: dict[str, Any] = {"steps": 8, "dropout": 0.3}
    _run(photos, tmp_path / "whole", **options)
    with dying(training._Training, "step", 5):
        _run(photos, tmp_path / "killed", **options)
    _, log = _run(photos, tmp_path / "killed", **options)
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 8]
    assert exported(tmp_path / "whole") == exported(tmp_path / "killed")


def test_it_learns_and_its_weights_are_an_upscaler(tmp_path: Path, photos: Path) -> None:
    _, log = _run(photos, tmp_path / "run", steps=60, filters="bicubic,box")
    steps = [entry for entry in log if "loss" in entry]
    assert {"norm", "rate", "skipped"} <= steps[0].keys()
    losses = [entry["loss"] for entry in steps]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert 0 < log[-1]["validation_loss"] < 0.8
    export(tmp_path / "run", tmp_path / "mine.safetensors")
    parameters = sr3.Parameters(path=str(tmp_path / "mine.safetensors"), steps=21)
    assert sr3.describe(parameters, 4).blind, "of two filters it does not know which"
    with pytest.raises(UserError, match="was trained for 4 alone"):
        sr3.describe(parameters, 8)
    lr = generator("lr").integers(0, 256, (3, 8, 9), dtype=np.uint8)
    assert sr3.files(parameters, 4)
    assert sr3.load(parameters, Problem(4), "cpu").sample(lr, [Draw(0, "a", 0)]).sr.shape == (1, 3, 32, 36)


def test_it_begins_from_weights_of_its_own_shape(tmp_path: Path, photos: Path) -> None:
    _run(photos, tmp_path / "first", steps=2, seed=5)
    export(tmp_path / "first", tmp_path / "first.safetensors")
    config = TrainConfig(**SMALL | {"steps": 1, "rate": 1e-9, "final_rate": 1e-9})
    state = train(config, photos, held_out(photos), tmp_path / "on", initial=tmp_path / "first.safetensors")
    export(tmp_path / "on", tmp_path / "on.safetensors")
    assert torch.load(state, weights_only=True)["step"] == 1
    begun, ended = (
        load_network(read_tensors(tmp_path / f"{name}.safetensors"), SHAPES["tiny"]) for name in ("first", "on")
    )
    for one, other in zip(begun.parameters(), ended.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
    with pytest.raises(UserError, match="is not a network compact: set --network, or leave --initial out"):
        train(
            TrainConfig(**SMALL | {"network": "compact"}),
            *(photos, held_out(photos), tmp_path / "other"),
            initial=tmp_path / "first.safetensors",
        )


def test_levels_are_of_the_whole_schedule_in_every_batch() -> None:
    """One in each equal part of its steps, and between two steps."""
    bounds = levels_of(betas_of("linear", 2000, 1e-6, 1e-2))
    drawn = np.stack([levels(4, generator("levels", i)) for i in range(300)])
    assert drawn.dtype == np.float32
    for i in range(4):
        assert bounds[500 * (i + 1)] - 1e-6 <= drawn[:, i].min() < drawn[:, i].max() <= bounds[500 * i] + 1e-6
    step = np.searchsorted(-bounds, -drawn.astype(float))
    assert abs(step.mean() / 2000 - 0.5) < 0.01


def test_the_network_is_trained_on_what_it_is_given(photos: Path) -> None:
    lr = generator("x").integers(0, 256, (2, 3, 6, 5), dtype=np.uint8)
    large = training._enlarged(lr, 4)
    assert np.array_equal(large, np.stack([enlarge(one, 4) for one in lr]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"network": "compac"}, "--network compac: did you mean 'compact'"),
        ({"precision": "half"}, "--precision half: "),
        ({"factor": 1}, "--factor 1: give a whole number of 2 or more"),
        ({"patch": 126}, "--patch 126: is not a multiple of the factor, 4"),
        ({"patch": 120}, "--patch 120: is not a multiple of what the network halves, 16"),
        ({"batch": 0}, "--batch"),
        ({"dropout": 1.0}, "--dropout"),
        ({"filters": "bicubi"}, "bicubi"),
    ],
)
def test_mistaken_options_of_training_are_one_line(
    tmp_path: Path, photos: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        train(TrainConfig(**option), photos, held_out(photos), tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()

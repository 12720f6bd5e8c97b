"""The upscaler ``flow``: its contract, its heat, its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw
from ida_rd.core.weights import locate
from ida_rd.upscale import flow
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.recipe import upscale_recipe


def test_the_shipped_flow_keeps_the_upscaler_contract() -> None:
    check_upscaler(flow, {}, 4)
    check_upscaler(flow, {"heat": 0.0}, 4)
    check_upscaler(flow, {}, 2)


@pytest.fixture(scope="module")
def upscaler() -> flow.Upscaler:
    return flow.load(flow.Parameters(), Problem(4), "cpu")


def test_heat_zero_is_deterministic_and_heat_scales_the_spread(astronaut: NDArray[np.uint8]) -> None:
    lr = np.ascontiguousarray(astronaut[:96:4, :96:4].transpose(2, 0, 1))
    draws = [Draw(0, "a", k) for k in range(4)]
    spreads = []
    for heat in (0.0, 0.3, 0.6, 0.9):
        sr = flow.load(flow.Parameters(heat=heat), Problem(4), "cpu").sample(lr, draws).sr
        spreads.append(sr.astype(float).std(axis=0).mean())
    assert spreads[0] == 0
    assert np.all(np.diff(spreads) > 0)


def test_a_sample_does_not_depend_on_its_batch(upscaler: flow.Upscaler, astronaut: NDArray[np.uint8]) -> None:
    lr = np.ascontiguousarray(astronaut[:128:4, :128:4].transpose(2, 0, 1))
    together = upscaler.sample(lr, [Draw(0, "a", k) for k in range(3)]).sr
    for k in range(3):
        alone = upscaler.sample(lr, [Draw(0, "a", k)]).sr[0]
        assert np.abs(alone.astype(int) - together[k]).max() <= 1


def test_a_factor_without_weights_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="factor 3: flow-compact supports factors 2, 4"):
        flow.describe(flow.Parameters(), 3)


def test_terms_of_what_ships_are_not_said_of_another_file(tmp_path: Path) -> None:
    assert "Apache-2.0" in flow.describe(flow.Parameters(), 4).licence
    assert flow.describe(flow.Parameters(path=str(tmp_path / "own.safetensors")), 4).licence == "the file's"


def test_a_file_of_ones_own_is_a_file_of_the_recipe_and_what_ships_is_weights(tmp_path: Path) -> None:
    shipped = locate("flow-compact.x4")
    own = Path(shutil.copyfile(locate("flow-compact.x8").path, tmp_path / "own.safetensors"))
    recipe, _ = upscale_recipe("mine", {"method": "flow", "path": str(own)}, 8, 0, 2, size=None, download=False)
    assert (recipe["files"], recipe["weights"]) == ({"own.safetensors": sha256_file(own)}, {})
    recipe, _ = upscale_recipe("mine", {"method": "flow"}, 4, 0, 2, size=None, download=False)
    assert (recipe["files"], recipe["weights"]) == ({}, {"flow-compact.x4": shipped.sha256})
    with pytest.raises(UserError, match=r"nowhere\.safetensors \(weights flow-compact\.x4\): no such file"):
        upscale_recipe("mine", {"method": "flow", "path": "nowhere.safetensors"}, 4, 0, 2, size=None, download=False)


def test_the_preset_heat_is_what_the_figures_beside_the_weights_say(tmp_path: Path) -> None:
    for factor in (2, 4, 8):
        card = locate(f"flow-compact.x{factor}").path.with_suffix(".json")
        assert flow.Parameters().heat_of(factor) == json.loads(card.read_text())["preset_heat"]
    own = tmp_path / "w.safetensors"
    shutil.copyfile(locate("flow-compact.x4").path, own)
    parameters = flow.Parameters(path=str(own))
    assert parameters.heat_of(4) == 1.0  # of what ships, which has none of its own
    own.with_suffix(".json").write_text('{"preset_heat": 0}')
    assert parameters.heat_of(4) == 0
    assert not flow.describe(parameters, 4).stochastic
    assert flow.Parameters(path=str(own), heat=0.5).heat_of(4) == 0.5


@pytest.mark.parametrize(
    "figures", ["{}", "[]", '{"preset_heat": "1"}', '{"preset_heat": true}', '{"preset_heat": 3}', "{"]
)
def test_figures_without_a_preset_are_refused_by_name(tmp_path: Path, figures: str) -> None:
    (tmp_path / "w.json").write_text(figures)
    with pytest.raises(UserError, match=r"w\.json.* set heat"):
        flow.Parameters(path=str(tmp_path / "w.safetensors")).heat_of(4)


def test_an_own_file_of_another_factor_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    for factor, other in ((2, 4), (4, 8), (8, 2)):
        path = shutil.copy(locate(f"flow-compact.x{factor}").path, tmp_path / f"own-{factor}.safetensors")
        assert flow.describe(flow.Parameters(path=str(path)), factor).factor == factor
        with pytest.raises(UserError, match=rf"own-{factor}\.safetensors is for factor {factor} alone: give a file"):
            flow.describe(flow.Parameters(path=str(path)), other)
    (tmp_path / "text.safetensors").write_text("no network")
    for file in (tmp_path / "text.safetensors", locate("diffusion-compact.x4").path):
        with pytest.raises(UserError) as error:
            flow.describe(flow.Parameters(path=str(file)), 8)
        assert file.name in str(error.value)
        assert len(str(error.value).splitlines()) == 1

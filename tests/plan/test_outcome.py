"""The primary outcome is named in params.yaml, whatever could be downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, SMALL, stage_here

from ida_rd.core.errors import UserError
from ida_rd.core.methods import validate
from ida_rd.plan.schema import RunParameters
from ida_rd.plan.stage import make_recipes, read_parameters


def _parameters(**changes: Any) -> RunParameters:
    found: RunParameters = validate(RunParameters, yaml.safe_load(SMALL) | changes, where="")
    return found


def test_the_primary_distortion_leads(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    plain, other = (make_recipes(_parameters(**given), download=False) for given in ({}, {"primary": "psnr"}))
    assert (plain["aggregate"]["primary"], plain["aggregate"]["distortion_order"]) == ("dss", ["dss", "psnr"])
    assert (other["aggregate"]["primary"], other["aggregate"]["distortion_order"]) == ("psnr", ["psnr", "dss"])
    assert other["report"]["distortion_order"] == ["psnr", "dss"]
    changed = {path for path in plain if plain[path] != other[path]}
    assert changed == {"aggregate", "report"}  # nothing is computed again for it


def test_a_primary_distortion_that_is_skipped_is_still_named(project: Path, tmp_path: Path) -> None:
    parameters = yaml.safe_load(SMALL) | {"primary": "lpips", "missing_weights": "skip"}
    parameters["distortions"]["lpips"] = {"method": "lpips"}
    (project / "params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(tmp_path / "none")})
    assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/aggregate.json").read_text())
    assert recipe["primary"] == "lpips"
    assert recipe["distortion_order"] == ["dss", "psnr"]
    assert "lpips" in recipe["skipped"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dsss", "primary: no distortion is called 'dsss'; did you mean 'dss'?"),
        ("lpips-alex", "primary: no distortion is called 'lpips-alex'; known names: dss, psnr"),
        (7, "primary: the name '7' must consist of"),
    ],
)
def test_a_primary_distortion_that_is_not_there_is_refused(name: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        _parameters(primary=name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_default_run_names_its_primary_outcome() -> None:
    assert read_parameters(ROOT / "params.yaml").primary == "lpips-alex"

"""What verify derives of an upscaler with a file of the publisher's own, unopened, is what ``plan`` said with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SMALL

from ida_rd.bundle.claims import claims_of
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.recipes import check_user_files
from ida_rd.core.weights import locate
from ida_rd.plan.schema import RunParameters
from ida_rd.upscale.recipe import own_files, stated, upscale_recipe

OWN, LARGER = "own.safetensors", "larger.safetensors"
FLOW: dict[str, Any] = {"method": "flow", "path": OWN}
ENTRIES: dict[str, tuple[int, dict[str, Any], list[str]]] = {
    "a flow": (4, FLOW, [OWN]),
    "a flow at a heat": (4, FLOW | {"heat": 0.0}, [OWN]),
    "the flow that ships": (4, {"method": "flow"}, []),
    "a chain of one's own": (
        32,
        {"method": "cascade", "steps": [FLOW | {"factor": 4}, {"method": "flow", "factor": 8, "path": LARGER}]},
        [OWN, LARGER],
    ),
    "a chain of both": (
        32,
        {"method": "cascade", "steps": [FLOW | {"factor": 4}, {"method": "flow", "factor": 8}]},
        [OWN],
    ),
    "another network": (
        4,
        {"method": "irn", "path": "irn.safetensors", "licence": "mine, non-commercial"},
        ["irn.safetensors"],
    ),
    "another network by its name": (4, {"method": "irn", "weights": "irn-sigma", "path": "irn.safetensors"}, []),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key, name in {"flow-compact.x4": OWN, "flow-compact.x8": LARGER, "irn-sigma.x4": "irn.safetensors"}.items():
        shutil.copyfile(locate(key).path, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", ENTRIES)
def test_what_is_claimed_is_what_was_planned(here: Path, what: str) -> None:
    factor, entry, own = ENTRIES[what]
    recipe, descriptor = upscale_recipe("mine", entry, factor, 0, 2, size=None, download=False)
    hashes = {name: sha for name, sha in recipe["files"].items() if not name.endswith(".py")}
    assert hashes == {name: sha256_file(here / name) for name in own}
    values = yaml.safe_load(SMALL) | {"upscalers": {"mine": entry}, "factors": [factor]}
    claims = claims_of(validate(RunParameters, values, where=""), {})
    claimed = claims.upscalers[f"x{factor}/mine"]
    assert claimed is not None
    assert claims.weights[f"upscale/x{factor}/mine/bicubic"] == set(recipe["weights"])
    assert claimed["licence"] == descriptor.licence
    assert claimed["marks"] == descriptor.marks()
    method = stated("mine", entry, factor, 0, 2)[2]
    check_user_files(method, recipe, own_files(method, factor, recipe["weights"]))


def test_a_bundle_of_before_names_the_file_as_weights(here: Path) -> None:
    values = yaml.safe_load(SMALL) | {"upscalers": {"mine": FLOW}}
    claims = claims_of(validate(RunParameters, values, where=""), {})
    assert claims.own["upscale/x4/mine/bicubic"] == {"flow-compact.x4"}


def test_a_network_of_a_factor_that_none_ships_for_is_described(here: Path) -> None:
    values = yaml.safe_load(SMALL) | {
        "factors": [8],
        "upscalers": {"mine": {"method": "irn", "path": "irn8.safetensors"}},
    }
    claimed = claims_of(validate(RunParameters, values, where=""), {}).upscalers["x8/mine"]
    assert claimed is not None
    assert claimed["licence"] == "the file's"

"""The downscaler ``irn``: the LR image of the network, in 8 bits, as its recipe names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import edit, stage_here
from golden.irn.network import TINY, filled
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import open_method
from ida_rd.downscale import irn
from ida_rd.downscale.check import check_downscaler
from ida_rd.downscale.work import apply, reduce_image
from ida_rd.models.irn.network import IRNNet


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_x4.pth"
    torch.save(filled(TINY, torch.float32).state_dict(), path)
    return path


def _recipe(path: Path, factor: int = 4) -> dict[str, Any]:
    recipe = {"stage": "downscale", "name": "it", "method": "irn", "parameters": {"path": str(path)}, "factor": factor}
    return recipe | {"files": {path.name: sha256_file(path)}}


def _reduce(recipe: dict[str, Any], hr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return reduce_image(open_method(recipe), recipe, "image", hr)[0]


def test_it_keeps_the_contract(tiny_file: Path) -> None:
    check_downscaler(irn, {"path": str(tiny_file)}, factors=(4,))


def test_the_golden_lr_images_come_out_byte_for_byte(tmp_path: Path, shared: Path) -> None:
    given = np.load(shared / "golden" / "irn" / "golden_x4.npz")
    real = np.load(shared / "golden" / "irn" / "firn_x4.npz")
    hr = np.ascontiguousarray(given["img"].transpose(1, 2, 0))
    for file, prefix in (("FIRN_x4.pth", "FIRN_"), ("FIRNplus_x4.pth", "FIRNp_")):
        lr = _reduce(_recipe(shared / "weights" / "irn" / file), hr)
        assert np.array_equal(lr.transpose(2, 0, 1), real[f"{prefix}lr_uint8"][0])


def test_untrained_it_is_the_mean_of_each_block(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    torch.save(IRNNet(TINY).state_dict(), tmp_path / "x.pth")
    hr = astronaut[100:148, 200:264]
    lr = apply(irn, hr, 4, {"path": str(tmp_path / "x.pth")}, image_id="a", seed=0)
    means = hr.reshape(12, 4, 16, 4, 3).mean((1, 3))
    clear = np.abs(means % 1 - 0.5) > 0.01  # a half goes to an even level, but float32 holds few of them
    assert np.array_equal(lr[clear], np.round(means)[clear])
    assert np.abs(lr - means).max() < 0.51


def test_bytes_do_not_depend_on_what_was_reduced_before(tiny_file: Path, astronaut: NDArray[np.uint8]) -> None:
    images = [np.ascontiguousarray(astronaut[y : y + 64, 90:150]) for y in (0, 200, 400)]
    recipe = _recipe(tiny_file)
    first = [_reduce(recipe, image) for image in images]
    irn._network.cache_clear()
    again = [_reduce(recipe, image) for image in reversed(images)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_another_file_than_the_recipes_is_refused(tiny_file: Path, astronaut: NDArray[np.uint8]) -> None:
    recipe, hr = _recipe(tiny_file), astronaut[:32, :32]
    before = _reduce(recipe, hr)
    state = filled(TINY, torch.float32).state_dict()
    state["operations.1.F.conv5.bias"] += 0.1
    torch.save(state, tiny_file)
    assert np.array_equal(_reduce(recipe, hr), before), "what was read is kept"
    irn._network.cache_clear()
    with pytest.raises(UserError, match=r"tiny_x4\.pth changed since plan ran"):
        _reduce(recipe, hr)
    assert not np.array_equal(_reduce(_recipe(tiny_file), hr), before)


def test_weights_that_are_not_finite_are_told(tiny_file: Path, astronaut: NDArray[np.uint8]) -> None:
    state = filled(TINY, torch.float32).state_dict()
    state["operations.1.F.conv5.bias"][0] = torch.nan
    torch.save(state, tiny_file)
    with pytest.raises(UserError, match=r"image image: .*tiny_x4\.pth gives an LR image that is not finite"):
        _reduce(_recipe(tiny_file), astronaut[:32, :32])


# In the pipeline


def _plan(project: Path, entry: str, *, factor: int = 4, crop: int = 64) -> Any:
    params = project / "params.yaml"
    edit(params, "  mine: {method: python, function: mine.halve_twice}", f"  learned: {entry}")
    edit(params, "factors: [4]", f"factors: [{factor}]")
    edit(params, "crop: 64", f"crop: {crop}")
    edit(params, "flow-compact: {method: flow, heat: 0.9}", "mean: {method: gaussian}")
    return stage_here("plan", cwd=project, env={"TORCH_HOME": str(project / "none")})


def test_lr_images_of_the_pipeline_do_not_depend_on_the_number_of_workers(project: Path, tiny_file: Path) -> None:
    done = _plan(project, f"{{method: irn, path: {tiny_file}, licence: CC BY-NC 4.0 (non-commercial)}}")
    assert done.returncode == 0, done.stderr
    assert "note: downscaler learned uses weights under CC BY-NC 4.0 (non-commercial)" in done.stderr
    recipe = json.loads((project / "data/plan/downscale/x4/learned.json").read_text())
    assert recipe["files"] == {tiny_file.name: sha256_file(tiny_file)}
    for stage in ("attributes", "balance"):
        assert stage_here(stage, cwd=project).returncode == 0
    images = {}
    for workers in ("1", "2"):
        shutil.rmtree(project / ".ida-rd", ignore_errors=True)
        done = stage_here("downscale", "learned", "4", cwd=project, env={"IDA_RD_WORKERS": workers})
        assert done.returncode == 0, done.stderr
        images[workers] = {path.name: path.read_bytes() for path in (project / "data/lr/x4/learned").glob("*.png")}
    assert len(images["1"]) == 4
    assert images["1"] == images["2"]


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ("{method: irn, path: TINY}", {"factor": 2}, "tiny_x4.pth is an IRN network for factor 4, not 2"),
        (
            "{method: irn, path: TINY}",
            {"factor": 3, "crop": 63},
            "factor 3: IRN halves the sides: its factors are 2",
        ),
        ("{method: irn, path: TINY}", {"crop": 66}, "images.crop is 66, which factor 4 does not divide"),
        ("{method: irn, weights: irn}", {}, "IRN_x4.pth: put a copy there (it was part of https://github.com/pkuxmq/"),
        ("{method: irn, weights: firn}", {"factor": 8}, "factor 8: firn is published for 4"),
        ("{method: irn, path: none.pth}", {}, "path: none.pth does not exist"),
    ],
)
def test_what_is_wrong_is_one_line_of_the_plan(
    project: Path, tiny_file: Path, entry: str, options: dict[str, Any], message: str
) -> None:
    done = _plan(project, entry.replace("TINY", str(tiny_file)), **options)
    assert done.returncode == 2
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr

"""The upscaler ``irn``: the decoder of its own downscaler, not blind, and a dial in sigma."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import edit, stage_here
from golden.irn.network import TINY, filled

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import catalogue
from ida_rd.models.irn.config import IRNConfig
from ida_rd.upscale import irn
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.eight_bit import to_samples

DRAWS = [Draw(0, "image", k) for k in range(3)]


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_x4.pth"
    torch.save(filled(TINY, torch.float32).state_dict(), path)
    return path


def _lr(height: int = 9, width: int = 14) -> Any:
    return generator("lr").integers(0, 256, (3, height, width), dtype=np.uint8)


@pytest.mark.parametrize("sigma", [0.0, 0.6])
def test_it_keeps_the_contract(tiny_file: Path, sigma: float) -> None:
    check_upscaler(irn, {"path": str(tiny_file), "sigma": sigma}, 4)


def test_samples_are_the_networks(tiny_file: Path) -> None:
    lr, net = _lr(), filled(TINY)
    for sigma in (0.0, 0.3, 1.0):
        found = irn.load(irn.Parameters(path=str(tiny_file), sigma=sigma), Problem(4), "cpu").sample(lr, DRAWS)
        latent = torch.from_numpy(np.stack([draw.normal((45, 9, 14)) for draw in DRAWS])).double()
        image = (torch.from_numpy(lr).double() / 255)[None].expand(3, -1, -1, -1)
        expected = to_samples(net.decode(image, sigma * latent))
        assert np.abs(found.sr.astype(int) - expected.sr).max() <= 1
        np.testing.assert_allclose(found.clipped, expected.clipped, atol=1e-3)


def test_a_sample_is_the_same_byte_for_byte_whichever_others_are_drawn(tiny_file: Path) -> None:
    upscaler = irn.load(irn.Parameters(path=str(tiny_file)), Problem(4), "cpu")
    together = upscaler.sample(_lr(), DRAWS).sr
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(upscaler.sample(_lr(), [draw]).sr[0], together[k])
    assert not np.array_equal(together[0], together[1])


def test_sigma_0_is_deterministic_and_what_is_told_of_it(tiny_file: Path) -> None:
    parameters = irn.Parameters(path=str(tiny_file), sigma=0, licence="CC0, non-commercial")
    descriptor = irn.describe(parameters, 4)
    assert descriptor.marks() == ["deterministic", "not blind", "non-commercial", "expects irn"]
    assert irn.describe(irn.Parameters(weights="irn"), 4).marks() == ["not blind", "expects irn"]
    one, other = (irn.load(parameters, Problem(4), "cpu").sample(_lr(), [draw]).sr for draw in DRAWS[:2])
    assert np.array_equal(one, other)


def test_published_networks_are_in_the_catalogue_under_one_licence_each() -> None:
    known = catalogue()
    for name, factors in {"irn": (2, 4, 8), "irn-plus": (4,), "firn": (4,), "firn-plus": (4,)}.items():
        parameters = irn.Parameters.model_validate({"weights": name})
        licences = {known[f"{name}.x{factor}"].licence for factor in factors}
        assert licences == {irn.describe(parameters, 4).licence}
        for factor in factors:
            assert set(irn.describe(parameters, factor).weights) == {f"{name}.x{factor}"}


def test_real_weights_of_the_variant_are_read_by_their_hash(shared: Path) -> None:
    for name, file in (("firn", "FIRN_x4.pth"), ("firn-plus", "FIRNplus_x4.pth")):
        parameters = irn.Parameters.model_validate({"weights": name, "path": str(shared / "weights" / "irn" / file)})
        assert irn.load(parameters, Problem(4), "cpu").sample(_lr(), DRAWS[:1]).finite.all()
    with pytest.raises(UserError, match="has sha256"):
        irn.load(parameters.model_copy(update={"weights": "firn"}), Problem(4), "cpu")


@pytest.mark.parametrize(
    ("entry", "factor", "message"),
    [
        ({"path": "x.pth"}, 3, "factor 3: IRN halves the sides: its factors are 2, 4, 8"),
        ({"weights": "irn"}, 16, "factor 16: irn is published for 2, 4, 8"),
        ({"weights": "irn-plus"}, 2, "factor 2: irn-plus is published for 4"),
    ],
)
def test_a_factor_without_a_network_is_refused(entry: dict[str, Any], factor: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        irn.describe(irn.Parameters(**entry), factor)


def test_the_path_may_name_the_factor(tmp_path: Path) -> None:
    for factor, blocks in ((2, (1,)), (8, (1, 1, 1))):
        torch.save(filled(IRNConfig(blocks, growth=2)).state_dict(), tmp_path / f"mine_x{factor}.pth")
        parameters = irn.Parameters(path=str(tmp_path / "mine_x{factor}.pth"))
        assert irn.files(parameters, factor) == [tmp_path / f"mine_x{factor}.pth"]
        assert irn.load(parameters, Problem(factor), "cpu").sample(_lr(), DRAWS[:1]).sr.shape[2] == 9 * factor


# In the pipeline


def _plan(project: Path, *entries: str, factors: str = "[4]", crop: int = 64) -> Any:
    edit(project / "params.yaml", "\nsamples: 2", "".join(f"\n  {entry}" for entry in entries) + "\nsamples: 2")
    edit(project / "params.yaml", "factors: [4]", f"factors: {factors}")
    edit(project / "params.yaml", "crop: 64", f"crop: {crop}")
    return stage_here("plan", cwd=project, env={"TORCH_HOME": str(project / "none")})


def test_the_plan_names_the_network_by_its_content(project: Path, tiny_file: Path) -> None:
    done = _plan(project, f"own: {{method: irn, path: {tiny_file}, sigma: 0.5}}")
    assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/own/bicubic.json").read_text())
    assert recipe["files"] == {tiny_file.name: sha256_file(tiny_file)}
    assert recipe["samples"] == 2
    assert "ida_rd/models/irn/subnets.py" in recipe["code"]


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ("{method: irn, path: TINY}", {"factors": "[8]"}, "tiny_x4.pth is an IRN network for factor 4, not 8"),
        ("{method: irn, weights: irn, path: TINY}", {"factors": "[2]"}, "is an IRN network for factor 4, not 2"),
        ("{method: irn, path: TINY}", {"factors": "[3]", "crop": 63}, "factor 3: IRN halves the sides"),
        ("{method: irn, path: TINY}", {"crop": 66}, "images.crop is 66, which factor 4 does not divide"),
        ("{method: irn, weights: irn}", {}, "IRN_x4.pth: put a copy there"),
        ("{method: irn, weights: irm}", {}, "weights"),
        ("{method: irn, path: none.pth}", {}, "path: none.pth does not exist: give the file of a network"),
    ],
)
def test_what_is_wrong_is_one_line_of_the_plan(
    project: Path, tiny_file: Path, entry: str, options: dict[str, Any], message: str
) -> None:
    if options.get("factors"):
        edit(project / "params.yaml", "flow-compact: {method: flow, heat: 0.9}", "mean: {method: gaussian}")
    done = _plan(project, f"own: {entry.replace('TINY', str(tiny_file))}", **options)
    assert done.returncode == 2
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr

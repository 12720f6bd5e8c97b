"""IRN_sigma, which ships: what `irn` is without a word about weights, and what is said while none are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import edit, stage_here
from golden.irn.network import TINY, filled
from numpy.typing import NDArray

from ida_rd.core import weights
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import Weight, catalogue
from ida_rd.downscale import irn as downscaler
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.downscale.work import apply
from ida_rd.models.irn import files
from ida_rd.training.measure import centre_crops
from ida_rd.upscale import irn
from ida_rd.upscale.contract import Problem

SHIPPED = "irn-sigma.x4"
Ships = Callable[[Path | None], None]


@pytest.fixture
def ships(monkeypatch: pytest.MonkeyPatch) -> Ships:
    """Let a file, or none, be what ships."""

    def change(path: Path | None) -> None:
        known = {key: value for key, value in catalogue().items() if not key.startswith("irn-sigma.")}
        if path is not None:
            known[SHIPPED] = Weight(SHIPPED, "CC0", "tests", (sha256_file(path),), file=path)
        for module in (files, weights):
            monkeypatch.setattr(module, "catalogue", lambda: known)
        downscaler._file.cache_clear()

    return change


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_x4.pth"
    torch.save(filled(TINY, torch.float32).state_dict(), path)
    return path


def _lr() -> NDArray[np.uint8]:
    return generator("lr").integers(0, 256, (3, 8, 8), dtype=np.uint8)


def test_what_ships_is_meant_where_nothing_is_said(ships: Ships, tiny_file: Path, astronaut: NDArray[np.uint8]) -> None:
    ships(tiny_file)
    draws = [Draw(0, "image", k) for k in range(2)]
    hr = astronaut[100:148, 200:264]
    own = {"path": str(tiny_file)}
    samples = irn.load(irn.Parameters.model_validate(own), Problem(4), "cpu").sample(_lr(), draws).sr
    lr = apply(downscaler, hr, 4, own, image_id="a", seed=0)
    for entry in ({}, {"weights": "irn-sigma"}, {"weights": "irn-sigma", **own}):
        parameters = irn.Parameters.model_validate(entry)
        descriptor = irn.describe(parameters, 4)
        assert (set(descriptor.weights), descriptor.licence) == ({SHIPPED}, "CC0")
        assert irn.files(parameters, 4) == []
        assert np.array_equal(irn.load(parameters, Problem(4), "cpu").sample(_lr(), draws).sr, samples)
        assert np.array_equal(apply(downscaler, hr, 4, entry, image_id="a", seed=0), lr)
        recipe, licence = downscale_recipe("d", {"method": "irn", **entry}, 4, 0, download=False)
        assert (recipe["files"], licence) == ({tiny_file.name: sha256_file(tiny_file)}, "CC0")
    assert irn.describe(irn.Parameters.model_validate(own), 4).weights == {}, "a path is the user's own"
    with pytest.raises(UserError, match="factor 8: irn-sigma ships for 4"):
        irn.describe(irn.Parameters(), 8)


@pytest.mark.parametrize("entry", ["{method: irn}", "{method: irn, weights: irn-sigma}"])
@pytest.mark.parametrize("stage", ["downscalers", "upscalers"])
def test_while_none_ships_the_plan_says_so_in_one_line(project: Path, ships: Ships, stage: str, entry: str) -> None:
    ships(None)
    edit(project / "params.yaml", f"\n{stage}:", f"\n{stage}:\n  learned: {entry}")
    done = stage_here("plan", cwd=project, env={"TORCH_HOME": str(project / "none")})
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"{stage}.learned" in line or "learned" in line
    assert "path: is missing: give the file of a network, or weights: one of irn, irn-plus, firn, firn-plus" in line
    assert "(irn-sigma is not part of this version: experiments/train-irn trains it)" in line


def test_the_decoder_is_marked_as_expecting_its_downscaler(project: Path, ships: Ships, tiny_file: Path) -> None:
    """Whoever made the LR images: what it was made for is a fact of the decoder."""
    ships(tiny_file)
    edit(project / "params.yaml", "\nupscalers:", "\nupscalers:\n  own: {method: irn, sigma: 0}")
    done = stage_here("plan", cwd=project)
    assert done.returncode == 0, done.stderr
    told = json.loads((project / "data/plan/aggregate.json").read_text())["upscalers"]
    assert told["x4/own"]["marks"] == ["deterministic", "not blind", "expects irn"]
    assert (told["x4/own"]["blind"], told["x4/own"]["expects"]) == (False, "irn")
    assert told["x4/flow-compact"]["marks"] == []
    recipe = json.loads((project / "data/plan/upscale/x4/own/bicubic.json").read_text())
    assert recipe["weights"] == {SHIPPED: sha256_file(tiny_file)}


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean()))


@pytest.mark.skipif(
    SHIPPED not in catalogue(), reason="irn-sigma is not part of this version: it is still to be trained"
)
def test_what_ships_recovers_what_it_reduced_and_sigma_is_a_dial(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(astronaut).save(tmp_path / "a.png")
    (hr,) = centre_crops(tmp_path, 256, 1, what="HR").values()
    lr = apply(downscaler, hr, 4, {}, image_id="a", seed=0)
    bicubic = np.asarray(Image.fromarray(hr).resize((64, 64), Image.Resampling.BICUBIC))
    enlarged = np.asarray(Image.fromarray(bicubic).resize((256, 256), Image.Resampling.BICUBIC))
    assert _psnr(lr, bicubic) > 30, "an LR image looks like bicubic's"
    found: dict[float, Any] = {}
    for sigma in (0.0, 0.5, 1.0):
        parameters = irn.Parameters(sigma=sigma)
        sample = irn.load(parameters, Problem(4), "cpu").sample(lr.transpose(2, 0, 1), [Draw(0, "a", 0)])
        found[sigma] = _psnr(sample.sr[0].transpose(1, 2, 0), hr)
    assert found[0.0] > found[0.5] > found[1.0]
    assert found[0.0] > _psnr(enlarged, hr) + 2

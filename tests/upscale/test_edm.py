"""The upscaler ``edm``: its contract, its samples, its range on noise, its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compact_diffusion import TINY, TINY_X8, network, saved
from numpy.typing import NDArray
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import open_method
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import Weight, locate
from ida_rd.downscale.recipe import downscale_recipe
from ida_rd.downscale.work import reduce_image
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.solver import noise_levels
from ida_rd.upscale import edm
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.edm.sampler import EDMUpscaler
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.recipe import upscale_recipe

DRAWS = [Draw(0, "image", k) for k in range(3)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(tmp_path / "tiny.safetensors")


def _lr(height: int = 7, width: int = 10) -> NDArray[np.uint8]:
    return generator("lr").integers(0, 256, (3, height, width), dtype=np.uint8)


def _loaded(path: Path, **options: Any) -> EDMUpscaler:
    found = edm.load(edm.Parameters(path=str(path), **options), Problem(4), "cpu")
    assert isinstance(found, EDMUpscaler)
    return found


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"steps": 3}, {"steps": 2, "batch": 2}, {"steps": 2, "precision": "bfloat16"}]
)
def test_it_keeps_the_contract(file: Path, options: dict[str, Any]) -> None:
    check_upscaler(edm, {"path": str(file)} | options, 4)


def test_it_keeps_the_contract_for_factor_8(tmp_path: Path) -> None:
    saved(tmp_path / "x8.safetensors", TINY_X8)
    check_upscaler(edm, {"path": str(tmp_path / "x{factor}.safetensors"), "steps": 2}, 8)


@torch.no_grad()
def test_samples_are_the_solvers(file: Path) -> None:
    """Step by step, by the definition: DPM-Solver++(2M) on clamped estimates."""
    net, lr, levels = load_network(file), _lr(), noise_levels(3)
    given = net.condition(torch.from_numpy(lr)[None].float() / 255)
    found = _loaded(file, steps=3).sample(lr, DRAWS[:1])
    x, before = levels[0] * torch.from_numpy(DRAWS[0].normal(given.shape, "start"))[None], None
    for i, sigma in enumerate(levels[:-1]):
        clean = net.denoise(x, torch.tensor([sigma]), given.features)
        clean = given.space.whitened(given.space.image(clean).clamp(0, 1))
        h = -np.log(levels[i + 1] / sigma) if levels[i + 1] else np.inf
        slope = 0.0 if before is None or np.isinf(h) else (clean - before) * h / (2 * np.log(levels[i - 1] / sigma))
        x = np.exp(-h) * x - np.expm1(-h) * (clean + slope)
        before = clean
    expected = to_samples(given.space.image(x)[:, :, :28, :40])
    assert np.abs(found.sr.astype(int) - expected.sr).max() <= 1
    assert found.sr.std() > 10


def test_a_sample_is_the_same_byte_for_byte_whichever_others_are_drawn(file: Path) -> None:
    upscaler = _loaded(file, steps=3)
    together = upscaler.sample(_lr(), DRAWS).sr
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(upscaler.sample(_lr(), [draw]).sr[0], together[k])
    assert not np.array_equal(together[0], together[1])
    batched = _loaded(file, steps=3, batch=3).sample(_lr(), DRAWS).sr
    assert np.abs(batched.astype(int) - together).max() <= 1


def test_in_bfloat16_a_sample_is_the_same_byte_for_byte_in_any_batch(file: Path) -> None:
    """It is near the float32 one, and only the denoiser's convolutions are in bfloat16."""
    upscaler, seen = _loaded(file, steps=3, batch=3, precision="bfloat16"), {}
    for name in ("denoiser.fine_in.first", "denoiser.last", "prior", "head"):
        module = upscaler.net.get_submodule(name)
        module.register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: y}))
    together = upscaler.sample(_lr(), DRAWS).sr
    assert seen["denoiser.fine_in.first"].dtype == seen["denoiser.last"].dtype == torch.bfloat16
    assert len(seen["denoiser.last"]) == 1, "a batch would sum in another order"
    assert {seen["prior"].dtype, *(one.dtype for one in seen["head"])} == {torch.float32}
    for batch in (None, 2):
        assert np.array_equal(
            _loaded(file, steps=3, batch=batch, precision="bfloat16").sample(_lr(), DRAWS).sr, together
        )
    assert np.array_equal(upscaler.sample(_lr(), DRAWS[2:]).sr[0], together[2])
    whole = _loaded(file, steps=3).sample(_lr(), DRAWS).sr
    assert 0 < np.abs(whole.astype(int) - together).mean() < 2


def test_what_depends_on_the_lr_image_alone_is_computed_once(file: Path) -> None:
    upscaler, calls = _loaded(file, steps=2), []
    upscaler.net.encoder.register_forward_hook(lambda *_: calls.append(1))
    upscaler.sample(_lr(), DRAWS)
    assert len(calls) == 1


@pytest.mark.parametrize("lr", ["noise", "black and white"])
def test_no_pixel_leaves_the_range_whatever_the_lr_image(file: Path, lr: str) -> None:
    """Of a network with weights three times as large as usual, too."""
    upscaler = _loaded(file, steps=4)
    for weight in upscaler.net.denoiser.parameters():
        weight.mul_(3)
    image = _lr(9, 9) if lr == "noise" else (255 * (_lr(9, 9) > 127)).astype(np.uint8)
    samples = upscaler.sample(image, DRAWS)
    assert samples.finite.all()
    assert not samples.clipped.any()
    assert samples.sr.min() == 0
    assert samples.sr.max() == 255


DEGRADATIONS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"gaussian_noise": {"sigma": 0.1}}],
    [{"gaussian_noise": {"sigma": 0.2}}],
    [{"gaussian_noise": {"sigma": 1.0}}],
    [{"gaussian_blur": {"sigma": 4}}],
    [{"contrast": {"factor": 0.2, "when": "before"}}],
    [{"contrast": {"factor": 4}}],
    [{"quantization": {"n": 2}}],
    [{"jpeg": {"quality": 5}}],
    [{"contrast": {"factor": 4}}, {"gaussian_noise": {"sigma": 0.5}}, {"jpeg": {"quality": 5}}],
)


@pytest.mark.slow
def test_no_pixel_of_5000_samples_leaves_the_range(astronaut: NDArray[np.uint8]) -> None:
    """Of the weights that ship, after every degradation and far beyond them; a second draw is never needed."""
    upscaler = edm.load(edm.Parameters(), Problem(4), "cpu")
    crops = [astronaut[y : y + 40, x : x + 40] for y in (0, 120) for x in range(0, 400, 80)]
    count = 0
    for number, steps in enumerate(DEGRADATIONS):
        entry = {"method": "resample", "filter": "bicubic", "degrade": steps}
        recipe, _ = downscale_recipe("d", entry, 4, 0, download=False)
        for i, crop in enumerate(crops):
            image_id = f"{number}-{i}"
            lr, _ = reduce_image(open_method(recipe), recipe, image_id, np.ascontiguousarray(crop))
            given = np.ascontiguousarray(lr.transpose(2, 0, 1))
            samples = upscaler.sample(given, [Draw(0, image_id, k) for k in range(50)])
            assert samples.finite.all(), steps
            assert not samples.clipped.any(), steps
            count += len(samples.sr)
    assert count == 5000


def test_what_is_no_number_is_reported(file: Path) -> None:
    upscaler = _loaded(file, steps=2)
    upscaler.net.denoiser.last.weight.fill_(torch.nan)
    assert not upscaler.sample(_lr(), DRAWS[:1]).finite.any()


def test_it_says_what_it_is(file: Path, tmp_path: Path) -> None:
    own = edm.describe(edm.Parameters(path=str(file), licence="CC0"), 4)
    assert (own.kind, own.stochastic, own.blind, own.licence, own.weights) == ("diffusion", True, True, "CC0", {})
    assert own.marks() == []
    assert edm.files(edm.Parameters(path=str(file)), 4) == [file]
    entry = {"method": "edm", "path": str(file)}

    def recipe(**options: Any) -> dict[str, Any]:
        return upscale_recipe("d", entry | options, 4, 0, 2, size=(64, 64), download=False)[0]

    assert sha256_file(file) in repr(recipe())
    other = network(TINY).state_dict()
    other["denoiser.last.bias"] += 1
    second = tmp_path / "second.safetensors"
    save_file(other, second, {"config": json.dumps(TINY.as_dict())})
    assert recipe() == recipe()
    assert recipe(steps=11) != recipe() != recipe(path=str(second))
    assert recipe(precision="bfloat16") != recipe() == recipe(precision="float32")
    assert edm.memory(edm.Parameters(batch=2), 4, 5) > edm.memory(edm.Parameters(), 4, 5)
    assert edm.memory(edm.Parameters(batch=2, precision="bfloat16"), 4, 5) == edm.memory(edm.Parameters(), 4, 5)


def test_weights_that_do_not_ship_are_one_line(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(edm, "catalogue", dict)
    with pytest.raises(UserError, match="path: is missing: diffusion-compact is not part of this version: experiments"):
        edm.describe(edm.Parameters(), 4)
    with pytest.raises(UserError, match="no diffusion weights are called 'diffusion'; use 'diffusion-compact'"):
        edm.describe(edm.Parameters(weights="diffusion"), 4)
    weight = Weight("diffusion-compact.x4", "CC0", "this project", (sha256_file(file),), file=file)
    monkeypatch.setattr(edm, "catalogue", lambda: {weight.id: weight})
    assert edm.describe(edm.Parameters(), 4).weights == {"diffusion-compact.x4": None}
    assert edm.describe(edm.Parameters(), 4).licence == "CC0"
    with pytest.raises(UserError, match="factor 8: diffusion-compact supports factors 4"):
        edm.describe(edm.Parameters(), 8)


def test_a_wrong_file_is_one_line(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UserError, match=re.escape("tiny.safetensors is for factor 4 alone: give a file for 8")):
        edm.describe(edm.Parameters(path=str(file)), 8)
    with pytest.raises(UserError, match=r"path: .*gone does not exist: give the file of a network"):
        edm.describe(edm.Parameters(path=str(tmp_path / "gone")), 4)
    for path in (locate("flow-compact.x4").path, tmp_path / "text.safetensors"):
        (tmp_path / "text.safetensors").write_text("no network")
        for use in (edm.describe, edm.files):
            with pytest.raises(UserError) as error:
                use(edm.Parameters(path=str(path)), 4)
            assert path.name in str(error.value)
            assert len(str(error.value).splitlines()) == 1

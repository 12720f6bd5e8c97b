"""The files of the upscaler ``stablesr``: what they hold, how they are read, and what is said of wrong ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ida_rd.convert import transcribe
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import MissingWeights, catalogue
from ida_rd.upscale import stablesr
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.recipe import upscale_recipe
from ida_rd.upscale.stablesr import Parameters, layout

pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")

from stablesrs import MAIN, SMALL, checkpoint, hollow, saved, small_state

from ida_rd.upscale.stablesr.layout import CFW
from ida_rd.upscale.stablesr.networks import words_of
from ida_rd.upscale.stablesr.sampler import StableSRUpscaler

FEW: dict[str, Any] = {"tile": 64, "stride": 64, "steps": 1}
LR = generator("stablesr").integers(0, 256, (3, 8, 8), dtype=np.uint8)
V768 = "d5f83b544035b4bf24ab1d7aa86e0f83328e9ce121efb2c850f833178be3d10b"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small networks in the files, and nothing in torch's cache."""
    monkeypatch.setattr(layout, "SIZES", SMALL)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))


def made(entry: dict[str, Any]) -> Any:
    """A sample, after what ``plan`` asks."""
    parameters = Parameters.model_validate(FEW | entry)
    stablesr.files(parameters, 4)
    return StableSRUpscaler(parameters, "cpu").sample(LR, [Draw(0, "image", 0)]).sr


def planned(entry: dict[str, Any]) -> dict[str, Any]:
    entry = {"method": "stablesr"} | entry
    return upscale_recipe("u", entry, 4, 0, 2, size=(64, 64), download=False)[0]


def test_official_files_are_whole(shared: Path, tmp_path: Path) -> None:
    """Files with the names of all official tensors; each of their parts is missed, and what to get is said."""
    for file, key, parts in (
        (
            "main",
            MAIN,
            {
                "model.diffusion_model.input_blocks.4.0.spade.": "the U-Net (model.diffusion_model....) is not whole",
                "structcond_stage_model.fea_tran.": "the structure encoder (structcond_stage_model....) is not whole",
                "first_stage_model.encoder.": "the autoencoder (first_stage_model....) is not whole",
                "cond_stage_model.model.ln_final.": "the text encoder (cond_stage_model.model....) is not whole",
            },
        ),
        ("cfw", CFW, {"decoder.fusion_layer_2.": "the decoder with CFW is not whole", "quant_conv.": "not whole"}),
    ):
        layout.check_file(hollow(shared, tmp_path / "whole.ckpt", file), key)
        for prefix, message in parts.items():
            with pytest.raises(UserError, match=re.escape(message)) as error:
                layout.check_file(hollow(shared, tmp_path / "part.ckpt", file, without=prefix), key)
            text = str(error.value)
            assert text.endswith(f"of https://github.com/IceClear/StableSR ({catalogue()[key].licence})")
            assert f"give {catalogue()[key].name}, " in text
            assert "non-commercial" in text
            assert "\n" not in text
    without = "cond_stage_model.model.transformer.resblocks.23."
    layout.check_file(hollow(shared, tmp_path / "part.ckpt", "main", without=without), MAIN)


@pytest.mark.usefixtures("small")
def test_wrong_files_are_found_before_anything_runs(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what ``plan`` asks of an entry, in one line each."""
    entry = saved(shared, tmp_path)
    right = planned(entry)
    assert right["files"] == {name: sha256_file(tmp_path / name) for name in ("main.safetensors", "cfw.safetensors")}
    assert right["weights"] == {}
    assert set(right["packages"]) == {"diffusers", "transformers"}
    assert right["settings"] == {"steps": 200, "tile": 512, "stride": 256}
    broken, evil, other = tmp_path / "broken.safetensors", tmp_path / "evil.ckpt", tmp_path / "other.ckpt"
    broken.write_bytes((tmp_path / "main.safetensors").read_bytes()[:-5000])
    evil.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    torch.save({"state_dict": small_state(shared, MAIN)}, other)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(other.read_bytes()[:-5000])
    licence = "(S-Lab License 1.0, non-commercial (StableSR); "
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, f"stablesr_000117.ckpt: put a copy there (it was part of https://github.com/IceClear/StableSR) {licence}"),
        ({}, "vqgan_cfw_00011.ckpt: put a copy there"),
        ({"variant": "768v"}, "stablesr_768v_000139.ckpt: put a copy there"),
        ({"path": entry["path"]}, "weights stablesr.cfw are not at"),
        (entry | {"path": str(tmp_path / "no.ckpt")}, "path: "),
        (entry | {"cfw": str(tmp_path / "no")}, "no does not exist: give vqgan_cfw_00011.ckpt, of https"),
        ({"path": entry["cfw"], "cfw": entry["path"]}, "cfw.safetensors: the U-Net (model.diffusion_model....) is not"),
        (entry | {"cfw": entry["path"]}, "main.safetensors: the decoder with CFW is not whole: "),
        (entry | {"path": str(broken)}, "broken.safetensors: not a file of tensors (it ends too early)"),
        (entry | {"path": str(cut)}, "cut.ckpt: not a file of tensors"),
        (entry | {"path": str(evil)}, "evil.ckpt: the U-Net"),
        (entry | {"path": str(other)}, "expected b8862bf3"),
    ]
    for wrong, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            planned(wrong)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match=r"was converted from stablesr_768v_000139.ckpt: give stablesr_000117.ckpt, of"):
        planned(saved(shared, tmp_path, V768))
    planned({"path": entry["path"], "cfw": entry["cfw"], "variant": "768v"} | saved(shared, tmp_path))
    with pytest.raises(MissingWeights):
        stablesr.load(Parameters(path=entry["path"]), Problem(4), "cpu")
    import ida_rd.core.recipes as recipes

    def none_is_here(name: str, *, install: str) -> str:
        raise UserError(f"the package {name} is missing: {install}")

    monkeypatch.setattr(recipes, "package_version", none_is_here)
    with pytest.raises(UserError, match=re.escape("diffusers is missing: pip install 'ida-rd[diffusion]'")):
        planned(saved(shared, tmp_path))


@pytest.mark.usefixtures("small")
def test_published_checkpoints_are_read_as_they_are(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In torch's cache or at a path, and as what is converted gives the same; torch itself refuses to read them."""
    turbo = checkpoint(tmp_path / "stablesr_turbo.ckpt", small_state(shared, MAIN), monkeypatch)
    with pytest.raises(Exception, match="ModelCheckpoint"):
        torch.load(turbo, weights_only=True)
    cfw = saved(shared, tmp_path)["cfw"]
    entry = {"variant": "turbo", "cfw": cfw}
    recipe = planned(entry | {"path": str(turbo)})
    assert recipe["weights"] == {"stablesr.turbo": sha256_file(turbo)}
    assert recipe["files"] == {"cfw.safetensors": sha256_file(Path(cfw))}
    usual = made(entry | {"path": str(turbo)})
    transcribe(turbo, tmp_path / "turbo.safetensors", None)
    assert np.array_equal(made(entry | {"path": str(tmp_path / "turbo.safetensors")}), usual)
    cached = tmp_path / "cache" / "hub" / "checkpoints" / "stablesr_turbo.ckpt"
    cached.parent.mkdir(parents=True)
    turbo.rename(cached)
    assert np.array_equal(made(entry), usual)
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    with pytest.raises(UserError, match=r"stablesr_turbo.ckpt: not a checkpoint of plain tensors .*damaged") as error:
        made(entry)
    assert "\n" not in str(error.value)
    checkpoint(cached.with_name("vqgan_cfw_00011.ckpt"), small_state(shared, CFW), monkeypatch)
    with pytest.raises(UserError, match=r"has sha256 .* expected 5b20ed9a"):
        made({"variant": "turbo"})


@pytest.mark.usefixtures("small")
def test_files_are_what_is_loaded(shared: Path, tmp_path: Path) -> None:
    entry, state = saved(shared, tmp_path), small_state(shared, MAIN)
    for key, value, message in (
        (
            "structcond_stage_model.fea_tran.0.in_layers.0.weight",
            torch.zeros(3),
            "is not the structure encoder of StableSR (structcond_stage_model....): has another shape",
        ),
        ("model.diffusion_model.out.2.bias", torch.full((4,), torch.nan), "out.bias holds numbers that are not finite"),
        ("first_stage_model.loss.weight", torch.zeros(2), "is unknown: loss.weight"),
    ):
        save_file(state | {key: value}, entry["path"])
        with pytest.raises(UserError, match=re.escape(message)) as error:
            made(entry)
        assert "\n" not in str(error.value)


def test_prompts_end_with_zeros() -> None:
    assert words_of([], 77).tolist() == [[49406, 49407] + 75 * [0]]
    assert words_of([5, 6], 6).tolist() == [[49406, 5, 6, 49407, 0, 0]]


def test_its_files_are_known_without_torch() -> None:
    code = (
        "import sys; from ida_rd.upscale import stablesr; from ida_rd.upscale.stablesr import layout;"
        "layout.parts_of(layout.SIZES, 'stablesr.base'); layout.parts_of(layout.SIZES, layout.CFW);"
        "p = stablesr.Parameters(); stablesr.describe(p, 4);\n"
        "try: stablesr.files(p, 4)\nexcept Exception as e: assert 'stablesr.base' in str(e)\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

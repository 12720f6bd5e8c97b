"""DiffBIR v2 and v2.1 with Stable Diffusion as a folder that diffusers saved."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import expecting
from ida_rd.models.latent.names import folder_text_names
from ida_rd.upscale import diffbir
from ida_rd.upscale.diffbir import Parameters, layout
from ida_rd.upscale.diffbir.layout import Sizes
from ida_rd.upscale.recipe import upscale_recipe

pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("spandrel", reason="needs the package spandrel: pip install 'ida-rd[spandrel]'")

import diffbirs

from ida_rd.upscale.diffbir import canvas as canvases
from ida_rd.upscale.diffbir.sampler import DiffBIRUpscaler

LR = generator("diffbir").integers(0, 256, (3, 16, 16), dtype=np.uint8)
DRAWS = [Draw(0, "image", 0)]
WHERE = r"give the whole folder, or v2-1_512-ema-pruned\.ckpt, of https://huggingface\.co/.* \(CreativeML Open RAIL"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks, and images that are made at 64 pixels at least."""
    monkeypatch.setattr(layout, "SIZES", Sizes(diffbirs.UNET, diffbirs.AUTOENCODER, diffbirs.TEXT))
    monkeypatch.setattr(canvases, "LEAST", 64)


@pytest.fixture(scope="module")
def files(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return {v: diffbirs.separate(shared, tmp_path_factory.mktemp(v), v) for v in ("v2", "v2.1")}


@pytest.fixture(scope="module")
def folders(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By version, and one of 2022; copy one before changing it."""
    made = {v: diffbirs.folder(shared, tmp_path_factory.mktemp("f") / v, v) for v in ("v2", "v2.1")}
    return made | {"old": diffbirs.folder(shared, tmp_path_factory.mktemp("f") / "old", "v2.1", old=True)}


def sampled(entry: dict[str, Any]) -> Any:
    return DiffBIRUpscaler(validate(Parameters, {"steps": 2} | entry, where="u"), "cpu").sample(LR, DRAWS).sr


@pytest.mark.parametrize("version", [pytest.param("v2", marks=pytest.mark.slow), "v2.1"])
def test_a_folder_is_the_file_that_it_was_made_of(files: Any, folders: dict[str, Path], version: str) -> None:
    """To the last bit."""
    entry = {"version": version} | files[version]
    assert np.array_equal(sampled(entry | {"path": str(folders[version])}), sampled(entry))


def test_all_files_of_a_folder_are_hashed_and_looked_at_again(files: Any, folders: dict[str, Path]) -> None:
    """By ``plan``, and when one is loaded. Some have one name: config.json, and the networks' files."""
    folder = folders["v2.1"]
    entry = {"method": "diffbir", "version": "v2.1"} | files["v2.1"] | {"path": str(folder)}
    recipe, descriptor = upscale_recipe("u", entry, 4, 0, 2, size=(64, 64), download=False)
    assert descriptor.weights == {}
    given = [path for path in folder.rglob("*") if path.is_file()] + [
        Path(files["v2.1"][k]) for k in ("control", "swinir")
    ]
    assert sorted(recipe["files"].values()) == sorted(map(sha256_file, given))
    assert len(given) == 7 + 2
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    kept = {name: digest for name, digest in recipe["files"].items() if digest != sha256_file(weights)}
    with expecting(recipe | {"files": kept}), pytest.raises(UserError, match=r"vae/.* changed since plan ran"):
        sampled({key: value for key, value in entry.items() if key != "method"})


def test_a_folder_of_2022_is_read(files: Any, folders: dict[str, Path]) -> None:
    """Pickles of half precision, names from before today's, and a buffer that is none any more."""
    entry = {"version": "v2.1"} | files["v2.1"]
    old = entry | {"path": str(folders["old"])}
    assert len(diffbir.files(Parameters.model_validate(old), 4)) == 7 + 2
    off = sampled(old).astype(int) - sampled(entry)
    assert 0 < np.abs(off).mean() < 4, "of weights that are rounded"


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors", "unet/config.json", "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors", "text_encoder/config.json", "scheduler/scheduler_config.json",
    ],
)  # fmt: skip
def test_a_part_that_is_missing_is_named_and_where_it_is(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(folders["v2"], tmp_path / "sd")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"sd has no {re.escape(name)}.*: {WHERE}") as error:
        diffbir.files(Parameters(version="v2", path=str(folder)), 4)
    assert "\n" not in str(error.value)
    if name.startswith("text_encoder/model"):
        assert "model.safetensors, nor pytorch_model.bin: " in str(error.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("unet", {"attention_head_dim": 8}, r"unet/config\.json: attention_head_dim is 8, not \[4, 8, 16, 16\]"),
        ("unet", {"use_linear_projection": None}, "use_linear_projection is None, not True"),
        ("unet", {"act_fn": "gelu"}, "act_fn is 'gelu', not 'silu'"),
        ("unet", {"class_embed_type": "timestep"}, "class_embed_type is 'timestep': no network of that kind"),
        ("vae", {"scaling_factor": 0.13025}, r"vae/config\.json: scaling_factor is 0\.13025, not 0\.18215"),
        ("text_encoder", {"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu', not 'gelu': it is not the text"),
        ("text_encoder", {"num_hidden_layers": 3}, "num_hidden_layers is 3, not 2"),
        ("scheduler", {"prediction_type": "v_prediction"}, "prediction_type is 'v_prediction', not 'epsilon': its"),
        ("scheduler", {"beta_end": 0.02}, "beta_end is 0.02, not 0.012"),
    ],
)
def test_another_stable_diffusion_is_refused(
    folders: dict[str, Path], tmp_path: Path, part: str, change: dict[str, Any], message: str
) -> None:
    """What no tensor would tell: that of 768 pixels gives velocities, and has the names and shapes of that of 512."""
    folder = shutil.copytree(folders["v2"], tmp_path / "sd")
    (path,) = (folder / part).glob("*config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=f"{message}.*; {WHERE}") as error:
        diffbir.files(Parameters(version="v2", path=str(folder)), 4)
    assert "\n" not in str(error.value)


def test_what_a_configuration_leaves_out_is_what_the_packages_take_it_for(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["v2"], tmp_path / "sd")

    def without(part: str, *keys: str) -> Parameters:
        (path,) = (folder / part).glob("*config.json")
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))
        return Parameters(version="v2", path=str(folder))

    for part, keys in (
        ("unet", ("layers_per_block", "upcast_attention")),
        ("vae", ("scaling_factor", "force_upcast", "use_quant_conv")),
        ("text_encoder", ("vocab_size",)),
        ("scheduler", ("prediction_type", "rescale_betas_zero_snr")),
    ):
        assert len(diffbir.files(without(part, *keys), 4)) == 7
    with pytest.raises(UserError, match="hidden_act is 'quick_gelu'"):
        diffbir.files(without("text_encoder", "hidden_act"), 4)


def test_a_network_of_a_folder_is_whole(folders: dict[str, Path], tmp_path: Path) -> None:
    """By its header; another version's folder is another's."""
    folder = shutil.copytree(folders["v2"], tmp_path / "sd")
    name = "diffusion_pytorch_model.safetensors"
    given = Parameters(version="v2", path=str(folder))
    changes: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: shutil.copy(folder / "vae" / name, folder / "unet" / name),
            r"unet/.*: the U-Net of DiffBIR v2 is not",
        ),
        (lambda: (folder / "unet" / "config.json").write_text("[]"), r"unet/config\.json: is no configuration"),
        (lambda: (folder / "unet" / "config.json").write_text("{"), r"unet/config\.json"),
    ]
    for change, message in changes:
        change()
        with pytest.raises(UserError, match=message) as error:
            diffbir.files(given, 4)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="prediction_type is 'v_prediction', not 'epsilon'"):
        diffbir.files(Parameters(version="v2", path=str(folders["v2.1"])), 4)
    with pytest.raises(UserError, match=r"'epsilon', not 'v_prediction': .*, or sd2\.1-base-zsnr-laionaes5\.ckpt, of"):
        diffbir.files(Parameters(version="v2.1", path=str(folders["v2"])), 4)


def test_only_stable_diffusion_may_be_a_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    for wrong, message in (
        ({"path": str(folders["v2"])}, r"path: .*v2 is a folder: give general_full_v1\.ckpt, of https://"),
        ({"version": "v2", "control": str(tmp_path)}, r"control: .* is a folder: give v2\.pth, of https://"),
        ({"version": "v2", "path": str(tmp_path / "no")}, r"path: .*no does not exist: give v2-1_512"),
    ):
        with pytest.raises(UserError, match=message) as error:
            diffbir.files(Parameters.model_validate(wrong), 4)
        assert "\n" not in str(error.value)


def test_names_of_a_text_encoder_in_a_folder() -> None:
    layer = "encoder.layers.1.mlp.fc1.weight"
    for name in (layer, f"text_model.{layer}"):
        assert folder_text_names(name, layers=2) == (layer,)
        assert folder_text_names(name, layers=1) == ()
    for unused in ("text_model.embeddings.position_ids", "embeddings.position_ids", "text_projection.weight"):
        assert folder_text_names(unused, layers=2) == ()

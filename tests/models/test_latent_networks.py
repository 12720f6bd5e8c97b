"""Networks of latent diffusion: their layouts, what a folder says of them, and their files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.pulse.recipe import normal
from safetensors.torch import load_file, save_file

from ida_rd.core.errors import UserError
from ida_rd.core.tensors import read_tensors
from ida_rd.models.latent.checkpoint import check_header, state_of
from ida_rd.models.latent.config import LDM_SR_UNET, LDM_SR_VQ, AutoencoderConfig, UNetConfig
from ida_rd.models.latent.folder import autoencoder_config, check_schedule, unet_config, weights_in
from ida_rd.models.latent.layout import autoencoder_shapes, plain_name, unet_shapes
from ida_rd.models.latent.names import autoencoder_names

pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")

from latents import UNET, VQ, changed, filled, saved

from ida_rd.models.latent.networks import autoencoder_of, decoded, noise_of, unet_of

OTHER = UNetConfig(5, 2, (8, 16), (), 2, 8, 4)


def empty(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("config", [LDM_SR_UNET, UNET, OTHER], ids=["published", "tiny", "other"])
def test_the_layout_that_is_known_without_torch_is_that_of_the_unet(config: UNetConfig) -> None:
    shapes = unet_shapes(config)
    state = unet_of(config, empty(shapes)).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes


@pytest.mark.parametrize("config", [LDM_SR_VQ, VQ], ids=["published", "tiny"])
def test_the_layout_that_is_known_without_torch_is_that_of_the_autoencoder(config: AutoencoderConfig) -> None:
    shapes = autoencoder_shapes(config)
    state = autoencoder_of(config, empty(shapes)).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes


def test_the_published_networks_are_of_their_size() -> None:
    counts = [
        sum(int(np.prod(s)) for s in shapes.values())
        for shapes in (unet_shapes(LDM_SR_UNET), autoencoder_shapes(LDM_SR_VQ))
    ]
    assert counts == [113_622_563, 55_322_782]
    assert [name for name in unet_shapes(LDM_SR_UNET) if name.endswith("to_q.weight")] == [
        "down_blocks.3.attentions.0.to_q.weight", "down_blocks.3.attentions.1.to_q.weight",
        "mid_block.attentions.0.to_q.weight",
        *(f"up_blocks.0.attentions.{j}.to_q.weight" for j in range(3)),
    ]  # fmt: skip
    assert (LDM_SR_UNET.multiple, LDM_SR_VQ.factor) == (8, 4)


def test_layouts_are_known_without_torch_and_diffusers() -> None:
    code = (
        "import sys; from ida_rd.models.latent import checkpoint, config, folder, layout, names;"
        "from ida_rd.upscale import ldm; layout.unet_shapes(config.LDM_SR_UNET); ldm.describe(ldm.Parameters(), 4);"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@torch.inference_mode()
def test_a_network_is_built_as_its_configuration_says() -> None:
    """Not only with its shapes: heads, groups and the embedding of times are those of diffusers' own reading."""
    from diffusers import UNet2DModel

    mine = unet_of(UNET, filled(unet_shapes(UNET)))
    theirs: Any = UNet2DModel(
        in_channels=6, out_channels=3, block_out_channels=(16, 32, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip
    theirs.load_state_dict(filled(unet_shapes(UNET)))
    x = normal(1, 2, 6, 8, 12, dtype=torch.float32)
    expected = theirs.eval()(x, 721).sample
    torch.testing.assert_close(noise_of(mine, x, 721), expected, rtol=0, atol=1e-5)
    assert (noise_of(mine, x, 21) - expected).abs().max() > 0.01
    assert not mine.training
    assert not any(parameter.requires_grad for parameter in mine.parameters())


@torch.inference_mode()
def test_the_autoencoder_equals_the_golden_one(shared: Path) -> None:
    """Of files in LDM's layout, whose names these are: that of another publication with the same autoencoder."""
    golden = np.load(shared / "golden" / "resshift" / "golden_tiny.npz")
    keys = json.loads((shared / "golden" / "resshift" / "keys_tiny.json").read_text())["autoencoder"]
    config = AutoencoderConfig((32, 64, 128), 3, 256, 1)
    state = {}
    for key, shape in keys.items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if len(shape) == 1:
            n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
        elif key != "quantize.embedding.weight":
            small = key.endswith(("conv2.weight", "proj_out.weight"))
            n *= (0.5 if small else 1.0) / np.sqrt(np.prod(shape[1:]))
        state[key] = torch.from_numpy(n.astype(np.float32))

    def names(name: str) -> tuple[str, ...]:
        return autoencoder_names(name, levels=3)

    shapes = autoencoder_shapes(config)
    net = autoencoder_of(config, state_of(Path("a.pth"), state, "it", shapes, names))
    z = normal(204, 1, 3, 16, 12, dtype=torch.float32)
    np.testing.assert_allclose(decoded(net, z).numpy(), golden["ae_dec"], rtol=0, atol=1e-5)


def test_old_names_of_attention_are_known() -> None:
    assert plain_name("decoder.mid_block.attentions.0.proj_attn.bias") == "decoder.mid_block.attentions.0.to_out.0.bias"
    assert plain_name("up_blocks.0.attentions.2.query.weight") == "up_blocks.0.attentions.2.to_q.weight"
    for name in unet_shapes(UNET) | autoencoder_shapes(VQ):
        assert plain_name(name) == name


@pytest.mark.parametrize("old", [False, True], ids=["new", "published"])
def test_a_folder_is_its_networks(tmp_path: Path, old: bool) -> None:
    folder = saved(tmp_path / "folder", old=old)
    assert unet_config(folder) == UNET
    assert autoencoder_config(folder) == VQ
    check_schedule(folder)
    for part, shapes in (("unet", unet_shapes(UNET)), ("vqvae", autoencoder_shapes(VQ))):
        path = weights_in(folder, part)
        check_header(path, "it", shapes)
        state = state_of(path, read_tensors(path).tensors(), "it", shapes)
        assert all(torch.equal(value, state[name]) for name, value in filled(shapes).items())
        assert len(state) == len(shapes)


def test_a_folder_without_configurations_is_of_the_published_networks(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        assert (unet_config(folder), autoencoder_config(folder)) == (LDM_SR_UNET, LDM_SR_VQ)
        check_schedule(folder)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("unet", {"norm_eps": 1e-6}, "norm_eps is 1e-06, not 1e-05: no network of that kind is built"),
        ("unet", {"time_embedding_type": "fourier"}, "time_embedding_type is 'fourier', not 'positional'"),
        ("unet", {"num_class_embeds": 10}, "num_class_embeds is 10: no network of that kind is built"),
        ("unet", {"flip_sin_to_cos": False}, "flip_sin_to_cos is False, not True"),
        ("unet", {"up_block_types": ["UpBlock2D"] * 3}, "have attention at different levels"),
        ("unet", {"down_block_types": ["SkipDownBlock2D"] * 3}, "not a U-Net of latent diffusion"),
        ("unet", {"block_out_channels": [16, 32]}, "not one block per level"),
        ("unet", {"block_out_channels": [16, 32, 36]}, "widths that are not multiples of its 8 groups"),
        ("unet", {"attention_head_dim": 7}, "not multiples of the 7 channels of a head"),
        ("unet", {"layers_per_block": 10**9}, "whole numbers from 1 to 100,000"),
        ("vqvae", {"norm_type": "spatial"}, "norm_type is 'spatial', not 'group'"),
        ("vqvae", {"lookup_from_codebook": True}, "lookup_from_codebook is True: no network"),
        ("vqvae", {"vq_embed_dim": 8}, "of other channels"),
        ("vqvae", {"up_block_types": ["AttnUpDecoderBlock2D"] * 2}, "of other blocks"),
        ("vqvae", {"block_out_channels": [8] * 9, }, "a network of 9 levels, expected 1 to 8"),
    ],
)  # fmt: skip
def test_another_kind_of_network_is_one_line(tmp_path: Path, part: str, change: dict[str, Any], message: str) -> None:
    path = saved(tmp_path) / part / "config.json"
    changed(path, **change)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        (unet_config if part == "unet" else autoencoder_config)(tmp_path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_configuration_is_one_line(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path) / "unet" / "config.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.json") as error:
        unet_config(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "change", [{"beta_end": 0.012}, {"beta_schedule": "linear"}, {"prediction_type": "v_prediction"}]
)
def test_another_schedule_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    changed(saved(tmp_path) / "scheduler" / "scheduler_config.json", **change)
    with pytest.raises(UserError, match=f"{next(iter(change))} is .* it was trained on another schedule"):
        check_schedule(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv_in.bias"), "is missing: conv_in.bias"),
        (lambda s: s.update({"down_blocks.7.x.weight": torch.zeros(1)}), "is unknown: down_blocks.7.x.weight"),
        (
            lambda s: s.update({"conv_out.bias": torch.zeros(4)}),
            "has another shape: conv_out.bias (4,) for (3,)",
        ),
    ],
)
def test_every_tensor_of_a_file_is_accounted_for(tmp_path: Path, change: Any, message: str) -> None:
    """By the header, and once more when it is loaded; a ``.bin`` tells names alone before that."""
    path, shapes = weights_in(saved(tmp_path), "unet"), unet_shapes(UNET)
    state = load_file(path)
    change(state)
    save_file(state, path)
    torch.save(state, tmp_path / "net.bin")
    wrong = [path] if "shape" in message else [path, tmp_path / "net.bin"]
    for one in wrong:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            check_header(one, "this U-Net", shapes)
        assert str(error.value).startswith(f"{one} is not this U-Net: ")
    for one in (path, tmp_path / "net.bin"):
        with pytest.raises(UserError, match=re.escape(message)) as error:
            state_of(one, read_tensors(one).tensors(), "this U-Net", shapes)
        assert len(str(error.value).splitlines()) == 1


def test_numbers_that_are_none_are_refused() -> None:
    shapes = unet_shapes(UNET)
    for value, message in ((torch.full((3,), torch.nan), "not finite"), (torch.ones(3).long(), "floating")):
        with pytest.raises(UserError, match=message):
            state_of(Path("a.bin"), filled(shapes) | {"conv_out.bias": value}, "it", shapes)

"""Networks of Stable Diffusion 2 and their control: layouts of the official files, and golden values of tiny ones."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.pulse.recipe import image, normal

from ida_rd.models.latent.checkpoint import Names, state_of
from ida_rd.models.latent.config import SD2_AUTOENCODER, SD2_TEXT, SD2_UNET
from ida_rd.models.latent.layout import autoencoder_shapes, control_shapes, text_shapes, unet_shapes
from ida_rd.models.latent.names import autoencoder_names, text_names, unet_names

pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")

from diffbirs import NAMES, PREFIXES, part, tiny, weights

from ida_rd.models.latent.networks import (
    autoencoder_of,
    control_of,
    controlled,
    decoded,
    encoded,
    text_of,
    unet_of,
)

PARITY = pytest.mark.parity(
    "ida_rd.models.latent.networks", "ida_rd.models.latent.names", "ida_rd.models.latent.checkpoint"
)
SCALE = 0.18215
TEXT_NAMES: Names = partial(text_names, layers=23)
OFFICIAL: dict[str, tuple[Any, Any, Names, int]] = {
    "unet": (unet_of, unet_shapes(SD2_UNET), unet_names, 865_910_724),
    "control": (control_of, control_shapes(SD2_UNET), partial(unet_names, control=True), 363_153_280),
    "vae": (autoencoder_of, autoencoder_shapes(SD2_AUTOENCODER), partial(autoencoder_names, levels=4), 83_653_863),
    "text": (text_of, text_shapes(SD2_TEXT), TEXT_NAMES, 354_032_641),
}
CONFIGS = {"unet": SD2_UNET, "control": SD2_UNET, "vae": SD2_AUTOENCODER, "text": SD2_TEXT}


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden" / "diffbir" / "golden_tiny_modules.npz")


def near(mine: torch.Tensor, golden: Any) -> None:
    np.testing.assert_allclose(mine.numpy(), golden, rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", OFFICIAL)
def test_names_of_the_official_files_are_those_of_the_layout(shared: Path, name: str) -> None:
    """Every tensor of a part has its place, and every place its tensor: with as many numbers."""
    _, shapes, names, count = OFFICIAL[name]
    keys = part(shared, name)
    assert sum(int(np.prod(shape)) for shape in keys.values()) == count
    placed = [target for key in keys for target in names(key)]
    assert len(placed) == len(set(placed))
    assert set(placed) == set(shapes)
    for key, shape in keys.items():
        if targets := names(key):
            assert sum(int(np.prod(shapes[one])) for one in targets) == np.prod(shape)
    unused = [key for key in keys if not names(key)]
    expected = {"text_projection", "logit_scale"} if name == "text" else set()
    assert {key for key in unused if "resblocks.23" not in key} == expected


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_layout_that_is_known_without_torch_is_that_of_the_network(name: str) -> None:
    build, shapes, _, _ = OFFICIAL[name]
    state = build(CONFIGS[name], {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes


@PARITY
@torch.inference_mode()
def test_texts_equal_the_golden_ones(shared: Path, golden: Any) -> None:
    ids = torch.from_numpy(golden["tokens"][:2]).long()
    near(tiny(shared, "text")(input_ids=ids).last_hidden_state, golden["clip_out"])


@PARITY
@torch.inference_mode()
def test_noise_with_text_and_control_equals_the_golden_one(shared: Path, golden: Any) -> None:
    x, condition = normal(1, 2, 4, 16, 24, dtype=torch.float32), normal(2, 2, 4, 16, 24, dtype=torch.float32)
    text = normal(3, 2, 77, 32, dtype=torch.float32)
    unet, control = tiny(shared, "unet"), tiny(shared, "control")
    times = torch.tensor([999, 20])
    near(unet(x, times, encoder_hidden_states=text).sample, golden["eps_plain"])
    across, middle = control(x, times, encoder_hidden_states=text, controlnet_cond=condition, return_dict=False)
    assert len(across) == 12
    for i, found in enumerate((*across, middle)):
        near(found[1:], golden[f"control_{i:02d}"])
    for strength, name in ((1.0, "eps_control"), (0.5, "eps_control_strength05")):
        for i, time in enumerate((999, 20)):
            one = slice(i, i + 1)
            mine = controlled(unet, control, x[one], time, text[one], condition[one], strength)
            near(mine, golden[name][one])


@PARITY
@torch.inference_mode()
def test_latents_and_their_images_equal_the_golden_ones(shared: Path, golden: Any) -> None:
    vae = tiny(shared, "vae")
    picture = torch.from_numpy(image(128, 192, 5)[None].astype(np.float32) / 255) * 2 - 1
    near(vae.encode(picture).latent_dist.parameters, golden["vae_moments"])  # type: ignore[operator]
    near(encoded(vae, picture) * SCALE, golden["cond_latent"])
    z = normal(4, 1, 4, 16, 24, dtype=torch.float32)
    near(decoded(vae, z / SCALE)[:, :, :64], golden["vae_decode_rows0_64"])


@pytest.mark.slow
@PARITY
@torch.inference_mode()
def test_networks_of_the_official_size_equal_the_golden_ones(shared: Path) -> None:
    """1.2 billion parameters: takes 8 GB and some minutes."""
    folder = shared / "golden" / "diffbir"
    golden, meta = (
        np.load(folder / "golden_official_size.npz"),
        json.loads((folder / "meta_official_size.json").read_text()),
    )
    nets = {}
    for name in ("unet", "control"):
        build, shapes, names, _ = OFFICIAL[name]
        state = weights(part(shared, name), PREFIXES.get(name, ""))
        state = state_of(Path(name), state, name, shapes, names)  # the others are let go, for the memory
        nets[name] = build(SD2_UNET, state)
        del state
    x, condition = normal(101, 1, 4, 64, 64, dtype=torch.float32), normal(102, 1, 4, 64, 64, dtype=torch.float32)
    text, time = normal(103, 1, 77, 1024, dtype=torch.float32), torch.tensor([500])
    options: dict[str, Any] = {"encoder_hidden_states": text, "return_dict": False}
    across, middle = nets["control"](x, time, controlnet_cond=condition, **options)
    for found, told in zip((*across, middle), meta["control"], strict=True):
        assert list(found.shape) == told["shape"]
        assert [float(found.mean()), float(found.std()), float(found[0, 3, 0, 0])] == pytest.approx(
            [told["mean"], told["std"], told["at_0_3_0_0"]], abs=5e-5
        )
    near(nets["unet"](x, time, **options)[0][:, :, 24:40, 24:40], golden["eps_plain_crop"])
    near(controlled(nets["unet"], nets["control"], x, 500, text, condition), golden["eps"])


def test_what_is_not_used_is_not_asked_for(shared: Path) -> None:
    """A file without the last layer of the text encoder, and without what maps a text beside images, is whole."""
    keys = [key for key in part(shared, "text") if TEXT_NAMES(key)]
    assert not [key for key in keys if "resblocks.23." in key or key in ("text_projection", "logit_scale")]
    assert {target for key in keys for target in TEXT_NAMES(key)} == set(text_shapes(SD2_TEXT))
    assert set(NAMES) == {"unet", "control", "vae"}

"""StableSR's own modules, in networks of the package diffusers: layouts of the official files, and golden values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.pulse.recipe import image, normal
from torch import Tensor

from ida_rd.models.latent.checkpoint import state_of
from ida_rd.models.latent.parts import Part, missing_of, taken
from ida_rd.models.stablesr.config import StructureConfig
from ida_rd.upscale.stablesr.layout import CFW, SIZES, Sizes, parts_of

pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")

import diffbirs
from stablesrs import MAIN, TINY, golden, keys, main_state, tiny

from ida_rd.models.latent.networks import autoencoder_of, decoded
from ida_rd.models.stablesr.fusion import encoded, fused_of
from ida_rd.models.stablesr.modulation import modulated_of
from ida_rd.models.stablesr.structure import structure_of

PARITY = pytest.mark.parity("ida_rd.models.stablesr.fusion", "ida_rd.models.stablesr.modulation")
# Numbers of each part of the official files.
COUNTS = {"unet": 918_930_884, "structure": 52_494_080, "autoencoder": 83_653_863, "fused": 128_047_591}


def single(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape, dtype=torch.float32)


def near(mine: Tensor, golden: Any) -> None:
    np.testing.assert_allclose(mine.numpy(), golden, rtol=0, atol=5e-5)


def official(name: str) -> Part:
    return parts_of(SIZES, CFW if name == "fused" else MAIN)[name]


def part_keys(shared: Path, name: str) -> dict[str, list[int]]:
    part, found = official(name), keys(shared)["cfw" if name == "fused" else "main"]
    return {within: shape for key, shape in found.items() if (within := part.of(key)) is not None}


@pytest.mark.parametrize("name", COUNTS)
def test_names_of_the_official_files_are_those_of_the_layout(shared: Path, name: str) -> None:
    """Every tensor of a part has its place, and every place its tensor: of the same numbers."""
    part, found = official(name), part_keys(shared, name)
    assert sum(int(np.prod(shape)) for shape in found.values()) == COUNTS[name]
    placed = {}
    for key, shape in found.items():
        (target,) = part.names(key)
        assert np.prod(part.shapes[target]) == np.prod(shape)
        placed[target] = shape
    assert len(placed) == len(found)
    assert placed.keys() == part.shapes.keys()
    told = [key for key in found if "spade" in key or "fusion_layer" in key or name == "structure"]
    assert len(told) == {"unet": 176, "structure": 200, "autoencoder": 0, "fused": 156}[name]
    for key in told:
        assert part.shapes[part.names(key)[0]] == tuple(found[key])


@pytest.mark.parametrize("name", ["unet", "structure", "fused"])
@pytest.mark.parametrize("sizes", [TINY, SIZES], ids=["tiny", "official"])
def test_the_layout_that_is_known_without_torch_is_that_of_the_network(name: str, sizes: Sizes) -> None:
    """None of them takes memory."""
    part = parts_of(sizes, CFW if name == "fused" else MAIN)[name]
    hollow = {key: torch.empty(shape, device="meta") for key, shape in part.shapes.items()}
    builds: dict[str, Any] = {
        "unet": lambda config, state: modulated_of(config, sizes.structure.outside, state),
        "structure": structure_of,
        "fused": fused_of,
    }
    net = builds[name](part.config, hollow)
    assert sum(value.numel() for value in net.state_dict().values()) == sum(value.numel() for value in hollow.values())
    for key in hollow:
        with pytest.raises((RuntimeError, KeyError)):
            builds[name](part.config, {other: value for other, value in hollow.items() if other != key})
        break
    with pytest.raises(ValueError, match="groups"):
        StructureConfig(4, (48, 48), (0,), 32)


@PARITY
@torch.inference_mode()
def test_maps_and_the_noise_with_them_equal_the_golden_ones(shared: Path) -> None:
    found, nets = golden(shared, "tiny_modules"), tiny(shared)
    x, latent, text = single(1, 2, 4, 16, 24), single(2, 2, 4, 16, 24), single(3, 2, 77, 32)
    times = torch.tensor([999, 20])
    maps = nets.structure(latent, times)
    assert sorted(maps) == [3, 6, 12, 24]
    for width, one in maps.items():
        near(one[1:], found[f"struct_{width}"])
    near(nets.unet(x, times, text, maps), found["eps"])
    shared_maps = nets.structure(latent[:1], times[:1])  # of one latent, for two samples
    both = nets.unet(x[:1].expand(2, -1, -1, -1), times[:1], text[:1], shared_maps)
    near(both, np.repeat(found["eps"][:1], 2, axis=0))
    with pytest.raises(KeyError):  # no maps are left from the call before
        nets.unet(x, times, text, {})


@PARITY
@torch.inference_mode()
def test_latents_features_and_images_equal_the_golden_ones(shared: Path) -> None:
    found, nets = golden(shared, "tiny_modules"), tiny(shared)
    picture = torch.from_numpy(2 * image(96, 128, 5)[None].astype(np.float32) / 255 - 1)
    mean, log_variance, features = nets.fused.encode(picture)
    near(torch.cat([mean, log_variance], 1), found["cfw_moments"])
    near(features[1][:, :8], found["cfw_fea0_ch0_8"])
    near(features[2][:, :16], found["cfw_fea1_ch0_16"])
    latent = single(4, 1, 4, 12, 16)
    for weight in (0.0, 0.5, 1.0):
        near(nets.fused.decode(latent, features, weight)[:, :, :48], found[f"cfw_decode_w{weight}"])
    near(decoded(nets.fused.autoencoder, latent)[:, :, :48], found["cfw_decode_w0.0"])  # nothing is left in it
    mean, log_variance, features = encoded(nets.autoencoder, picture)
    assert not features
    near(torch.cat([mean, log_variance], 1), found["vae_moments"])
    part = parts_of(TINY, MAIN)["autoencoder"]
    state = state_of(Path("a"), taken(part, dict(main_state(shared))), part.what, part.shapes, part.names)
    near(decoded(autoencoder_of(part.config, state), latent)[:, :, :32], found["vae_decode_rows0_32"])


def test_parts_of_a_file_are_told_apart() -> None:
    """Each by what its names begin with; what is taken out of a file's tensors is not there any more."""
    one = Part("one", ("a.",), None, {"x": (1,), "y": (2,)})
    two = Part("two", ("b.", "c."), None, {"b.x": (1,), "c.x": (1,)})
    assert missing_of(["a.x", "a.y", "b.x", "c.x", "d"], [one, two]) is None
    assert missing_of(["a.x", "b.x", "c.x"], [one, two]) == "one (a....) is not whole: y"
    assert missing_of(["a.x", "a.y", "b.x"], [one, two]) == "two is not whole: c.x"
    many = Part("many", ("a.",), None, {f"{i}": (1,) for i in range(9)})
    assert missing_of([], [many]) == "many (a....) is not whole: 0, 1, 2, 3 and 5 more"
    tensors = {name: torch.zeros(1) for name in ("a.x", "a.y", "b.x")}
    assert list(taken(one, tensors)) == ["x", "y"]
    assert list(tensors) == ["b.x"]


@pytest.mark.slow
@PARITY
@torch.inference_mode()
def test_networks_of_the_official_size_equal_the_golden_ones(shared: Path) -> None:
    """971 million parameters: takes 7 GB and a minute."""
    found = golden(shared, "official_size")
    told = json.loads((shared / "golden" / "stablesr" / "meta_official_size.json").read_text())
    nets: dict[str, Any] = {}
    for name in ("structure", "unet"):
        part = official(name)
        state = {}
        for key, shape in part_keys(shared, name).items():  # one by one, for the memory
            one = diffbirs.weights({key: shape}, part.prefixes[0])
            (target,) = part.names(key)
            state[target] = one[key].reshape(part.shapes[target])
        nets[name] = structure_of(part.config, state) if name == "structure" else modulated_of(part.config, 256, state)
        del state
    x, latent, text = single(101, 1, 4, 64, 64), single(102, 1, 4, 64, 64), single(103, 1, 77, 1024)
    maps = nets["structure"](latent, torch.tensor([500]))
    for width, one in maps.items():
        figures = told["struct"][str(width)]
        assert [float(one.mean()), float(one.std())] == pytest.approx([figures["mean"], figures["std"]], abs=5e-5)
    near(maps[8][:, :16], found["struct_8_ch0_16"])
    crop = maps[64][:, :4]
    golden_crop = torch.from_numpy(found["struct_64_ch0_4_crop"])
    assert (
        min(float((crop[:, :, i : i + 16, j : j + 16] - golden_crop).abs().max()) for i in range(49) for j in range(49))
        <= 5e-5
    ), "SPEC does not say where the crop is"
    near(nets["unet"](x, torch.tensor([500]), text, maps), found["eps"])

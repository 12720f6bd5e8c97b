"""The generator of StyleGAN: the published layout, golden values, and what its layers are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import HERE, KEYS, mapping, meta, noise_maps, normal, synthesis
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ida_rd.models.stylegan.config import SynthesisConfig, official_channels
from ida_rd.models.stylegan.layers import Blur, Epilogue, UpConv, fold
from ida_rd.models.stylegan.network import Mapping, Synthesis

PARITY = pytest.mark.parity("ida_rd.models.stylegan.network", "ida_rd.models.stylegan.layers")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
F32, F64 = 2e-4, 2e-6  # the golden arrays are stored in float32
META = meta("generator")


def near(mine: Tensor, golden: Any, dtype: torch.dtype) -> None:
    atol = F32 if dtype == torch.float32 else F64
    np.testing.assert_allclose(mine.double().numpy(), golden, rtol=0, atol=atol)


def statistics_near(mine: Tensor, golden: dict[str, Any], dtype: torch.dtype) -> None:
    """The statistics that the golden files have of an array: in float64 they are golden to ten digits."""
    x = mine.double()
    found = {"mean": x.mean(), "std": x.std(correction=0), "min": x.min(), "max": x.max()}
    assert list(mine.shape) == golden["shape"]
    for name, value in found.items():
        atol = F32 if dtype == torch.float32 else 1e-9
        assert float(value) == pytest.approx(golden[name], rel=1e-4 if dtype == torch.float32 else 1e-9, abs=atol), name


@pytest.mark.parametrize("name", KEYS)
def test_keys_and_shapes_are_those_of_the_published_files(name: str) -> None:
    with torch.device("meta"):
        resolution = name.rpartition("_")[2]
        net = Mapping() if name == "G_mapping" else Synthesis(SynthesisConfig(official_channels(int(resolution))))
    assert {key: list(value.shape) for key, value in net.state_dict().items()} == KEYS[name]


@DTYPES
def test_the_mapping_network_equals_the_golden_one(dtype: torch.dtype) -> None:
    net = mapping(dtype)
    out = net(normal(100, 4, 512, dtype=dtype))
    near(out, np.load(HERE / "mapping.npz")["out"], dtype)
    statistics_near(out, META["mapping"]["out"], dtype)
    before = F.leaky_relu(out.double(), 5)
    assert float(before.std()) == pytest.approx(META["mapping"]["leaky5_std"], rel=1e-5)
    fold(net)
    near(net(normal(100, 4, 512, dtype=dtype)), out.double(), dtype)


@PARITY
@DTYPES
@pytest.mark.parametrize(("resolution", "batch", "seed"), [(64, 2, 264), (256, 1, 456)])
def test_the_synthesis_network_equals_the_golden_one(
    resolution: int, batch: int, seed: int, dtype: torch.dtype
) -> None:
    """Every block by its statistics, and the image; the network that is not folded, and the one that is."""
    net, golden = synthesis(resolution, dtype), META[f"synth_{resolution}"]
    styles = normal(seed, batch, net.config.layers, 512, dtype=dtype)
    noise = noise_maps(net.config, 1000 * resolution, batch, dtype)
    seen: dict[str, Tensor] = {}
    for name, block in net.blocks.items():
        block.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    out = net(styles, noise)
    assert list(seen) == list(golden["blocks"])
    for name, block_golden in golden["blocks"].items():
        x, half = seen[name], seen[name].shape[-1] // 2
        statistics_near(x, block_golden, dtype)
        near(x[0, :4, 0, 0], block_golden["corner"], dtype)
        near(x[0, :4, half, half], block_golden["centre"], dtype)
    statistics_near(out, golden["out"], dtype)
    stored = np.load(HERE / f"synthesis_{resolution}.npz")
    if resolution == 64:
        near(out, stored["full"], dtype)
    else:
        near(F.avg_pool2d(out, 4), stored["pooled4"], dtype)
        near(out[:, :, 96:160, 96:160], stored["crop"], dtype)
        near(out[:, :, :32, :32], stored["topleft"], dtype)
    fold(net)
    near(net(styles, noise), out.double(), dtype)


@pytest.mark.slow
@PARITY
def test_the_full_network_and_its_gradients_equal_the_golden_ones(shared: Path) -> None:
    net, golden = synthesis(1024, torch.float32), META["synth_1024"]
    styles = normal(300, 1, 18, 512, dtype=torch.float32).requires_grad_()
    noise: list[Tensor] = [m.requires_grad_() for m in noise_maps(net.config, 3000, 1, torch.float32)]
    out = net(styles, noise)
    stored = np.load(shared / "golden" / "pulse" / "synthesis_1024.npz")
    near(F.avg_pool2d(out, 16).detach(), stored["pooled16"], torch.float32)
    near(out[:, :, 480:544, 480:544].detach(), stored["crop"], torch.float32)
    near(out[:, :, :32, :32].detach(), stored["topleft"], torch.float32)
    statistics_near(out.detach(), golden["out"], torch.float32)
    out.square().mean().backward()
    expected = golden["grad_mean_sq"]
    for name, value in (("latent", styles), ("noise0", noise[0]), ("noise4", noise[4])):
        assert value.grad is not None
        statistics_near(value.grad, expected[name], torch.float32)
    assert styles.grad is not None
    np.testing.assert_allclose(styles.grad[0].norm(dim=1), expected["latent_per_layer_norm"], rtol=2e-3)


# What the layers are made of, literally


@settings(max_examples=20)
@given(
    side=st.sampled_from([4, 5, 64]), channels=st.tuples(st.integers(1, 4), st.integers(1, 4)), seed=st.integers(0, 99)
)
def test_an_up_convolution_is_each_pixel_four_times_then_a_convolution(
    side: int, channels: tuple[int, int], seed: int
) -> None:
    """From 128 on, with the kernel rotated by 180 degrees; the bias comes after the blur."""
    layer = UpConv(*channels, 2 * side).double()
    assert layer.rotated == (side == 64)
    with torch.no_grad():
        layer.bias.copy_(normal(seed, channels[1]))
    x = normal(seed + 1, 2, channels[0], side, side)
    kernel = layer.weight * (2 / (9 * channels[0])) ** 0.5
    kernel = kernel.flip(2, 3) if layer.rotated else kernel
    up = F.conv2d(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), kernel, padding=1)
    expected = Blur()(up) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    fold(layer)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_a_blur_is_binomial_with_zeros_around() -> None:
    x = torch.zeros(1, 2, 4, 5)
    x[0, 1, 0, 2] = 16
    assert Blur()(x)[0].tolist()[1][:2] == [[0, 2, 4, 2, 0], [0, 1, 2, 1, 0]]
    assert not Blur()(x)[0, 0].any()


def test_an_epilogue_adds_noise_then_normalises_then_styles() -> None:
    layer = Epilogue(3, 7).double()
    with torch.no_grad():
        layer.noise.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
    x, style, noise = normal(1, 2, 3, 6, 6), normal(2, 2, 7), normal(3, 2, 1, 6, 6)
    y = x + torch.tensor([0.5, -1.0, 2.0])[:, None, None] * noise
    y = torch.where(y > 0, y, 0.2 * y)
    y = (y - y.mean((2, 3), keepdim=True)) / (y.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    s = style @ layer.style_mod.lin.weight.T / 7**0.5 + layer.style_mod.lin.bias
    expected = y * (s[:, :3, None, None] + 1) + s[:, 3:, None, None]
    torch.testing.assert_close(layer(x, style, noise), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x, style, None), layer(x, style, torch.zeros_like(noise)), rtol=0, atol=0)


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_any_resolution_makes_its_image(resolution: int) -> None:
    net = synthesis(resolution, channels=(6, 5, 4, 3)[: int(np.log2(resolution)) - 1], latent=8)
    config = net.config
    assert config.resolution == resolution
    out = net(normal(1, 2, config.layers, 8), noise_maps(config, 2, 2, torch.float64))
    assert out.shape == (2, 3, resolution, resolution)
    assert config.side(0) == 4
    assert config.side(config.layers - 1) == resolution

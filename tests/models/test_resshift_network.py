"""ResShift's networks: the layout of the published files, golden values, the schedule, and what layers are made of."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import normal
from golden.resshift.recipe import (
    HERE,
    KEYS,
    META,
    SCHEDULES,
    TINY,
    TINY_AUTOENCODER,
    autoencoder,
    digest,
    images,
    unet,
    weights,
)
from torch import Tensor, nn

from ida_rd.models.resshift.autoencoder import Autoencoder
from ida_rd.models.resshift.autoencoder import _Attention as PixelAttention
from ida_rd.models.resshift.config import VARIANTS, AutoencoderConfig, UNetConfig
from ida_rd.models.resshift.layout import autoencoder_shapes, plain_name, unet_shapes
from ida_rd.models.resshift.network import UNet, embed
from ida_rd.models.resshift.schedule import Shifting, root_etas
from ida_rd.models.resshift.swin import MASKED, _Attention, masked_pairs, relative_index

PARITY = pytest.mark.parity(
    "ida_rd.models.resshift.network", "ida_rd.models.resshift.autoencoder", "ida_rd.models.resshift.schedule"
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
GOLDEN = np.load(HERE / "tiny.npz")
CPU = torch.device("cpu")


def near(mine: Tensor, golden: Any, dtype: torch.dtype) -> None:
    np.testing.assert_allclose(mine.double().numpy(), golden, rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-5)


def found(net: UNet, x: Tensor, lr: Tensor, *steps: int) -> Tensor:
    return net(x, torch.tensor(steps), lr)


def traced_near(net: nn.Module, trace: dict[str, Any], run: Any, dtype: torch.dtype) -> Tensor:
    """Mean, standard deviation, first and last number of each layer's output, as the golden files have them."""
    seen: dict[str, Tensor] = {}
    modules = {name: module for name, module in net.named_modules() if not isinstance(module, nn.ModuleList)}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.double()}))
        for name, module in modules.items()
        if name in trace
    ]
    out = run()
    for hook in hooks:
        hook.remove()
    # What ends an entry of the U-Net is the entry's output.
    assert {*seen, "out"} == {name for name in trace if name in modules} | {"out"}
    assert len(seen) > 10
    for name, x in seen.items():
        mine = [x.mean(), x.std(correction=0), x.ravel()[0], x.ravel()[-1]]
        atol = 1e-9 if dtype == torch.float64 else 2e-5
        np.testing.assert_allclose([float(one) for one in mine], trace[name][:4], rtol=0, atol=atol, err_msg=name)
    return out


@pytest.mark.parametrize("name", ["unet", "autoencoder", "tiny_unet", "tiny_autoencoder"])
def test_tensors_are_those_of_the_published_files(name: str) -> None:
    """Without the buffers; and the layout that is known without torch is the network's."""
    published, tiny = (UNetConfig(), AutoencoderConfig()), (TINY, TINY_AUTOENCODER)
    config = (tiny if name.startswith("tiny") else published)[name.endswith("autoencoder")]
    with torch.device("meta"):
        net = UNet(config) if isinstance(config, UNetConfig) else Autoencoder(config)
    mine = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert mine == {key: shape for key, shape in KEYS[name].items() if plain_name(key)}
    shapes = unet_shapes(config) if isinstance(config, UNetConfig) else autoencoder_shapes(config)
    assert {key: list(shape) for key, shape in shapes.items()} == mine
    if not name.startswith("tiny"):
        count = META["official"]["unet_params" if name == "unet" else "ae_params"]
        assert sum(value.numel() for value in net.state_dict().values()) == count


def test_what_comes_before_names_and_the_buffers_are_left_out() -> None:
    name = "middle_block.1.blocks.1.attn.qkv.weight"
    for prefix in ("", "module.", "_orig_mod.", "module._orig_mod."):
        assert plain_name(prefix + name) == name
        assert plain_name(f"{prefix}input_blocks.1.1.blocks.1.attn_mask") is None
        assert plain_name(f"{prefix}input_blocks.1.1.blocks.1.attn.relative_position_index") is None


def test_layouts_are_known_without_torch() -> None:
    code = (
        "import sys; from ida_rd.models.resshift import checkpoint, config, layout, schedule;"
        "from ida_rd.upscale import resshift; layout.unet_shapes(config.UNetConfig());"
        "schedule.Shifting.of(config.VARIANTS['v1']); resshift.describe(resshift.Parameters(), 4);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Golden values


@PARITY
@DTYPES
@torch.inference_mode()
def test_the_unet_equals_the_golden_one(dtype: torch.dtype) -> None:
    net, trace = unet(dtype=dtype), META["tiny"]["trace_tiny_unet_sq"]
    x, lr = normal(201, 2, 3, 32, 32, dtype=dtype), images(32, 32, 101, 102, dtype=dtype)
    near(traced_near(net, trace, lambda: found(net, x, lr, 14, 3), dtype), GOLDEN["unet_sq"], dtype)
    wide = found(net, normal(202, 1, 3, 32, 64, dtype=dtype), images(32, 64, 103, dtype=dtype), 7)
    near(wide, GOLDEN["unet_32x64"], dtype)
    high = found(net, normal(203, 1, 3, 64, 32, dtype=dtype), images(64, 32, 104, dtype=dtype), 0)
    near(high, GOLDEN["unet_64x32"], dtype)


@PARITY
@DTYPES
@torch.inference_mode()
def test_the_autoencoder_equals_the_golden_one(dtype: torch.dtype) -> None:
    net, z = autoencoder(dtype=dtype), normal(204, 1, 3, 16, 12, dtype=dtype)
    near(net.encode(images(64, 48, 105, dtype=dtype)), GOLDEN["ae_enc"], dtype)
    assert net.quantize.nearest(z).flatten().tolist() == GOLDEN["ae_idx"].tolist()
    near(net.quantize(z), GOLDEN["ae_quant"], dtype)
    near(net.decode(z), GOLDEN["ae_dec"], dtype)
    near(net.decoder(net.post_quant_conv(z)), GOLDEN["ae_dec_noquant"], dtype)


@pytest.mark.slow
@PARITY
@DTYPES
@torch.inference_mode()
def test_the_unet_of_the_published_size_equals_the_golden_one(shared: Path, dtype: torch.dtype) -> None:
    golden, meta = np.load(shared / "golden" / "resshift" / "golden_official.npz"), META["official"]
    if dtype == torch.float32:
        state = weights(UNetConfig())
        assert {key: float(state[key].ravel()[0]) for key in meta["unet_probe"]} == meta["unet_probe"]
        del state
    net = unet(UNetConfig(), dtype)
    x, lr = normal(301, 1, 3, 64, 64, dtype=dtype), images(64, 64, 401, dtype=dtype)
    near(
        traced_near(net, meta["trace_unet_64x64"], lambda: found(net, x, lr, 7), dtype), golden["unet_64x64_t7"], dtype
    )
    wide = found(net, normal(302, 1, 3, 64, 128, dtype=dtype), images(64, 128, 402, dtype=dtype), 3)
    near(wide, golden["unet_64x128_t3"], dtype)
    unet.cache_clear()


@pytest.mark.slow
@PARITY
@DTYPES
@torch.inference_mode()
def test_the_autoencoder_of_the_published_size_equals_the_golden_one(shared: Path, dtype: torch.dtype) -> None:
    golden, meta = np.load(shared / "golden" / "resshift" / "golden_official.npz"), META["official"]
    if dtype == torch.float32:
        assert digest(weights(AutoencoderConfig())) == meta["ae_filled_sha256"]
    net, z = autoencoder(AutoencoderConfig(), dtype), normal(303, 1, 3, 64, 64, dtype=dtype)
    image = images(256, 256, 403, dtype=dtype)
    near(traced_near(net, meta["trace_enc"], lambda: net.encode(image), dtype), golden["enc_256"], dtype)
    assert net.quantize.nearest(z).flatten().tolist() == golden["quant_idx"].tolist()
    sr = traced_near(net, meta["trace_dec"], lambda: net.decode(z), dtype)
    near(F.avg_pool2d(sr, 4)[0], golden["dec_pooled4"], dtype)
    for name, part in {
        "dec_crop": sr[0, :, 96:160, 96:160], "dec_topleft": sr[0, :, :32, :32], "dec_bottomright": sr[0, :, -32:, -32:]
    }.items():  # fmt: skip
        near(part, golden[name], dtype)
    autoencoder.cache_clear()


@PARITY
@pytest.mark.parametrize(("variant", "key", "steps"), [("v1", "s15", (11, 2)), ("v3", "s4", (3, 0))])
@torch.inference_mode()
def test_the_loss_of_training_equals_the_golden_one(variant: str, key: str, steps: tuple[int, int]) -> None:
    """What a network is trained on is the chain's forward direction: a shift, and noise."""
    by, net, coder = Shifting.of(VARIANTS[variant]), unet(), autoencoder()
    lr, noise = images(32, 32, 101, 102), normal(7000, 2, 3, 32, 32)
    y = coder.encode(F.interpolate(lr, scale_factor=4, mode="bicubic", align_corners=False))
    clean = coder.encode(images(128, 128, 108, 109))
    x = torch.stack(
        [
            clean[i] + float(by.eta[t]) * (y[i] - clean[i]) + by.kappa * float(by.root[t]) * noise[i]
            for i, t in enumerate(steps)
        ]
    )
    near(x, GOLDEN[f"train_zt_{key}"], torch.float64)
    scaled = torch.stack([by.scaled(t, x[i]) for i, t in enumerate(steps)])
    error = (found(net, scaled, lr, *steps) - clean).square().flatten(1).mean(dim=1)
    np.testing.assert_allclose(error, GOLDEN[f"train_mse_{key}"], rtol=1e-6)


# The schedule


@pytest.mark.parametrize("name", ["realsr_v1_v2_s15", "realsr_v3_bicsr_s4"])
def test_schedules_equal_the_golden_ones(name: str) -> None:
    golden = SCHEDULES[name]
    given = golden["params"]
    variants = [one for one in VARIANTS.values() if one.steps == given["steps"]]
    assert {(one.least, one.kappa) for one in variants} == {(given["min_noise_level"], given["kappa"])}
    assert len(variants) == 2
    roots = root_etas(given["steps"], given["min_noise_level"], given["kappa"])
    np.testing.assert_allclose(roots, golden["sqrt_etas"], rtol=0, atol=2e-15)
    by = Shifting.of(variants[0])
    for mine, key in (
        (by.eta, "etas"),
        (by.root, "sqrt_etas"),
        (by.to_image, "posterior_mean_coef_x0"),
        (by.to_state, "posterior_mean_coef_xt"),
    ):
        assert mine.dtype == np.float32
        np.testing.assert_array_max_ulp(mine, np.asarray(golden[key], np.float32), maxulp=1)
    np.testing.assert_allclose(2 * np.log(by.spread), golden["posterior_log_variance_clipped"], rtol=1e-7)
    for t, divisor in enumerate(golden["input_scale_divisor"]):
        assert 1 / float(by.scaled(t, torch.ones(1).double())) == pytest.approx(divisor, rel=1e-7)


def test_the_last_step_gives_the_clean_image() -> None:
    by, x, image = Shifting.of(VARIANTS["v3"]), torch.tensor([3.0]), torch.tensor([0.25])
    assert torch.equal(by.mean(0, x, image), image)
    assert not torch.equal(by.mean(1, x, image), image)


# What layers are made of


def test_cosines_of_a_step_come_first() -> None:
    given = embed(torch.tensor([0.0, 3.0]).double(), 8)
    rates = 10_000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(given[0], [1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(given[1], [*np.cos(3 * rates), *np.sin(3 * rates)], rtol=1e-12)


def test_the_mask_is_the_wrong_one_that_weights_were_trained_with() -> None:
    """In the last row of windows alone, and by columns alone: not that of Swin's definition."""
    golden = GOLDEN["mask_16x24"]
    assert not golden[:3].any()
    for window in golden[3:]:
        assert np.array_equal(window, masked_pairs(CPU).numpy())


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("height", "width"), [(16, 24), (8, 16)])
def test_windows_attend_as_written_out(height: int, width: int, shifted: bool) -> None:
    """Window by window: what each token sees, and with which bias."""
    torch.manual_seed(0)
    i, j = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    row, column = i // 8 - j // 8 + 7, i % 8 - j % 8 + 7
    layer, x = _Attention(8, 2, shifted).double(), normal(5, 1, 8, height, width)
    nn.init.normal_(layer.relative_position_bias_table)
    shift = 4 if shifted else 0
    rolled = x[0].permute(1, 2, 0).roll((-shift, -shift), (0, 1))
    expected = torch.empty_like(rolled)
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            window = rolled[top : top + 8, left : left + 8].reshape(64, 8)
            q, k, v = (part.view(64, 2, 4) for part in layer.qkv(window).chunk(3, dim=1))
            logits = torch.einsum("ihd,jhd->hij", q, k) / 2
            logits = logits + layer.relative_position_bias_table[15 * row + column].permute(2, 0, 1)
            if shifted and top == height - 8:
                logits = logits + MASKED * ((i % 8 < 4) != (j % 8 < 4))
            mixed = torch.einsum("hij,jhd->ihd", logits.softmax(-1), v).reshape(64, 8)
            expected[top : top + 8, left : left + 8] = layer.proj(mixed).view(8, 8, 8)
    expected = expected.roll((shift, shift), (0, 1)).permute(2, 0, 1)
    torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)
    assert relative_index(CPU)[0, 0] == 112


def test_attention_of_the_autoencoder_is_a_softmax_over_all_pixels() -> None:
    torch.manual_seed(0)
    layer, x = PixelAttention(32).double(), normal(5, 2, 32, 3, 5)
    normed = layer.norm(x)
    q, k, v = (one(normed).flatten(2) for one in (layer.q, layer.k, layer.v))
    weight = (torch.einsum("bci,bcj->bij", q, k) / 32**0.5).softmax(dim=-1)
    expected = x + layer.proj_out(torch.einsum("bij,bcj->bci", weight, v).view(x.shape))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_one_image_and_one_step_are_those_of_all_latents() -> None:
    net, x, lr = unet(), normal(6, 2, 3, 32, 32), images(32, 32, 7)
    torch.testing.assert_close(found(net, x, lr, 2), found(net, x, lr.repeat(2, 1, 1, 1), 2, 2), rtol=0, atol=1e-12)


def test_the_nearest_code_is_the_first_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is found in parts, whatever their size."""
    net = deepcopy(autoencoder())
    net.quantize.embedding.weight[200] = net.quantize.embedding.weight[3]
    z = net.quantize.embedding.weight[[200, 3, 7]].T.reshape(1, 3, 1, 3).clone()
    assert net.quantize.nearest(z).flatten().tolist() == [3, 3, 7]
    many = normal(8, 2, 3, 5, 7)
    whole = net.quantize.nearest(many)
    distance = (many.permute(0, 2, 3, 1)[..., None, :] - net.quantize.embedding.weight).square().sum(-1)
    assert torch.equal(whole, distance.argmin(-1))
    monkeypatch.setattr("ida_rd.models.resshift.autoencoder.PIXELS", 4)
    assert torch.equal(net.quantize.nearest(many), whole)


def test_a_latent_that_is_not_finite_gives_no_image() -> None:
    """The nearest code of what is no number would be some code."""
    net, z = autoencoder(), normal(9, 2, 3, 4, 4)
    z[1, 0, 2, 2] = float("nan")
    sr = net.decode(z)
    assert torch.isfinite(sr[0]).all()
    assert not torch.isfinite(sr[1]).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": 0}, "whole numbers of 1 or more"),
        ({"multipliers": ()}, "whole numbers of 1 or more"),
        ({"blocks": 2.0}, "whole numbers of 1 or more"),
        ({"multipliers": (1,) * 20}, "a network of that size is none"),
        ({"multipliers": (1, 10**6)}, "a network of that size is none"),
        ({"ratio": 10**6}, "a network of that size is none"),
        ({"base": 48}, "not multiples of its 32 groups"),
        ({"head": 40}, "its width is no multiple of its groups and heads"),
    ],
)
def test_a_shape_that_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig.from_dict(UNetConfig().as_dict() | wrong)


def test_an_autoencoder_is_of_factor_four() -> None:
    assert AutoencoderConfig.from_dict(TINY_AUTOENCODER.as_dict()) == TINY_AUTOENCODER
    with pytest.raises(ValueError, match="its latents are not 4 times smaller"):
        AutoencoderConfig(multipliers=(1, 2))

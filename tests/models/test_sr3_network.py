"""SR3's network: the layout of the public files, golden values, schedules, and what its layers are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import normal
from golden.sr3.recipe import (
    CONFIGS,
    HERE,
    KEYS,
    META,
    SCHEDULES,
    TINY,
    TINY_BETAS,
    condition,
    digest,
    network,
    weights,
)
from torch import Tensor

from ida_rd.models.sr3.config import COMPACT, SR3Config, Trained
from ida_rd.models.sr3.layout import BUFFERS, plain_name, shapes_of
from ida_rd.models.sr3.network import SR3Net, _Attention, embed
from ida_rd.models.sr3.schedule import SCHEDULES as NAMES
from ida_rd.models.sr3.schedule import betas_of, kept_of, levels_of, scaled_ends
from ida_rd.training.sr3 import denoising_loss

PARITY = pytest.mark.parity("ida_rd.models.sr3.network", "ida_rd.models.sr3.schedule")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
NET = np.load(HERE / "tiny.npz")


def near(mine: Tensor, golden: Any, dtype: torch.dtype) -> None:
    np.testing.assert_allclose(mine.double().numpy(), golden, rtol=0, atol=2e-6 if dtype == torch.float64 else 1e-5)


def found(net: SR3Net, images: Tensor, *levels: float) -> Tensor:
    level = torch.tensor(levels, dtype=torch.float32).to(images)
    return net(images[:, :3], images[:, 3:], level)


def traced_near(net: SR3Net, trace: dict[str, Any], run: Any, dtype: torch.dtype) -> Tensor:
    """Mean, standard deviation, first and last number of every entry's output, as the golden files have them."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.double()}))
        for name, module in net.named_modules()
        if name in trace
    ]
    out = run()
    for hook in hooks:
        hook.remove()
    assert seen.keys() == trace.keys()
    for name, (mean, spread, first, last, *shape) in trace.items():
        x = seen[name]
        assert x.shape[-1] == shape[-1], name
        mine = [x.mean(), x.std(correction=0), x.ravel()[0], x.ravel()[-1]]
        atol = 1e-9 if dtype == torch.float64 else 1e-5
        np.testing.assert_allclose(
            [float(value) for value in mine], [mean, spread, first, last], rtol=0, atol=atol, err_msg=name
        )
    return out


@pytest.mark.parametrize("name", CONFIGS)
def test_tensors_are_those_of_the_public_files(name: str) -> None:
    """In their order too; and the layout that is known without torch is the network's."""
    with torch.device("meta"):
        net = SR3Net(CONFIGS[name])
    mine = {f"denoise_fn.{key}": list(value.shape) for key, value in net.state_dict().items()}
    assert list(mine.items()) == list(KEYS[name].items())
    assert {f"denoise_fn.{key}": list(shape) for key, shape in shapes_of(CONFIGS[name]).items()} == mine
    assert sum(value.numel() for value in net.state_dict().values()) == META["params"][name]


def test_what_comes_before_names_and_the_buffers_of_a_schedule_are_left_out() -> None:
    assert set(KEYS["schedule_buffers_2000"]) == BUFFERS
    assert {plain_name(name) for name in BUFFERS} == {None}
    names = {plain_name(f"{prefix}mid.0.attn.qkv.weight") for prefix in ("", "denoise_fn.", "module.denoise_fn.")}
    assert names == {"mid.0.attn.qkv.weight"}


def test_the_compact_network_is_of_four_million() -> None:
    assert sum(int(np.prod(shape)) for shape in shapes_of(COMPACT).values()) == 3_989_299
    assert [key for key in shapes_of(COMPACT) if "attn.qkv" in key] == ["mid.0.attn.qkv.weight"]


def test_layout_and_schedules_are_known_without_torch() -> None:
    code = (
        "import sys; from ida_rd.models.sr3 import checkpoint, config, layout; from ida_rd.upscale import sr3;"
        "layout.shapes_of(config.COMPACT); sr3.Parameters(path='x').betas(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@PARITY
@DTYPES
def test_the_network_equals_the_golden_one(dtype: torch.dtype) -> None:
    net = network(TINY.config, dtype)
    square = normal(801, 2, 6, 32, 32, dtype=dtype)
    near(traced_near(net, META["trace_tiny"], lambda: found(net, square, 0.9, 0.25), dtype), NET["unet_sq"], dtype)
    near(found(net, normal(802, 1, 6, 24, 40, dtype=dtype), 0.6), NET["unet_24x40"], dtype)
    levels = torch.tensor([0.9, 0.25]).to(dtype)
    near(embed(levels, TINY.config.base), NET["posenc"][:, 0], dtype)


@pytest.mark.slow
@PARITY
@DTYPES
@pytest.mark.parametrize("name", ["16_128", "64_512", "x4_64_256_same_net"])
def test_networks_of_the_public_sizes_equal_the_golden_ones(shared: Path, name: str, dtype: torch.dtype) -> None:
    golden, meta = np.load(shared / "golden" / "sr3" / "golden_official.npz"), META[f"off_{name}"]
    if dtype == torch.float32:
        state = weights(CONFIGS[name])
        assert digest(state) == meta["filled_sha256"]
        del state
    net = network(CONFIGS[name], dtype)
    images = normal(810, 1, 6, *meta["size"], dtype=dtype)
    out = traced_near(net, meta["trace"], lambda: found(net, images, meta["level"]), dtype)[0]
    near(F.avg_pool2d(out[None], 4)[0], golden[f"{name}_pooled4"], dtype)
    near(out[:, 16:48, 16:48], golden[f"{name}_crop"], dtype)
    near(out[:, :16, :16], golden[f"{name}_tl"], dtype)
    near(out[:, -16:, -16:], golden[f"{name}_br"], dtype)


@PARITY
def test_the_loss_of_training_equals_the_golden_one() -> None:
    """That of one batch, whose levels the reference drew between two of the schedule."""
    levels = levels_of(TINY_BETAS)
    random = np.random.RandomState(3)
    t = random.randint(1, 21)
    assert t == META["train_rng_t"]
    drawn = torch.from_numpy(random.uniform(levels[t - 1], levels[t], 2).astype(np.float32)).double()
    hr, lr = condition(903, 904), condition(901, 902)
    loss = denoising_loss(network(TINY.config), lr, hr, normal(951, 2, 3, 32, 32), drawn)
    assert float(loss) * hr.numel() == pytest.approx(META["train_l1_sum_seed3"], rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [20, 100])
def test_schedules_equal_the_golden_ones(name: str, steps: int) -> None:
    golden = SCHEDULES[f"betas_{name}_{steps}_1e-4_2e-2"]
    np.testing.assert_allclose(betas_of(name, steps, 1e-4, 2e-2), golden, rtol=0, atol=2e-16)


def test_fewer_steps_end_in_as_much_noise() -> None:
    assert scaled_ends(2000) == (1e-6, 1e-2)
    assert scaled_ends(100) == pytest.approx((2e-5, 0.2))
    assert kept_of(betas_of("linear", 2000, 1e-6, 1e-2))[-1] == pytest.approx(4.386e-5, rel=1e-3)
    assert kept_of(betas_of("linear", 100, 2e-5, 0.2))[-1] == pytest.approx(2.1e-5, rel=0.03)
    with pytest.raises(ValueError, match="no schedule is called 'lin'"):
        betas_of("lin", 10, 1e-4, 1e-2)


def test_attention_is_a_softmax_over_all_pixels() -> None:
    torch.manual_seed(0)
    layer, x = _Attention(8, 4).double(), normal(5, 2, 8, 3, 5)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)
    weight = (torch.einsum("bci,bcj->bij", q, k) / 8**0.5).softmax(dim=-1)
    expected = layer.out(torch.einsum("bij,bcj->bci", weight, v).view(x.shape)) + x
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_one_condition_and_one_level_are_those_of_all_images() -> None:
    net = network(TINY.config)
    x, given = normal(6, 2, 3, 16, 16), normal(7, 1, 3, 16, 16)
    one, two = torch.tensor([0.5]).double(), torch.tensor([0.5, 0.5]).double()
    torch.testing.assert_close(net(given, x, one), net(given.repeat(2, 1, 1, 1), x, two), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"base": 0}, "whole numbers of 1 or more"),
        ({"multipliers": ()}, "whole numbers of 1 or more"),
        ({"multipliers": (1,) * 20}, "a network of that size is none"),
        ({"multipliers": (1, 10**6)}, "a network of that size is none"),
        ({"groups": 48}, "not multiples of its 48 groups"),
        ({"attention": (7,)}, "attention at a level that is not there"),
    ],
)
def test_a_shape_that_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SR3Config(**wrong)


def test_what_a_network_was_trained_on_is_written_and_read() -> None:
    for trained in (TINY, Trained(COMPACT, 4, ("bicubic", "bilinear"))):
        assert Trained.from_dict(trained.as_dict()) == trained
    wrong: list[dict[str, Any]] = [{"factor": "4"}, {"factor": 1}, {"filters": []}, {"filters": [1]}, {"depth": 3}]
    wrong.append({"filters": "bicubic"})  # one filter, and not seven: it would be called blind
    for odd in wrong:
        with pytest.raises((TypeError, ValueError)):
            Trained.from_dict(TINY.as_dict() | odd)

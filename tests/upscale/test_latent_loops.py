"""Samplers of latent diffusion against whole golden loops, with given noise, through tiny networks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from golden.latent.network import HERE, control, structure, unet
from golden.pulse.recipe import normal
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import Draw
from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.ddim import DDIM
from ida_rd.upscale.diffusion.guidance import guided, rising
from ida_rd.upscale.diffusion.sampler import Network, Prediction, Sampler
from ida_rd.upscale.diffusion.samplers import Name, sampler_of
from ida_rd.upscale.diffusion.schedule import evenly_spaced, scaled_linear, zero_terminal
from ida_rd.upscale.diffusion.spaced import Spaced
from ida_rd.upscale.diffusion.start import towards
from ida_rd.upscale.diffusion.tiles import Window, tiled

PARITY = pytest.mark.parity(
    "ida_rd.upscale.diffusion.samplers",
    "ida_rd.upscale.diffusion.guidance",
    "ida_rd.upscale.diffusion.schedule",
    "ida_rd.upscale.diffusion.start",
    "ida_rd.upscale.diffusion.tiles",
)
DIFFBIR, STABLESR = (dict(np.load(HERE / f"{model}.npz")) for model in ("diffbir", "stablesr"))
LOOPS = {model: json.loads((HERE / f"{model}.json").read_text()) for model in ("diffbir", "stablesr")}
KEPT = scaled_linear()
TILES = (16, 12)
SLOW = pytest.mark.slow


class Given(Draw):
    """The noise that the golden loops were given: number 0 at the start, then one more for each step."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        number = 0 if label == "start" else int(label.removeprefix("step ")) + 1
        return normal(self.seed + number, *shape, dtype=torch.float32).numpy()


def single(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape, dtype=torch.float32)


def taken(sampler: Sampler, network: Network, base: int, shape: tuple[int, ...], start: Tensor | None = None) -> Tensor:
    """The end of a loop; where its start is given, no noise is drawn for it."""
    noise = Noise([Given(base if start is None else base - 1, "", 0)], torch.device("cpu"))
    state = sampler.begin(noise.start(shape) if start is None else start)
    for number in range(sampler.steps):
        state = sampler.step(number, state, network, noise)
    return state.x


def near(found: Tensor, golden: Any, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(found.double().numpy(), golden, rtol=0, atol=atol)


def diffbir(row: int, tiles: tuple[int, int] | None = None) -> Network:
    """With the golden condition, and the prompt of a row."""
    context, condition = torch.from_numpy(DIFFBIR["clip_out"][row : row + 1]), torch.from_numpy(DIFFBIR["cond_latent"])

    def network(x: Tensor, time: float) -> Tensor:
        def one(part: Tensor, window: Window) -> Tensor:
            at = torch.tensor([time])
            return unet(part, at, context, control(part, at, context, window.of(condition)))

        return tiled(one, x, *tiles) if tiles else one(x, Window(0, 0, *x.shape[2:]))

    return network


def stablesr(context: Tensor, latent: Tensor, tiles: tuple[int, int]) -> Network:
    """With the latent of an LR image; the structure encoder runs per tile."""

    def network(x: Tensor, time: float) -> Tensor:
        def one(part: Tensor, window: Window) -> Tensor:
            at = torch.tensor([time])
            return unet(part, at, context, maps=structure(window.of(latent), at))

        return tiled(one, x, *tiles)

    return network


@PARITY
@torch.inference_mode()
def test_the_tiny_networks_are_the_golden_ones() -> None:
    x, other, context, times = (
        single(1, 2, 4, 16, 24),
        single(2, 2, 4, 16, 24),
        single(3, 2, 77, 32),
        torch.tensor([999, 20]),
    )
    near(unet(x, times, context, control(x, times, context, other)), DIFFBIR["eps_control"], 1e-5)
    near(unet(x, times, context, maps=structure(other, times)), STABLESR["eps"], 1e-5)


@PARITY
@pytest.mark.parametrize(
    ("loop", "name", "atol"),
    [
        ("spaced5_cfg1", "spaced", 1e-3),
        ("spaced5_cfg4", "spaced", 1e-3),
        ("spaced5_cfg4_rescale", "spaced", 1e-3),
        ("ddim5_cfg4", "ddim", 1e-3),
        ("spaced5_v_zsnr_cfg4", "spaced", 1e-3),
        ("edm3msde10_v_zsnr_cfg8", "dpm++_3m_sde", 1e-3),
        # The reference subtracts numbers of 10,000 in its first step, and loses as much in float32; we do not.
        ("edm_euler_a5_v_zsnr_cfg8", "euler_a", 2e-3),
        ("edm2m5_v_zsnr_cfg8", "dpm++_2m", 1e-3),
        ("dpmpp_m2_5_cfg4", "dpm_solver", 1e-3),
        pytest.param("spaced5_cfg4_tiled8s4", "spaced", 1e-3, marks=SLOW),
    ],
)
@torch.inference_mode()
def test_loops_of_diffbir_equal_the_golden_ones(loop: str, name: Name, atol: float) -> None:
    said = LOOPS["diffbir"][loop]
    zero = "zsnr" in loop
    sampler = sampler_of(name, zero_terminal(KEPT) if zero else KEPT, said["steps"], "v" if zero else "eps")
    tiles = (8, 4) if "tiled" in loop else None
    scale = rising(said["cfg"]) if "rescale" in loop else said["cfg"]
    network = guided(diffbir(0, tiles), diffbir(1, tiles), scale)
    near(taken(sampler, network, said["noise_seed_base"], (4, 16, 24)), DIFFBIR[f"z_{loop}"], atol)


@PARITY
@pytest.mark.parametrize(
    "loop",
    [
        "ddpm5",
        "ddpm4",
        "ddpm5_v",
        "ddpm5_negprompt_scale3",
        pytest.param("canvas5_tile16_ov4", marks=SLOW),
        "ddim5_canvas_v",
        pytest.param("ddim5_canvas_neg7", marks=SLOW),
    ],
)
@torch.inference_mode()
def test_loops_of_stablesr_equal_the_golden_ones(loop: str) -> None:
    """Its implicit steps tell the network other times than those of their levels, which we do here and nowhere else."""
    said, canvas = LOOPS["stablesr"][loop], "canvas" in loop
    predicts: Prediction = "v" if loop.endswith("_v") else "eps"
    latent = 0.8 * (single(33, 1, 4, 20, 32) if canvas else single(32, 1, 4, 16, 24))
    start = towards(latent, KEPT[-1], single(34, 1, 4, 20, 32)) if loop.startswith("canvas") else None
    sampler: Sampler = Spaced.of(KEPT, said["steps"], predicts)
    if loop.startswith("ddim"):
        by = DDIM.of(KEPT, said["steps"], predicts, eta=said["eta"], offset=0)
        sampler = DDIM(evenly_spaced(said["steps"]), by.kept, by.before, by.eta, predicts)
    tiles = TILES if canvas else (24, 24)
    network = stablesr(single(30, 1, 77, 32), latent, tiles)
    if "neg" in loop:
        network = guided(network, stablesr(single(31, 1, 77, 32), latent, tiles), int(loop[-1]))
    found = taken(sampler, network, said["seed_base"], tuple(latent.shape[1:]), start)
    near(found, STABLESR[f"z_{loop}"])


@PARITY
def test_starts_equal_the_golden_ones() -> None:
    latent = 0.8 * single(33, 1, 4, 20, 32)
    near(towards(latent, KEPT[-1], single(34, 1, 4, 20, 32)), STABLESR["xT_canvas"], 0)
    condition = torch.from_numpy(DIFFBIR["cond_latent"])
    near(towards(condition, KEPT[-1], single(7800, 1, 4, 16, 24)), DIFFBIR["q_sample_999_cond"], 1e-6)
    assert STABLESR["sqrt_ac_999"] == pytest.approx([KEPT[-1] ** 0.5, (1 - KEPT[-1]) ** 0.5], rel=1e-7)  # float32

"""Training of the compact diffusion model: it resumes, it learns, and its weights are an upscaler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compact_diffusion import TINY, network
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from training_photos import cut_photos, dying, held_out

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import Draw, generator
from ida_rd.models.edm.checkpoint import load_network
from ida_rd.models.edm.network import EDMNet
from ida_rd.models.flow import FlowConfig, FlowNet
from ida_rd.training import edm as training
from ida_rd.training.edm import TrainConfig, train
from ida_rd.training.edm_losses import log_levels
from ida_rd.training.edm_ring import Ring, as_images
from ida_rd.training.edm_watch import GAINS, Watch
from ida_rd.training.export import export, exported
from ida_rd.training.muon import Muon, orthogonalised
from ida_rd.training.patches import PatchSource, pillow
from ida_rd.upscale import edm
from ida_rd.upscale.contract import Problem

SMALL: dict[str, Any] = {
    "width": 8, "deep_width": 8, "crop": 48, "patch": 32, "ring": 6, "ring_every": 2, "head_steps": 3, "head_batch": 2,
    "batch": 4, "micro": 2, "warmup_steps": 2, "filters": "bicubic,box", "watch_images": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny flow, whose encoder and mean are taken."""
    config, path = FlowConfig(4, 6, 1, 4, (1, 1), (2, 2)), tmp_path_factory.mktemp("flow") / "flow.safetensors"
    torch.manual_seed(0)
    net = FlowNet(config)
    nn.init.normal_(net.mean.weight, std=0.05)
    save_file(net.state_dict(), path, {"config": json.dumps(config.as_dict())})
    return str(path)


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8], encoder: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photographs of 160 x 160."""
    monkeypatch.setitem(SMALL, "encoder_path", encoder)
    return cut_photos(tmp_path, astronaut)


def _run(photos: Path, out: Path, initial: Path | None = None, **options: Any) -> list[dict[str, Any]]:
    """Train here; return the log."""
    train(TrainConfig(**SMALL | options), photos, held_out(photos), out, log_every=1, save_every=3, initial=initial)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("at", ["step_head", "step_denoiser"])
def test_training_resumes_after_a_kill_and_gives_the_same_bytes(tmp_path: Path, photos: Path, at: str) -> None:
    """In either stage: the crops that are held are made again."""
    _run(photos, tmp_path / "whole", steps=9, head_steps=5)
    with dying(training._Training, at, 4):
        _run(photos, tmp_path / "killed", steps=9, head_steps=5)
    log = _run(photos, tmp_path / "killed", steps=9, head_steps=5)
    assert len(log) == 15, "one step was done twice"
    assert exported(tmp_path / "whole") == exported(tmp_path / "killed")


def test_it_learns_and_its_weights_are_an_upscaler(tmp_path: Path, photos: Path) -> None:
    still = _run(photos, tmp_path / "still", steps=1, head_steps=40, head_rate=1e-9)
    log = _run(photos, tmp_path / "run", steps=70, head_steps=40, ema=0.9)
    before, after = ([entry["likelihood"] for entry in one if "likelihood" in entry] for one in (still, log))
    assert np.mean(after[-10:]) < np.mean(before[-10:]) - 0.1, "on the same crops"
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    assert {"norm", "rate", "skipped", "seconds"} <= log[-1].keys()
    export(tmp_path / "run", tmp_path / "mine.safetensors")
    own = edm.Parameters(path=str(tmp_path / "mine.safetensors"), steps=3)
    assert edm.describe(own, 4).kind == "diffusion"
    lr = generator("lr").integers(0, 256, (3, 8, 9), dtype=np.uint8)
    assert edm.load(own, Problem(4), "cpu").sample(lr, [Draw(0, "a", 0)]).sr.shape == (1, 3, 32, 36)
    assert load_network(tmp_path / "mine.safetensors").config.filters == ("bicubic", "box")

    log = _run(photos, tmp_path / "on", tmp_path / "mine.safetensors", steps=2, rate=1e-7, adam_rate=1e-9)
    assert [entry["stage"] for entry in log] == ["denoiser", "denoiser"]
    export(tmp_path / "on", tmp_path / "on.safetensors")
    begun, ended = (load_network(tmp_path / f"{name}.safetensors") for name in ("mine", "on"))
    for one, other in zip(begun.parameters(), ended.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="is another network than the options say: set --factor, --width and"):
        _run(photos, tmp_path / "other", tmp_path / "mine.safetensors", steps=1, width=4)


def test_the_last_weights_are_exported_where_asked_for(tmp_path: Path, photos: Path) -> None:
    _run(photos, tmp_path / "run", steps=6, ema=0.9)
    state = torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)
    for last, held in ((False, state["averages"]), (True, state["modules"])):
        export(tmp_path / "run", tmp_path / "w.safetensors", last=last)
        found = load_file(tmp_path / "w.safetensors")
        assert all(torch.equal(tensor, held["net"][name].half()) for name, tensor in found.items())
    assert exported(tmp_path / "run") != exported(tmp_path / "run", last=True)


def test_encoder_and_mean_of_the_flow_stay_and_so_does_the_head_later(tmp_path: Path, photos: Path) -> None:
    _run(photos, tmp_path / "short", steps=1)
    _run(photos, tmp_path / "long", steps=6)
    one, other = (torch.load(tmp_path / name / "checkpoint.pt")["modules"]["net"] for name in ("short", "long"))
    changed = {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"denoiser"}


def test_an_outlying_gradient_is_left_out_and_counted(tmp_path: Path, photos: Path) -> None:
    log = _run(photos, tmp_path / "run", steps=3, skip_norm=1e-9)
    assert [entry["skipped"] for entry in log][-3:] == [1, 2, 3]
    net = torch.load(tmp_path / "run" / "checkpoint.pt")["modules"]["net"]
    assert not net["denoiser.last.weight"].any()


def test_rates_rise_stay_and_fall_to_nothing() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, flat=0.5)
    rates = [config.rates(step) for step in range(100)]
    assert rates[:10] == pytest.approx(np.linspace(0.1, 1, 10))
    assert set(rates[9:51]) == {1.0}
    assert np.diff(rates[50:]) == pytest.approx(-0.02)
    assert rates[-1] == pytest.approx(0.02)


def test_noise_levels_are_stratified() -> None:
    """One in each part of equal probability, whichever the place in the batch."""
    drawn = np.stack([log_levels(4, 0.2, 1.35, generator("levels", i)).numpy() for i in range(500)])
    cuts = 0.2 + 1.35 * np.array([-0.6745, 0, 0.6745])
    parts = np.searchsorted(cuts, drawn)
    assert np.array_equal(np.sort(parts, axis=1), np.tile(np.arange(4), (500, 1)))
    assert np.abs(parts.mean(axis=0) - 1.5).max() < 0.2
    assert drawn.mean() == pytest.approx(0.2, abs=0.02)
    assert drawn.std() == pytest.approx(1.35, abs=0.05)


# The crops that are held


def _ring(photos: Path, net: EDMNet | None = None, **options: Any) -> Ring:
    source = PatchSource(sorted(photos.iterdir()), 4, 48, 0, downscalings=[pillow("bicubic"), pillow("box")])
    settings: dict[str, Any] = {"size": 5, "every": 2, "side": 48, "window": 32, "seed": 0, "clamp": 40.0} | options
    return Ring(net or network(), source, **settings)


def test_what_is_held_is_a_function_of_the_step(photos: Path) -> None:
    one, other = _ring(photos), _ring(photos)
    for step in range(9):
        one.windows(step, 3)
    before = [held.clone() for held in one.held]
    one.windows(9, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, one.held, strict=True)), "every second step"
    again, late = one.windows(10, 3), other.windows(10, 3)
    assert all(torch.equal(a, b) for a, b in zip(one.held, other.held, strict=True))
    assert torch.equal(again.y, late.y)
    changed = [not torch.equal(a, b) for a, b in zip(before[0], one.held[0], strict=True)]
    assert sum(changed) == 1


def test_windows_are_cut_alike_from_all_that_is_held(photos: Path) -> None:
    net = network()
    ring = _ring(photos, net, size=1, every=100)
    windows = ring.windows(0, 8)
    hr, lr = (as_images(one, torch.device("cpu")) for one in ring.source.batch("crop", 0, 1))
    with torch.no_grad():
        features = net.features(lr)
        space = net.whitening(lr, features)
    assert windows.y.shape == windows.scale.shape == (8, 12, 16, 16)
    rows = set()
    for i in range(8):
        match = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.allclose(
                windows.features[1][i], features[1][0, :, top : top + 8, left : left + 8], rtol=1e-3, atol=1e-3
            )
        ]
        ((top, left),) = match
        rows.add((top, left))
        fine = slice(2 * top, 2 * top + 16), slice(2 * left, 2 * left + 16)
        for mine, whole in (
            (windows.features[0], features[0]),
            (windows.scale, space.scale),
            (windows.y, space.whitened(hr).clamp(-40, 40)),
        ):
            torch.testing.assert_close(mine[i], whole[0, :, *fine], rtol=2e-3, atol=2e-3)
    assert len(rows) > 2
    clamped = _ring(photos, net, clamp=0.5).windows(0, 8).y
    assert clamped.abs().max() == 0.5


# The optimiser


def test_muon_makes_singular_values_alike() -> None:
    matrices = torch.randn(3, 12, 40, generator=torch.Generator().manual_seed(0))
    matrices[0] *= 1e3
    for of in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalised(of, 5))
        assert 0.6 < values.min() < values.max() < 1.3


def test_muon_descends_whatever_the_order_of_the_numbers_in_memory() -> None:
    generated = torch.Generator().manual_seed(0)
    start, target = (torch.randn(6, 4, 3, 3, generator=generated) for _ in range(2))
    ends = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(start.clone().contiguous(memory_format=layout))
        optimiser = Muon([weight], lr=0.1, decay=0.0)
        for _ in range(150):
            weight.grad = weight.detach() - target
            optimiser.step()
        assert (weight.detach() - target).norm() < 0.15 * (start - target).norm()
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=0.05)
    decayed = nn.Parameter(start.clone())
    optimiser = Muon([decayed], lr=0.5, decay=0.1)
    decayed.grad = torch.zeros_like(start)
    optimiser.step()
    torch.testing.assert_close(decayed.detach(), 0.95 * start)


# What is watched


class Shrunk(EDMNet):
    """Exact for y of variance 1, but for a factor."""

    factor = 1.0

    def denoise(self, noisy: torch.Tensor, sigma: torch.Tensor, given: list[torch.Tensor]) -> torch.Tensor:
        return self.factor * noisy / (1 + sigma.square())


def _watch(shared: Path, photos: Path, **options: Any) -> Watch:
    settings: dict[str, Any] = {"count": 2, "crop": 64, "filters": ["bicubic", "box"], "steps": 2, "samples": 2}
    alexnet = str(shared / "weights/lpips/alexnet_features.pth")
    return Watch(photos, **settings | options, lpips=alexnet, precision=torch.float32)


def test_the_gain_says_how_much_too_small_an_estimate_is(shared: Path, photos: Path) -> None:
    """Half of the estimate: twice the gain. LPIPS is that of variance and squared bias together."""
    net, watch = Shrunk(TINY).requires_grad_(False), _watch(shared, photos)
    whole = watch(net)
    Shrunk.factor = 0.5
    half = watch(net)
    for sigma in GAINS:
        assert half[f"gain_{sigma:g}"] == pytest.approx(2 * whole[f"gain_{sigma:g}"], rel=1e-4)
    for ending in ("", "_box"):
        lpips, bias, ratio = (whole[f"validation_{name}{ending}"] for name in ("lpips", "bias2", "ratio"))
        assert bias * (1 + ratio) == pytest.approx(lpips)
        assert ratio > 0
        assert whole[f"validation_energy{ending}"] > 0
    assert whole["validation_not_finite"] == 0
    assert watch(net) == half


def test_what_is_watched_is_in_the_log_and_changes_nothing(shared: Path, tmp_path: Path, photos: Path) -> None:
    alexnet = str(shared / "weights/lpips/alexnet_features.pth")
    watching: dict[str, Any] = {"watch_images": 1, "watch_crop": 64, "watch_filters": "bicubic", "lpips_path": alexnet}
    log = _run(photos, tmp_path / "seen", steps=4, evaluate_every=2, **watching)
    seen = [entry for entry in log if "validation_lpips" in entry]
    assert [entry["step"] for entry in seen] == [2, 4]
    assert {"validation_ratio", "validation_bias2", "validation_energy", "gain_1", "seconds"} <= seen[0].keys()
    assert seen[0]["last_gain_1"] != seen[0]["gain_1"], "of the weights themselves, and of their average"
    assert len(_run(photos, tmp_path / "seen", steps=4)) == len(log), "it goes on, at its end, with nobody watching"
    _run(photos, tmp_path / "not", steps=4)
    assert exported(tmp_path / "seen") == exported(tmp_path / "not")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"precision": "half"}, "--precision half: "),
        ({"factor": 3}, "--factor, --width, --deep-width: factor 3, not 4 or 8"),
        ({"width": 0}, "--factor, --width, --deep-width: its sizes are"),
        ({"patch": 36}, "--patch 36: is not a multiple of 8"),
        ({"crop": 0}, "--crop 0: is not a multiple of 8"),
        ({"patch": 64}, "--patch 64: larger than the crop, 48"),
        ({"ring": 0}, "--ring 0: give 1 or more"),
        ({"ring_every": 0}, "--ring-every 0: give 1 or more"),
        ({"flat": 1.5}, "--flat 1.5: give a share"),
        ({"filters": "bicubi"}, "bicubi"),
        ({"watch_filters": "boxx"}, "boxx"),
        ({"encoder": "flow"}, "no weights are called 'flow.x4'"),
        ({"encoder_path": "gone.safetensors"}, "gone.safetensors (weights flow-compact.x4): no such file"),
        ({"factor": 8}, "--encoder-path: is for factor 4, not 8"),
    ],
)
def test_mistaken_options_of_training_are_one_line(
    tmp_path: Path, photos: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        train(TrainConfig(**SMALL | option), photos, held_out(photos), tmp_path / "run")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()

"""The flow: its laws, its weights, its training."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import load_tensors, locate
from ida_rd.models.bijections import ChannelMix, bound, squeeze, unsqueeze
from ida_rd.models.flow import RESIDUAL_SCALE, FlowConfig, FlowNet, bits_per_dimension
from ida_rd.training.flow import TrainConfig, train
from ida_rd.training.losses import LEAST_SIDE, OrientedFeatures, energy_score
from ida_rd.training.patches import PatchSource
from ida_rd.upscale import flow
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.eight_bit import to_samples
from ida_rd.upscale.flow.sampler import load_network

ROOT = Path(__file__).resolve().parent.parent


def _random_net(config: FlowConfig, seed: int, scale: float = 0.05) -> FlowNet:
    """A network whose zero-initialised layers are not zero: else the flow is linear and proves little."""
    torch.manual_seed(seed)
    net = FlowNet(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim != 2:
                parameter.add_(scale * torch.randn_like(parameter))
    return net.requires_grad_(False)


SHIPPED = "x4-larger"  # the network that ships for factor 4, by its name in training
SMALL = FlowConfig(4, 8, 1, 8, (2, 2), (8, 8))


@given(
    seed=st.integers(0, 1000),
    factor=st.sampled_from([4, 8]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    batch=st.integers(1, 3),
)
def test_decode_undoes_encode(seed: int, factor: int, height: int, width: int, batch: int) -> None:
    levels = int(math.log2(factor))
    net = _random_net(FlowConfig(factor, 8, 1, 8, (2,) * levels, (8,) * levels), seed).double()
    lr = torch.rand(batch, 3, height, width, dtype=torch.float64)
    hr = torch.rand(batch, 3, height * factor, width * factor, dtype=torch.float64)
    given_lr = net.condition(lr)
    z, _ = net.encode(hr, given_lr)
    assert z.shape == (batch, *net.latent_shape(height, width))
    assert torch.allclose(net.decode(z, given_lr), hr, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_log_determinant_is_autograds(seed: int) -> None:
    net = _random_net(SMALL, seed).double()
    lr = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    hr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    condition = net.condition(lr)
    _, logdet = net.encode(hr, condition)
    jacobian = torch.autograd.functional.jacobian(lambda x: net.encode(x, condition)[0].flatten(), hr)
    expected = torch.linalg.slogdet(jacobian.reshape(hr.numel(), hr.numel()))[1]
    # The flow's log-determinant is taken from the residual in units of RESIDUAL_SCALE.
    expected += hr.numel() * math.log(RESIDUAL_SCALE)
    assert math.isclose(float(logdet), float(expected), rel_tol=1e-10, abs_tol=1e-8)


def test_bits_per_dimension_of_a_standard_normal_is_its_entropy() -> None:
    # A residual that is N(0, RESIDUAL_SCALE^2) per sub-pixel, coded by an identity flow: the entropy
    # of a Gaussian with a standard deviation of 12.75 grey levels.
    generator_ = torch.Generator().manual_seed(0)
    z = torch.randn(4, 48, 64, 64, generator=generator_, dtype=torch.float64)
    expected = 0.5 * math.log2(2 * math.pi * math.e * (255 * RESIDUAL_SCALE) ** 2)
    assert abs(float(bits_per_dimension(z, torch.zeros(4, dtype=torch.float64)).mean()) - expected) < 0.01


def test_channel_mix_initialises_to_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    x = 3 + 5 * torch.randn(8, 6, 16, 16)
    mix = ChannelMix(6)
    mix.initialise(x)
    with torch.no_grad():
        mix.weight.copy_(torch.eye(6))
        y, logdet = mix.encode(x)
        assert torch.allclose(mix.decode(y), x, atol=1e-5)
    assert y.mean().abs() < 1e-5
    assert abs(float(y.var()) - 1) < 1e-3
    assert math.isclose(float(logdet), -6 * 256 * math.log(5), rel_tol=0.02)


@given(seed=st.integers(0, 1000))
def test_squeeze_is_undone_and_bound_is_bounded(seed: int) -> None:
    torch.manual_seed(seed)
    x = 100 * torch.randn(2, 3, 8, 4)
    assert torch.equal(unsqueeze(squeeze(x)), x)
    assert bound(x, 2.0).abs().max() <= 2
    assert torch.allclose(bound(1e-3 * x[:, :, :1], 2.0), 1e-3 * x[:, :, :1], atol=1e-2)


def test_the_shipped_flow_keeps_the_upscaler_contract() -> None:
    check_upscaler(flow, {}, 4)
    check_upscaler(flow, {"heat": 0.0}, 4)


@pytest.fixture(scope="module")
def upscaler() -> flow.Upscaler:
    return flow.load(flow.Parameters(), 4, "cpu")


def test_heat_zero_is_deterministic_and_heat_scales_the_spread(astronaut: NDArray[np.uint8]) -> None:
    lr = np.ascontiguousarray(astronaut[:96:4, :96:4].transpose(2, 0, 1))
    draws = [Draw(0, "a", k) for k in range(4)]
    spreads = []
    for heat in (0.0, 0.3, 0.6, 0.9):
        sr = flow.load(flow.Parameters(heat=heat), 4, "cpu").sample(lr, draws).sr
        spreads.append(sr.astype(float).std(axis=0).mean())
    assert spreads[0] == 0
    assert np.all(np.diff(spreads) > 0)


def test_latents_depend_on_image_and_sample_alone() -> None:
    draw = Draw(0, "image", 3)
    z = draw.normal((48, 8, 8))
    assert np.array_equal(z, Draw(0, "image", 3).normal((48, 8, 8)))
    others = [Draw(1, "image", 3), Draw(0, "image", 2), Draw(0, "other", 3), Draw(0, "image", 3, attempt=1)]
    for other in others:
        assert abs(np.corrcoef(z.ravel(), other.normal((48, 8, 8)).ravel())[0, 1]) < 0.1
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05


def test_a_sample_does_not_depend_on_its_batch(upscaler: flow.Upscaler, astronaut: NDArray[np.uint8]) -> None:
    lr = np.ascontiguousarray(astronaut[:128:4, :128:4].transpose(2, 0, 1))
    together = upscaler.sample(lr, [Draw(0, "a", k) for k in range(3)]).sr
    for k in range(3):
        alone = upscaler.sample(lr, [Draw(0, "a", k)]).sr[0]
        assert np.abs(alone.astype(int) - together[k]).max() <= 1


def test_samples_that_are_not_finite_are_told_apart_and_never_rounded_into_images() -> None:
    sr = torch.full((3, 3, 4, 4), 0.5)
    sr[1, 0, 0, 0] = math.nan
    sr[2, 0, 0, 0] = math.inf
    samples = to_samples(sr)
    assert samples.finite.tolist() == [True, False, False]
    assert (samples.sr[0] == 128).all()  # 127.5 is rounded (to even), not truncated


def test_clipped_pixels_are_counted() -> None:
    sr = torch.full((1, 3, 2, 2), 0.5)
    sr[0, 0, 0, 0], sr[0, 0, 0, 1], sr[0, 0, 1, 0] = -0.1, 1.1, 1.001
    assert to_samples(sr).clipped[0] == pytest.approx(2 / 12)


def test_a_factor_without_weights_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="factor 3: flow-compact does factors 4"):
        flow.describe(flow.Parameters(), 3)


# Weight files.


class _Bomb:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


def test_a_pickle_posing_as_weights_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": _Bomb()}))
    torch.save({"a": _Bomb()}, tmp_path / "torch.pth")
    (tmp_path / "tensors.safetensors").write_bytes(pickle.dumps(_Bomb()))
    for name in ("plain.pth", "torch.pth", "tensors.safetensors"):
        with pytest.raises(UserError, match=name):
            load_tensors(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_a_weight_file_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alexnet.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"alexnet\.pth .*has sha256 .*expected 7be5be79"):
        locate("torchvision.alexnet", str(path))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="no flow configuration"):
        load_network(tmp_path / "a.safetensors")
    metadata = {"config": json.dumps(SMALL.as_dict())}
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="not this network's"):
        load_network(tmp_path / "b.safetensors")


# Training.


def _photos(folder: Path, astronaut: NDArray[np.uint8]) -> None:
    from ida_rd.core.images import write_png

    folder.mkdir()
    for i in range(2):
        write_png(folder / f"{i}.png", np.ascontiguousarray(astronaut[i * 200 : i * 200 + 200, 100:300]))


def _train(tmp_path: Path, out: str) -> list[str]:
    photos = str(tmp_path / "photos")
    options = {"patch": 32, "l1-steps": 3, "l1-batch": 2, "nll-steps": 62, "nll-batch": 1, "warmup-steps": 2}
    options |= {"energy": 1, "log-every": 1, "save-every": 20}
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    folders = ["--images", photos, "--validation", photos, "--out", str(tmp_path / out)]
    return [sys.executable, "-m", "ida_rd.training.flow", *folders, *flags]


def test_training_resumes_after_a_kill_and_gives_the_same_weights(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    _photos(tmp_path / "photos", astronaut)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(_train(tmp_path, "whole"), cwd=ROOT, env=variables, check=True, capture_output=True)
    process = subprocess.Popen(_train(tmp_path, "killed"), cwd=ROOT, env=variables, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed" / "log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not log.exists() or '"nll", "step": 42' not in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(_train(tmp_path, "killed"), cwd=ROOT, env=variables, check=True, capture_output=True)
    whole, killed = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "killed"))
    assert whole["step"] == killed["step"] == 62
    for name, tensor in whole["ema"].items():
        assert torch.equal(tensor, killed["ema"][name]), name
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps.count(40) == 1  # finished steps were not done again
    assert steps.count(1) == 2  # one of each stage
    entries = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    bits = [entry["bits"] for entry in entries if "bits" in entry]
    assert np.mean(bits[-20:]) < np.mean(bits[:10]) - 0.3, "training must lower the loss"


def test_the_energy_score_is_least_for_samples_of_the_images_own_distribution() -> None:
    torch.manual_seed(0)
    features, n = OrientedFeatures(), 64
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5), size=(32, 32), mode="bicubic")

    def drawn(spread: float, centre: torch.Tensor = smooth) -> torch.Tensor:
        return centre + spread * torch.randn(n, 3, 32, 32)

    def score(spread: float, centre: torch.Tensor = smooth) -> float:
        return float(energy_score(features, drawn(0.05), drawn(spread, centre), drawn(spread, centre)).mean())

    right = score(0.05)
    assert all(score(spread) > 1.05 * right for spread in (0.0, 0.02, 0.15))
    assert score(0.05, smooth.flip(3)) > 1.05 * right
    same = drawn(0.05)
    assert energy_score(features, same, same, same).abs().max() < 1e-4
    flat = features(torch.full((1, 3, LEAST_SIDE, LEAST_SIDE), 0.7))
    assert max(float(f.abs().max()) for f in flat) < 0.01  # brightness alone is no feature


def test_training_by_the_energy_score_moves_what_samples_are_made_of(
    tmp_path: Path, astronaut: NDArray[np.uint8]
) -> None:
    _photos(tmp_path / "photos", astronaut)
    photos, shipped = tmp_path / "photos", locate("flow-compact.x4").path
    options: dict[str, Any] = {"network": SHIPPED, "patch": 32, "nll_steps": 1, "nll_batch": 2, "warmup_steps": 1}
    weights = {}
    for energy in (0.0, 2.0):
        out, config = tmp_path / f"run-{energy}", TrainConfig(energy=energy, **options)
        state = train(config, photos, photos, out, initial=shipped, log_every=1)
        weights[energy] = torch.load(state, weights_only=True)["net"]
        entry = json.loads((out / "log.jsonl").read_text().splitlines()[0])
        assert ("energy" in entry) == bool(energy)
    parts = ("levels.0.0.last.weight", "levels.1.3.affine.weight", "encoder.head.weight", "log_scale.weight")
    assert all(not torch.equal(weights[0.0][part], weights[2.0][part]) for part in parts)


def test_training_in_bfloat16_keeps_the_flow_exact(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    net = _random_net(FlowConfig(4, 8, 1, 8, (4, 4), (8, 8)), 0)
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    whole, _ = net.encode(hr, net.condition(lr))
    with torch.autocast("cpu", torch.bfloat16):
        given_lr = net.condition(lr)
        z, logdet = net.encode(hr, given_lr)
        back = net.decode(z, given_lr)
    assert z.dtype == logdet.dtype == back.dtype == torch.float32
    assert (back - hr).abs().median() < 1e-5  # most couplings see the same rounded values both ways
    assert not torch.equal(z, whole)
    _photos(tmp_path / "photos", astronaut)
    photos, first = tmp_path / "photos", {}
    for precision in ("float32", "bfloat16"):
        options: dict[str, Any] = {"patch": 32, "l1_steps": 1, "nll_steps": 1, "nll_batch": 2, "warmup_steps": 1}
        train(TrainConfig(precision=precision, **options), photos, photos, tmp_path / precision, log_every=1)
        log = (tmp_path / precision / "log.jsonl").read_text().splitlines()
        first[precision] = json.loads(log[1])["bits"]
    assert first["float32"] != first["bfloat16"]
    assert first["float32"] == pytest.approx(first["bfloat16"], abs=0.02)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"network": "x4-larg"}, "--network x4-larg: did you mean 'x4-large'"),
        ({"precision": "bfloat"}, "--precision bfloat: did you mean 'bfloat16'"),
        ({"energy": -1.0}, "--energy -1.0: a weight is 0 or more"),
        ({"energy": 1.0, "patch": 24}, "--patch 24: the energy score needs patches of 28 pixels"),
    ],
)
def test_mistaken_options_of_training_are_one_line(tmp_path: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        train(TrainConfig(**option), tmp_path, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patches_are_a_function_of_seed_and_step(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    _photos(tmp_path / "photos", astronaut)
    files = sorted((tmp_path / "photos").iterdir())
    first, second = (PatchSource(files, 4, 32, seed=0).batch("nll", 5, 3) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], PatchSource(files, 4, 32, seed=0).batch("nll", 6, 3)[0])


def test_a_patchs_lr_image_is_the_crop_of_the_whole_photographs(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    from ida_rd.core.images import write_png
    from ida_rd.training.patches import LR_MARGIN

    write_png(tmp_path / "a.png", astronaut)
    whole = np.asarray(Image.fromarray(astronaut).resize((128, 128), Image.Resampling.BICUBIC))
    side, y, x = 8, 40, 72
    outer = astronaut[y : y + 4 * (side + 2 * LR_MARGIN), x : x + 4 * (side + 2 * LR_MARGIN)]
    small = np.asarray(Image.fromarray(outer).resize((side + 2 * LR_MARGIN,) * 2, Image.Resampling.BICUBIC))
    inner = small[LR_MARGIN:-LR_MARGIN, LR_MARGIN:-LR_MARGIN]
    assert np.array_equal(inner, whole[y // 4 + LR_MARGIN :, x // 4 + LR_MARGIN :][:side, :side])


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("jpeg", [0.0, 1.0])
def test_a_patchs_lr_image_is_its_own_and_jpeg_comes_before(
    tmp_path: Path, astronaut: NDArray[np.uint8], jpeg: float, factor: int
) -> None:
    _photos(tmp_path / "photos", astronaut)
    files = sorted((tmp_path / "photos").iterdir())
    hr, lr = PatchSource(files, factor, 64, seed=0, jpeg=jpeg).batch("nll", 0, 6)
    photos = [np.asarray(Image.open(path)).astype(int) for path in files]
    found = 0
    for patch, small in zip(hr.transpose(0, 2, 3, 1), lr.transpose(0, 2, 3, 1), strict=True):
        size = (64 // factor,) * 2
        again = np.asarray(Image.fromarray(np.ascontiguousarray(patch)).resize(size, Image.Resampling.BICUBIC))
        assert np.array_equal(again[3:-3, 3:-3], small[3:-3, 3:-3])  # further in than the kernel reaches
        turns = [np.rot90(m, k) for m in (patch, patch[:, ::-1]) for k in range(4)]
        windows = (np.lib.stride_tricks.sliding_window_view(p, (64, 64, 3))[::1, ::1, 0] for p in photos)
        found += any((w[:, :, 8, 8] == t[8, 8]).all(-1).any() and _occurs(w, t) for w in windows for t in turns)
    assert found == (0 if jpeg else 6)


def _occurs(windows: NDArray[np.int_], patch: NDArray[np.uint8]) -> bool:
    ys, xs = np.nonzero((windows[:, :, 8, 8] == patch[8, 8]).all(-1))
    return any(np.array_equal(windows[y, x], patch) for y, x in zip(ys, xs, strict=True))


@pytest.mark.parametrize("name", ["bilinear", "lanczos", "box"])
def test_lr_images_are_made_by_the_filters_that_are_named(
    tmp_path: Path, astronaut: NDArray[np.uint8], name: str
) -> None:
    _photos(tmp_path / "photos", astronaut)
    files = sorted((tmp_path / "photos").iterdir())
    hr, lr = PatchSource(files, 4, 64, seed=0, filters=[name]).batch("nll", 0, 3)
    for patch, small in zip(hr.transpose(0, 2, 3, 1), lr.transpose(0, 2, 3, 1), strict=True):
        image = Image.fromarray(np.ascontiguousarray(patch))
        again = np.asarray(image.resize((16, 16), Image.Resampling[name.upper()]))
        assert np.array_equal(again[3:-3, 3:-3], small[3:-3, 3:-3])
    with pytest.raises(UserError, match="--filters bilnear: did you mean 'bilinear'"):
        PatchSource(files, 4, 64, seed=0, filters=["bilnear"])


def test_photographs_are_shown_reduced_and_sharpened_where_asked(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    _photos(tmp_path / "photos", astronaut)
    files = sorted((tmp_path / "photos").iterdir())

    def edges(**options: Any) -> float:
        hr = PatchSource(files, 4, 32, seed=0, **options).batch("nll", 0, 60)[0].astype(float)
        return float(np.abs(np.diff(hr, axis=3)).mean())

    assert edges(scales=(1.0, 2.0)) > 1.1 * edges()  # there is more in a pixel of a reduced photograph
    assert edges(sharpen=1.0) > 1.1 * edges()
    assert edges(sharpen=0.5) == pytest.approx((edges() + edges(sharpen=1.0)) / 2, rel=0.1)
    with pytest.raises(UserError, match="would enlarge"):
        PatchSource(files, 4, 32, seed=0, scales=(0.5,))
    with pytest.raises(UserError, match="reduced by 8 smaller than 56 x 56"):
        PatchSource(files, 4, 32, seed=0, scales=(1.0, 8.0))


def test_the_candidate_with_most_detail_is_kept(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    _photos(tmp_path / "photos", astronaut)
    files = sorted((tmp_path / "photos").iterdir())

    def detail(candidates: int) -> float:
        lr = PatchSource(files, 4, 32, seed=0, candidates=candidates).batch("nll", 0, 40)[1].astype(float)
        return float(np.abs(np.diff(lr, axis=3)).mean())

    assert detail(4) > 1.15 * detail(1)


def test_training_goes_on_from_weights(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    _photos(tmp_path / "photos", astronaut)
    shipped = locate("flow-compact.x4").path
    config = TrainConfig(network=SHIPPED, patch=32, nll_steps=1, nll_batch=1, warmup_steps=1000)
    photos = tmp_path / "photos"
    state = torch.load(train(config, photos, photos, tmp_path / "run", initial=shipped), weights_only=True)
    assert (state["stage"], state["step"]) == ("nll", 1)
    start = load_tensors(shipped)
    assert all((state["net"][key] - value.float()).abs().max() < 1e-5 for key, value in start.items())
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["initial"] == sha256_file(shipped)
    for smaller_or_other in ("x4", "x8"):
        other = TrainConfig(network=smaller_or_other, patch=32)
        with pytest.raises(UserError, match=f"cannot begin a network {smaller_or_other}"):
            train(other, photos, photos, tmp_path / "other", initial=shipped)


def test_a_network_grows_without_changing_its_function() -> None:
    torch.manual_seed(0)
    small = _random_net(FlowConfig(4, encoder_blocks=1, steps=(1, 2), hidden=(8, 8)), 0)
    large = FlowNet(FlowConfig(4, encoder_blocks=3, steps=(2, 4), hidden=(8, 8)))
    large.grow_from(small)
    hr, lr = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 4, 6)
    mine, theirs = (net.encode(hr, net.condition(lr)) for net in (large, small))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)
    loss = bits_per_dimension(*mine).mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for n, p in large.named_parameters() if n.endswith("last.weight"))
    with pytest.raises(ValueError, match="more than"):
        small.grow_from(large)


def test_generators_are_keyed_by_type_and_value() -> None:
    keys: list[tuple[str | int, ...]] = [("a", 0), ("a", "0"), ("a", 1), ("b", 0), ("a", 0, 0)]
    values = {generator(*key).random() for key in keys}
    assert len(values) == len(keys)
    assert generator("a", 0).random() == generator("a", 0).random()

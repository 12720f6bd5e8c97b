"""The upscaler ``sr3``: golden samples, its contract and parameters, its files, and its place in the pipeline."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import stage_here
from golden.pulse.recipe import normal
from golden.sr3.recipe import HERE, META, SMALL, TINY, TINY_BETAS, condition, hollow, network, saved
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import MissingWeights
from ida_rd.models.sr3.config import COMPACT, SR3Config, Trained
from ida_rd.upscale import sr3
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.diffusion.ancestral import Ancestral
from ida_rd.upscale.diffusion.chain import Noise, taken_through
from ida_rd.upscale.recipe import upscale_recipe
from ida_rd.upscale.sr3 import Parameters
from ida_rd.upscale.sr3.sampler import SR3Chain, enlarge

PARITY = pytest.mark.parity("ida_rd.upscale.sr3.sampler", "ida_rd.upscale.diffusion.ancestral")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
GOLDEN = np.load(HERE / "tiny.npz")
CPU = torch.device("cpu")
X4 = Trained(SMALL.config, 4)
FEW: dict[str, Any] = {"steps": 3, "beta_start": 0.3, "beta_end": 0.9}
DRAWS = [Draw(0, "image", k) for k in range(3)]
SAMPLES = (".webp", ".csv")


class Given(Draw):
    """The noise that the golden loops were given: that of the start, then of each step."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        k = 0 if label == "start" else int(label.removeprefix("step ")) + 1
        return normal(9000 + k, 2, *shape, dtype=torch.float32)[self.sample].numpy()


class FromTorch(Draw):
    """Numbers in the order in which the reference draws them."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        return torch.randn(1, *shape)[0].numpy()


def chain_of(*seeds: int, dtype: torch.dtype) -> SR3Chain:
    net = network(TINY.config, dtype)
    return SR3Chain(net, Ancestral.of(TINY_BETAS), condition(*seeds, dtype=dtype))


def near(mine: torch.Tensor, golden: Any, dtype: torch.dtype) -> None:
    np.testing.assert_allclose(mine.double().numpy(), golden, rtol=0, atol=2e-6 if dtype == torch.float64 else 1e-5)


# Golden samples


@PARITY
@DTYPES
@torch.inference_mode()
def test_samples_equal_the_golden_ones(dtype: torch.dtype) -> None:
    """Two images with given noise: the state after every step, and what comes out."""
    chain, noise = chain_of(901, 902, dtype=dtype), Noise([Given(0, "", 0), Given(0, "", 1)], CPU, dtype)
    state = chain.begin(noise)
    for number, row in enumerate(META["loop_rows"]):
        state = chain.step(number, state, noise)
        x = state.double()
        found = [float(value) for value in (x.mean(), x.std(correction=0), x.ravel()[0], x.ravel()[-1])]
        np.testing.assert_allclose(found, row, rtol=0, atol=1e-9 if dtype == torch.float64 else 1e-5)
        if number == 0:
            near(state, GOLDEN["loop_after1"], dtype)
    assert number + 1 == chain.steps == 20
    near(state, GOLDEN["loop_final"], dtype)
    near(chain.end(state) * 2 - 1, GOLDEN["loop_final"], dtype)
    np.testing.assert_allclose(GOLDEN["official_return_b1"], GOLDEN["loop_final"][0], rtol=0, atol=1e-6)


@PARITY
@torch.inference_mode()
def test_a_step_without_clamping_equals_the_golden_one() -> None:
    chain, x = chain_of(901, 902, dtype=torch.float64), normal(950, 2, 3, 32, 32)
    image = chain.by.clean(7, x, chain.net(chain.condition, x, chain.levels[7:8]))
    near(chain.by.mean(7, x, image), GOLDEN["pmean_noclip_t7"], torch.float64)
    assert 2 * np.log(chain.by.spread[7]) == pytest.approx(META["logvar_t7"], rel=1e-9)


@PARITY
@torch.inference_mode()
def test_a_seeded_sample_equals_that_of_the_reference() -> None:
    torch.manual_seed(7)
    sr = taken_through(chain_of(901, dtype=torch.float32), Noise([FromTorch(0, "", 0)], CPU))
    near(sr[0] * 2 - 1, GOLDEN["seed7_final"], torch.float32)


# What it is


def test_defaults_are_those_of_the_advice() -> None:
    p = Parameters()
    assert p.model_dump() == {
        "network": None, "path": None, "steps": 100, "schedule": "linear", "beta_start": None, "beta_end": None,
        "batch": None, "licence": None,
    }  # fmt: skip
    assert p.ends() == pytest.approx((2e-5, 0.2))
    assert Parameters(steps=2000).ends() == (1e-6, 1e-2)
    assert Parameters(steps=50, beta_end=0.3).ends() == pytest.approx((4e-5, 0.3))


def test_it_says_what_it_is(tmp_path: Path) -> None:
    described = sr3.describe(Parameters(network="ffhq_16_128"), 8)
    assert (described.kind, described.stochastic, described.blind) == ("diffusion", True, False)
    assert described.marks() == ["not blind"]
    assert described.weights == {"sr3.ffhq_16_128": None}
    assert described.licence == "Apache-2.0 (its repository's); trained on FFHQ"
    assert described.settings == {"betas": pytest.approx([2e-5, 0.2])}
    assert described.size.problem(2, 3, 8) is None
    assert described.size.problem(1, 16, 8) == "LR images of 16 x 1 pixels are smaller than 2 per side"
    mine = saved(tmp_path / "mine.safetensors", Trained(SMALL.config, 4, ("bicubic", "box")))
    own = sr3.describe(Parameters(path=str(mine), licence="CC0", schedule="cosine"), 4)
    assert (own.blind, own.licence, own.weights, own.settings, own.marks()) == (True, "CC0", {}, {}, [])


def test_a_network_has_the_factor_that_it_was_trained_for(tmp_path: Path) -> None:
    mine = saved(tmp_path / "mine.safetensors", X4)
    for parameters, factor, right in (
        (Parameters(network="ffhq_64_512"), 4, 8),
        (Parameters(network="x4_64_256", path="x.pth"), 8, 4),
        (Parameters(path=str(mine)), 8, 4),
    ):
        with pytest.raises(UserError, match=f"factor {factor}: the network .* was trained for {right} alone: give one"):
            sr3.describe(parameters, factor)
    for parameters in (Parameters(), Parameters(network="x4_64_256")):
        with pytest.raises(UserError, match="path: is missing: give the file of a network, or network: ffhq_16_128 or"):
            sr3.describe(parameters, 4)
    with pytest.raises(UserError, match=r"gone\.pth does not exist"):
        sr3.describe(Parameters(path=str(tmp_path / "gone.pth")), 4)
    with pytest.raises(MissingWeights, match=r"I640000_E37_gen\.pth: put a copy there"):
        sr3.load(Parameters(network="ffhq_16_128"), Problem(8), "cpu")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 20}, "the variances of 20 steps would grow from 0.0001 to 1: more steps"),
        ({"steps": 100, "beta_start": 1e-6, "beta_end": 1e-2}, "0.605 of the image would be left, .*: more steps, or"),
        ({"beta_start": 0.3}, "would grow from 0.3 to 0.2"),
        ({"schedule": "cosine", "beta_end": 0.2}, "the cosine schedule has ends of its own"),
        ({"schedule": "jsd"}, "u.schedule: "),
        ({"beta_end": 1.0}, "u.beta_end: "),
        ({"steps": 0}, "u.steps: "),
        ({"network": "x8"}, "u.network: "),
    ],
)
def test_impossible_settings_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, {"path": "x"} | wrong, where="u")
    assert "\n" not in str(error.value)


def test_every_schedule_ends_in_noise() -> None:
    for schedule in ("linear", "quad", "warmup10", "warmup50", "const", "cosine"):
        for steps in (25, 100, 2000):
            Parameters.model_validate({"schedule": schedule, "steps": steps})


# What it does


@pytest.mark.parametrize(("trained", "changed"), [(SMALL, FEW), (X4, {"batch": 2, "steps": 3, "schedule": "cosine"})])
def test_it_keeps_the_contract(tmp_path: Path, trained: Trained, changed: dict[str, Any]) -> None:
    path = saved(tmp_path / "net.safetensors", trained)
    check_upscaler(sr3, {"path": str(path)} | changed, trained.factor)


def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(tmp_path: Path) -> None:
    """To the last bit, as long as `batch` is left alone; and within a grey level else."""
    path = str(saved(tmp_path / "net.safetensors", SMALL))
    lr = generator("sr3").integers(0, 256, (3, 7, 10), dtype=np.uint8)
    default = sr3.load(Parameters(path=path, **FEW), Problem(3), "cpu")
    together = default.sample(lr, DRAWS).sr
    assert together.shape == (3, 3, 21, 30)
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(default.sample(lr, [draw]).sr[0], together[k])
    assert np.array_equal(np.concatenate([default.sample(lr, part).sr for part in (DRAWS[:2], DRAWS[2:])]), together)
    for batch in (2, 3):
        other = sr3.load(Parameters(path=path, batch=batch, **FEW), Problem(3), "cpu").sample(lr, DRAWS).sr
        assert np.abs(other.astype(int) - together).max() <= 1


def test_samples_are_a_function_of_seed_image_and_sample(tmp_path: Path) -> None:
    upscaler = sr3.load(Parameters(path=str(saved(tmp_path / "n.safetensors", X4)), **FEW), Problem(4), "cpu")
    lr = generator("sr3").integers(0, 256, (3, 8, 8), dtype=np.uint8)
    torch.manual_seed(1)
    first = upscaler.sample(lr, [Draw(0, "image", 0)]).sr
    torch.manual_seed(2)
    assert np.array_equal(upscaler.sample(lr, [Draw(0, "image", 0)]).sr, first)
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 1), (0, "image", 0, 1)):
        assert not np.array_equal(upscaler.sample(lr, [Draw(*other)]).sr, first)


def test_the_network_is_given_pillows_bicubic_image() -> None:
    lr = generator("sr3").integers(0, 256, (3, 5, 7), dtype=np.uint8)
    large = enlarge(lr, 4)
    assert large.shape == (3, 20, 28)
    expected = np.asarray(Image.fromarray(lr.transpose(1, 2, 0)).resize((28, 20), Image.Resampling.BICUBIC))
    assert np.array_equal(large.transpose(1, 2, 0), expected)


def test_other_sides_are_padded_by_reflection_and_cropped() -> None:
    net = network(SMALL.config, torch.float32)
    given = normal(1, 1, 3, 21, 30, dtype=torch.float32)
    chain = SR3Chain(net, Ancestral.of(TINY_BETAS), given)
    assert chain.shape == (3, 24, 32)
    padded = chain.condition
    assert torch.equal(padded[:, :, :21, :30], given)
    assert torch.equal(padded[:, :, 21:, :30], given[:, :, 17:20].flip(2))
    assert torch.equal(padded[:, :, :21, 30:], given[:, :, :, 27:29].flip(3))
    state = normal(2, 1, 3, 24, 32, dtype=torch.float32)
    assert torch.equal(chain.end(state) * 2 - 1, (state[:, :, :21, :30] + 1) / 2 * 2 - 1)


def test_memory_grows_with_what_is_computed_together_alone(tmp_path: Path) -> None:
    def said(samples: int, **changed: Any) -> float:
        return sr3.memory(Parameters.model_validate({"network": "ffhq_16_128"} | changed), 8, samples)

    assert said(1) == said(5) > 1000
    assert said(5, batch=4) == 4 * said(1)
    assert said(2, batch=4) == 2 * said(1)
    compact = saved(tmp_path / "net.safetensors", Trained(SR3Config(16, (1, 2), 1, 8), 4))
    assert sr3.memory(Parameters(path=str(compact)), 4, 1) == sr3.bytes_per_pixel(COMPACT) < said(1) / 5


def test_progress_is_told_at_every_step(tmp_path: Path) -> None:
    seen: list[float] = []
    upscaler = sr3.load(Parameters(path=str(saved(tmp_path / "n.safetensors", X4)), **FEW), Problem(4), "cpu")
    with listening(seen.append):
        upscaler.sample(np.zeros((3, 4, 4), np.uint8), DRAWS[:2])
    assert len(set(seen)) == 6
    assert seen == sorted(seen)


# Its files, and the pipeline


def test_wrong_files_are_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what ``plan`` asks of an entry, in one line each."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    x4, x3 = saved(tmp_path / "x4.safetensors", X4), saved(tmp_path / "x3.safetensors", SMALL)
    broken, half = tmp_path / "broken.safetensors", tmp_path / "half.pth"
    broken.write_bytes(x4.read_bytes()[:-100])
    half.write_bytes(saved(tmp_path / "x4.pth", X4).read_bytes()[:-5000])
    evil = tmp_path / "evil.pth"
    evil.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    swapped = hollow(tmp_path / "64.pth", "64_512")
    cases: list[tuple[int, dict[str, Any], str]] = [
        (4, {"path": str(tmp_path / "none.safetensors")}, "none.safetensors does not exist"),
        (4, {"path": str(x3)}, "x3.safetensors was trained for 3 alone: give one for 4"),
        (4, {"path": str(broken)}, "broken.safetensors: not a file of tensors (it ends too early)"),
        (4, {"path": str(half), "network": "x4_64_256"}, "half.pth: not a file of tensors"),
        (4, {"path": str(evil), "network": "x4_64_256"}, "evil.pth is not a network of SR3"),
        (4, {"path": str(swapped), "network": "x4_64_256"}, "64.pth is not the network x4_64_256 of SR3: is missing"),
        (8, {"path": str(swapped), "network": "ffhq_16_128"}, "64.pth is not the network ffhq_16_128 of SR3"),
        (8, {"network": "ffhq_16_128"}, "I640000_E37_gen.pth: put a copy there"),
        (8, {"path": str(tmp_path / "no.pth"), "network": "ffhq_64_512"}, "no.pth (weights sr3.ffhq_64_512): no such"),
        (4, {"path": str(x4), "steps": 10}, "more steps"),
    ]
    for factor, entry, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            upscale_recipe("u", {"method": "sr3"} | entry, factor, 0, 2, size=(64, 64), download=False)
        assert "\n" not in str(error.value)
    found, _ = upscale_recipe(
        "u", {"method": "sr3", "path": str(swapped), "network": "ffhq_64_512"}, 8, 0, 2, size=(64, 64), download=False
    )
    assert found["weights"] == {"sr3.ffhq_64_512": sha256_file(swapped)}


def test_small_images_and_wrong_files_stop_the_plan(project: Path, tmp_path: Path) -> None:
    swapped, broken = hollow(tmp_path / "64.pth", "64_512"), tmp_path / "broken.safetensors"
    broken.write_bytes(saved(broken, X4).read_bytes()[:-100])
    deep = saved(tmp_path / "deep.safetensors", Trained(SR3Config(8, (1,) * 8, 1, 4), 4))
    text = (project / "params.yaml").read_text()
    cases: list[tuple[dict[str, str], str]] = [
        ({"path": str(deep)}, "factor 4: LR images of 16 x 16 pixels are smaller than 32 per side; see images.crop"),
        ({"path": str(broken)}, "broken.safetensors: not a file of tensors (it ends too early)"),
        ({"path": str(swapped), "network": "x4_64_256"}, "64.pth is not the network x4_64_256 of SR3"),
    ]
    for entry, message in cases:
        theirs = json.dumps({"method": "sr3"} | entry)
        (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2"))
        done = stage_here("plan", cwd=project)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def _written(project: Path) -> dict[str, bytes]:
    """Samples, and what is said of them."""
    folder = project / "data/sr/theirs/x4/bicubic"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.suffix in SAMPLES}


def test_it_runs_in_the_pipeline(project: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "net.safetensors", X4)
    text = (project / "params.yaml").read_text()
    theirs = json.dumps({"method": "sr3", "path": str(path), "licence": "CC0"} | FEW)
    (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2"))
    for stage, *arguments in [
        ("plan",), ("attributes",), ("balance",), ("downscale", "bicubic", "4"), ("upscale", "theirs", "4", "bicubic"),
    ]:  # fmt: skip
        done = stage_here(stage, *arguments, cwd=project)
        assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/theirs/bicubic.json").read_text())
    assert recipe["files"] == {"net.safetensors": sha256_file(path)}
    assert recipe["samples"] == 2
    assert {"ida_rd/models/sr3/network.py", "ida_rd/upscale/diffusion/chain.py"} <= recipe["code"].keys()
    rows = (project / "data/sr/theirs/x4/bicubic/samples.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 2
    whole = _written(project)
    assert len(whole) == 4 * 2 + 1
    # The same from nothing, by two workers, and in two parts: a sample alone, then the other one in a run of both.
    shutil.rmtree(project / ".ida-rd/store")
    shutil.rmtree(project / "data/sr")
    text = (project / "params.yaml").read_text()
    for samples in (1, 2):
        (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\nsamples: {samples}"))
        for stage, *arguments in [("plan",), ("upscale", "theirs", "4", "bicubic")]:
            done = stage_here(stage, *arguments, cwd=project, env={"IDA_RD_WORKERS": "2"})
            assert done.returncode == 0, done.stderr
        assert len(_written(project)) == 4 * samples + 1
    assert _written(project) == whole
    path.write_bytes(saved(tmp_path / "other.safetensors", X4, dtype=torch.float16).read_bytes())
    done = stage_here("upscale", "theirs", "4", "bicubic", cwd=project)
    assert done.returncode == 2
    assert "changed since plan ran" in done.stderr

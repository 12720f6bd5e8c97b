"""The upscaler ``ldm``: parity with the package's pipeline, its contract, its files, and its place in ours."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, stage_here
from golden.pulse.recipe import normal
from numpy.typing import NDArray
from safetensors.torch import save_file

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.weights import MissingWeights
from ida_rd.models.latent.config import LDM_SR_UNET, LDM_SR_VQ, UNetConfig
from ida_rd.models.latent.folder import weights_in
from ida_rd.upscale import ldm
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.ldm import Parameters
from ida_rd.upscale.recipe import upscale_recipe

pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")

import diffusers
from latents import UNET, X4, changed, filled, nets, saved

from ida_rd.models.latent.layout import unet_shapes
from ida_rd.models.latent.networks import decoded
from ida_rd.upscale.ldm.sampler import LDMChain, steps_of

PARITY = pytest.mark.parity("ida_rd.upscale.ldm.sampler")
CPU = torch.device("cpu")
DRAWS = [Draw(0, "image", k) for k in range(3)]


class FromTorch(Draw):
    """Numbers in the order in which the package's pipeline draws them."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        return torch.randn(1, *shape)[0].numpy()


@PARITY
@torch.inference_mode()
@pytest.mark.parametrize(("steps", "eta"), [(7, 0.0), (7, 1.0), (20, 0.4)])
def test_samples_equal_those_of_the_packages_pipeline(steps: int, eta: float) -> None:
    """With the same numbers: the latent that is decoded, and the image of it."""
    unet, autoencoder = nets()
    pipeline: Any = diffusers.LDMSuperResolutionPipeline(
        vqvae=autoencoder,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.0015, beta_end=0.0155, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        ),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    lr, latents, decode = normal(5, 1, 3, 16, 24, dtype=torch.float32).clamp(-1, 1), [], autoencoder.decode

    def noted(latent: torch.Tensor, **options: Any) -> Any:
        latents.append(latent)
        return decode(latent, **options)  # type: ignore[operator]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(autoencoder, "decode", noted)
        torch.manual_seed(3)
        (theirs,) = pipeline(lr, num_inference_steps=steps, eta=eta, output_type="pt", return_dict=False)
    chain = LDMChain(unet, autoencoder, UNET, steps_of(Parameters(steps=steps, eta=eta)), lr)
    torch.manual_seed(3)
    noise = Noise([FromTorch(0, "", 0)], CPU)
    state = chain.begin(noise)
    for number in range(chain.steps):
        state = chain.step(number, state, noise)
    assert chain.steps == steps
    scale = float(latents[0].abs().max())
    torch.testing.assert_close(state.x, latents[0], rtol=0, atol=1e-5 * max(1, scale))
    # Of the same latent: in another, a pixel may be rounded to another vector.
    mine = chain.end(state._replace(x=latents[0]))
    torch.testing.assert_close(mine.clamp(0, 1), theirs, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_noise_is_added_where_eta_is_not_zero() -> None:
    unet, autoencoder = nets()
    lr = normal(5, 1, 3, 8, 8, dtype=torch.float32).clamp(-1, 1)
    asked: list[str] = []

    class Counting(Draw):
        def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
            asked.append(label)
            return super().normal(shape, label)

    for eta, expected in ((0.0, ["start"]), (0.5, ["start", "step 0", "step 1", "step 2"])):
        asked.clear()
        chain, noise = (
            LDMChain(unet, autoencoder, UNET, steps_of(Parameters(steps=3, eta=eta)), lr),
            Noise([Counting(0, "", 0)], CPU),
        )
        state = chain.begin(noise)
        for number in range(3):
            state = chain.step(number, state, noise)
        assert asked == expected


# What it is


def test_defaults_are_those_of_the_pipeline() -> None:
    assert Parameters().model_dump() == {"path": None, "steps": 100, "eta": 0.0, "batch": None, "licence": None}
    assert steps_of(Parameters()).times[:3] == (1, 11, 21)
    assert steps_of(Parameters()).times[-1] == 991
    assert steps_of(Parameters(steps=999)).times[-1] == 999


def test_it_says_what_it_is(tmp_path: Path) -> None:
    described = ldm.describe(Parameters(), 4)
    assert (described.kind, described.stochastic, described.blind, described.marks()) == ("diffusion", True, True, [])
    assert described.weights == {"ldm.unet": None, "ldm.vqvae": None}
    assert described.licence == "Apache-2.0; trained on OpenImages"
    assert described.size.problem(8, 11, 4) is None
    assert described.size.problem(7, 16, 4) == "LR images of 16 x 7 pixels are smaller than 8 per side"
    own = ldm.describe(Parameters(path=str(saved(tmp_path)), licence="CC0"), 2)
    assert own.licence == "CC0"
    assert own.weights["ldm.unet"] == str(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    assert own.size.least == 4


def test_networks_have_the_factor_of_their_autoencoder(tmp_path: Path) -> None:
    for parameters, factor, right in ((Parameters(), 8, 4), (Parameters(path=str(saved(tmp_path))), 4, 2)):
        with pytest.raises(UserError, match=f"factor {factor}: these networks enlarge by {right} alone"):
            ldm.describe(parameters, factor)


def test_networks_go_together(tmp_path: Path) -> None:
    saved(tmp_path, UNetConfig(4, 4, (8, 16), (), 1, 8, 4))
    with pytest.raises(
        UserError, match=r"its U-Net makes 4 channels of 4, and latents of 3 channels .* ask for 3 of 6"
    ):
        ldm.describe(Parameters(path=str(tmp_path)), 2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1000}, {"eta": -0.1}, {"eta": 1.1}, {"batch": 0}])
def test_impossible_settings_are_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"u.{next(iter(wrong))}: ") as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


# What it does


@pytest.mark.parametrize("change", [{"steps": 3}, {"steps": 4, "eta": 1, "batch": 2}])
def test_it_keeps_the_contract(tmp_path: Path, change: dict[str, Any]) -> None:
    check_upscaler(ldm, {"path": str(saved(tmp_path))} | change, 2)


def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(tmp_path: Path) -> None:
    """To the last bit, as long as `batch` is left alone; else in all but a code or two of the autoencoder's."""
    path, few = str(saved(tmp_path)), {"steps": 3, "eta": 0.7}
    lr = generator("ldm").integers(0, 256, (3, 9, 14), dtype=np.uint8)
    default = ldm.load(Parameters.model_validate({"path": path} | few), Problem(2), "cpu")
    together = default.sample(lr, DRAWS).sr
    assert together.shape == (3, 3, 18, 28)
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(default.sample(lr, [draw]).sr[0], together[k])
    assert np.array_equal(np.concatenate([default.sample(lr, part).sr for part in (DRAWS[:2], DRAWS[2:])]), together)
    for batch in (2, 3):
        other = ldm.load(Parameters.model_validate({"path": path, "batch": batch} | few), Problem(2), "cpu")
        assert (np.abs(other.sample(lr, DRAWS).sr.astype(int) - together) > 1).mean() < 0.1


def test_samples_are_a_function_of_seed_image_and_sample(tmp_path: Path) -> None:
    upscaler = ldm.load(Parameters(path=str(saved(tmp_path)), steps=3, eta=1), Problem(2), "cpu")
    lr = generator("ldm").integers(0, 256, (3, 8, 8), dtype=np.uint8)
    torch.manual_seed(1)
    first = upscaler.sample(lr, [Draw(0, "image", 0)]).sr
    torch.manual_seed(2)
    assert np.array_equal(upscaler.sample(lr, [Draw(0, "image", 0)]).sr, first)
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 1), (0, "image", 0, 1)):
        assert not np.array_equal(upscaler.sample(lr, [Draw(*other)]).sr, first)


@torch.inference_mode()
def test_other_sides_are_padded_by_reflection_and_cropped() -> None:
    unet, autoencoder = nets()
    lr = normal(1, 1, 3, 9, 14, dtype=torch.float32)
    chain = LDMChain(unet, autoencoder, UNET, steps_of(Parameters(steps=2)), lr)
    assert chain.shape == (3, 12, 16)
    assert torch.equal(chain.lr[:, :, :9, :14], lr)
    assert torch.equal(chain.lr[:, :, 9:, :14], lr[:, :, 5:8].flip(2))
    assert torch.equal(chain.lr[:, :, :9, 14:], lr[:, :, :, 11:13].flip(3))
    state = chain.begin(Noise(DRAWS[:2], CPU))
    whole = torch.cat([decoded(autoencoder, latent) for latent in state.x.split(1)])
    assert whole.shape == (2, 3, 24, 32)
    assert torch.equal(chain.end(state), (whole[:, :, :18, :28] + 1) / 2)


def test_the_unet_sees_the_lr_image_in_its_range(tmp_path: Path) -> None:
    upscaler = ldm.load(Parameters(path=str(saved(tmp_path)), steps=1), Problem(2), "cpu")
    seen: list[torch.Tensor] = []
    upscaler.unet.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[attr-defined]
    lr = np.zeros((3, 4, 8), np.uint8)
    lr[:, :, 4:] = 255
    upscaler.sample(lr, DRAWS[:1])
    assert seen[0].shape == (1, 6, 4, 8)
    assert torch.equal(seen[0][:, 3:], torch.tensor([-1.0] * 4 + [1.0] * 4).expand(1, 3, 4, 8))


def test_memory_grows_with_what_is_computed_together() -> None:
    def said(samples: int, batch: int | None = None) -> float:
        return ldm.memory(Parameters(batch=batch), 4, samples)

    assert said(1) == said(5) == ldm.bytes_of_decoding(LDM_SR_VQ)
    assert said(50, batch=40) == 40 * ldm.bytes_of_step(LDM_SR_UNET) / 16
    assert said(2, batch=40) == said(1)


def test_progress_is_told_at_every_step(tmp_path: Path) -> None:
    seen: list[float] = []
    upscaler = ldm.load(Parameters(path=str(saved(tmp_path)), steps=3), Problem(2), "cpu")
    with listening(seen.append):
        upscaler.sample(np.zeros((3, 4, 4), np.uint8), DRAWS[:2])
    assert len(set(seen)) == 6
    assert seen == sorted(seen)


# Its files, and the pipeline


def test_wrong_files_are_found_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what ``plan`` asks of an entry, in one line each."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    names = ("whole", "part", "swapped", "broken", "evil", "unconfigured")
    folders = {name: saved(tmp_path / name, old=name == "evil") for name in names}
    weights_in(folders["part"], "vqvae").unlink()
    unet = weights_in(folders["swapped"], "unet")
    unet.write_bytes(weights_in(folders["whole"], "vqvae").read_bytes())
    broken = weights_in(folders["broken"], "vqvae")
    broken.write_bytes(broken.read_bytes()[:-100])
    weights_in(folders["evil"], "unet").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (folders["unconfigured"] / "unet" / "config.json").unlink()
    (folders["unconfigured"] / "vqvae" / "config.json").unlink()
    cases: list[tuple[int, dict[str, Any], str]] = [
        (2, {"path": str(tmp_path / "none")}, "none is no folder: give that of the networks"),
        (2, {"path": str(unet)}, "diffusion_pytorch_model.safetensors is no folder"),
        (2, {"path": str(folders["part"])}, "has no vqvae/diffusion_pytorch_model.safetensors, nor .bin: give the whole"
         " folder, such as https://huggingface.co/CompVis/ldm-super-resolution-4x-openimages (Apache-2.0; trained"),
        (2, {"path": str(folders["swapped"])}, f"{unet} is not this U-Net of latent diffusion: is missing: conv_in"),
        (2, {"path": str(folders["broken"])}, f"{broken}: not a file of tensors (it ends too early)"),
        (2, {"path": str(folders["evil"])}, "model.bin is not this U-Net of latent diffusion: is missing"),
        (4, {"path": str(folders["unconfigured"])}, "has another shape: conv_in.weight (16, 6, 3, 3) for (160, 6, 3"),
        (4, {}, "weights ldm.unet are not at "),
        (2, {}, "factor 2: these networks enlarge by 4 alone"),
    ]  # fmt: skip
    for factor, entry, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            upscale_recipe("u", {"method": "ldm"} | entry, factor, 0, 2, size=(64, 64), download=False)
        assert "\n" not in str(error.value)
    found, _ = upscale_recipe("u", {"method": "ldm", "path": str(folders["whole"])}, 2, 0, 2, size=None, download=False)
    assert found["weights"]["ldm.unet"] == sha256_file(weights_in(folders["whole"], "unet"))
    assert set(found["files"]) == {"config.json", "config.json (2)", "scheduler_config.json"}
    assert set(found["packages"]) == {"diffusers"}
    with pytest.raises(MissingWeights, match=r"ldm-super-resolution-4x-openimages-unet\.bin: put a copy there"):
        ldm.load(Parameters(), Problem(4), "cpu")


def _planned(project: Path, **entry: Any) -> subprocess.CompletedProcess[str]:
    text = (project / "params.yaml").read_text()
    theirs = json.dumps({"method": "ldm"} | entry)
    (project / "params.yaml").write_text(text.replace("\nsamples: 2", f"\n  theirs: {theirs}\nsamples: 2"))
    return stage_here("plan", cwd=project)


def test_a_missing_package_and_small_images_stop_the_plan(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (project / "params.yaml").read_text()
    deep = saved(tmp_path / "deep", UNetConfig(6, 3, (4,) * 6, (), 1, 4, 4), X4)
    done = _planned(project, path=str(deep))
    assert "factor 4: LR images of 16 x 16 pixels are smaller than 32 per side; see images.crop" in done.stderr
    (project / "params.yaml").write_text(text)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "diffusers" else find(name))
    missing = _planned(project, path=str(saved(tmp_path / "net", UNET, X4)))
    for one in (done, missing):
        assert one.returncode == 2
        assert len(one.stderr.strip().splitlines()) == 1
    assert "the package diffusers is not installed: pip install 'ida-rd[diffusion]'" in missing.stderr


FORBIDDEN = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('diffusers', 'transformers'):
            print('imported', name, file=sys.stderr); sys.exit(77)
sys.meta_path.insert(0, Forbidden())
"""


def test_nothing_of_the_package_is_imported_by_other_methods() -> None:
    """In an interpreter where an attempt ends the program."""
    code = FORBIDDEN + (
        "import numpy as np\n"
        "from ida_rd.core.methods import ENTRY, find_method, known_methods\n"
        "from ida_rd.core.seeds import Draw\n"
        "from ida_rd.upscale import flow, ldm\n"
        "from ida_rd.upscale.contract import Problem\n"
        "for room in ENTRY:\n"
        "    for name in known_methods(room): find_method(room, name, where='x')\n"
        "ldm.describe(ldm.Parameters(), 4); ldm.files(ldm.Parameters(), 4)\n"
        "lr = np.zeros((3, 8, 8), np.uint8)\n"
        "flow.load(flow.Parameters(), Problem(4), 'cpu').sample(lr, [Draw(0, 'a', 0)])\n"
        "import diffusers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 77, done.stderr
    assert done.stderr == "imported diffusers\n"


@pytest.mark.slow
def test_a_run_without_the_package_is_as_ever(project: Path) -> None:
    (project / "sitecustomize.py").write_text(FORBIDDEN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project), str(ROOT)])}
    probe = subprocess.run([sys.executable, "-c", "import diffusers"], env=environment, cwd=project, check=False)
    assert probe.returncode == 77
    program = [sys.executable, "-m", "ida_rd.run"]
    done = subprocess.run(program, env=environment, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_runs_in_the_pipeline(project: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path / "net", UNET, X4)
    done = _planned(project, path=str(folder), steps=2, licence="CC0")
    assert done.returncode == 0, done.stderr
    for stage, *arguments in [
        ("attributes",), ("balance",), ("downscale", "bicubic", "4"), ("upscale", "theirs", "4", "bicubic"),
    ]:  # fmt: skip
        done = stage_here(stage, *arguments, cwd=project)
        assert done.returncode == 0, done.stderr
    recipe = json.loads((project / "data/plan/upscale/x4/theirs/bicubic.json").read_text())
    assert recipe["packages"]["diffusers"].startswith("diffusers 0.")
    used = {"ida_rd/models/latent/networks.py", "ida_rd/upscale/diffusion/ddim.py", "ida_rd/upscale/diffusion/chain.py"}
    assert used <= recipe["code"].keys()
    rows = (project / "data/sr/theirs/x4/bicubic/samples.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 2
    assert all(row.split(",")[2] == "True" for row in rows[1:])
    changed(folder / "unet" / "config.json", attention_head_dim=16)
    done = stage_here("upscale", "theirs", "4", "bicubic", cwd=project)
    assert done.returncode == 2
    assert "changed since plan ran" in done.stderr


def test_samples_that_are_not_finite_are_told(tmp_path: Path) -> None:
    """As they are in a network whose numbers overflow."""
    folder = saved(tmp_path)
    state = filled(unet_shapes(UNET))
    save_file(state | {"conv_out.weight": state["conv_out.weight"] * 1e38}, weights_in(folder, "unet"))
    samples = ldm.load(Parameters(path=str(folder), steps=3), Problem(2), "cpu").sample(
        np.zeros((3, 4, 4), np.uint8), DRAWS
    )
    assert not samples.finite.any()


def test_a_configuration_that_changed_is_another_recipe(tmp_path: Path) -> None:
    folder = saved(tmp_path)

    def found() -> Any:
        entry = {"method": "ldm", "path": str(folder)}
        return upscale_recipe("u", entry, 2, 0, 2, size=None, download=False)[0]["files"]

    before = found()
    changed(folder / "unet" / "config.json", attention_head_dim=16)
    assert found() != before

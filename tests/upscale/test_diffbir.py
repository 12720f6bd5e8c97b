"""The upscaler ``diffbir``: golden samples, its contract and parameters, and its files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from golden.pulse.recipe import image, normal
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import validate
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.tensors import TensorFile
from ida_rd.core.weights import MissingWeights
from ida_rd.upscale import diffbir
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.diffbir import Parameters, layout
from ida_rd.upscale.diffbir.layout import Sizes, check_file
from ida_rd.upscale.diffbir.versions import Way
from ida_rd.upscale.recipe import upscale_recipe

pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("spandrel", reason="needs the package spandrel: pip install 'ida-rd[spandrel]'")

import diffbirs
from diffbirs import hollow, swinir, tiny, whole

from ida_rd.upscale.diffbir import canvas as canvases
from ida_rd.upscale.diffbir import sampler as sampling
from ida_rd.upscale.diffbir.canvas import Canvas
from ida_rd.upscale.diffbir.networks import Networks, Texts, ids_of, stage1_of
from ida_rd.upscale.diffbir.sampler import DiffBIRChain, How
from ida_rd.upscale.diffusion.chain import Noise, taken_through
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.diffusion.samplers import SAMPLERS, sampler_of
from ida_rd.upscale.diffusion.schedule import scaled_linear

PARITY = pytest.mark.parity("ida_rd.upscale.diffbir.sampler", "ida_rd.upscale.diffbir.canvas")
CPU = torch.device("cpu")
DRAWS = [Draw(0, "image", k) for k in range(3)]
TINY = Sizes(diffbirs.UNET, diffbirs.AUTOENCODER, diffbirs.TEXT)
LR = generator("diffbir").integers(0, 256, (3, 9, 14), dtype=np.uint8)


class Given(Draw):
    """The noise that the golden pipeline was given."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        k = 0 if label == "start" else int(label.removeprefix("step ")) + 1
        return normal(9000 + k, 1, *shape, dtype=torch.float32)[0].numpy()


def within_one(mine: NDArray[np.uint8], golden: Any) -> None:
    off = np.abs(mine.astype(int) - golden)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@PARITY
@torch.inference_mode()
def test_the_whole_of_v1_equals_the_golden_one(shared: Path) -> None:
    """An LR image of 31 x 24, made at 662 x 512 and reduced; stage 1 is the identity, as there."""
    golden = np.load(shared / "golden" / "diffbir" / "golden_v1_pipeline.npz")
    modules = np.load(shared / "golden" / "diffbir" / "golden_tiny_modules.npz")
    ids = ids_of((), 77)
    assert np.array_equal(ids[0].numpy(), modules["tokens"][0])
    lr, canvas = image(24, 31, 63), Canvas(24, 31)
    assert (canvas.final, canvas.size, canvas.padding) == ((96, 124), (512, 662), (0, 42))
    smooth = canvas.prepared(lr)
    assert np.array_equal(
        (smooth[0, :, 200:232, 300:332] * 255).round().numpy().transpose(1, 2, 0), golden["resized_crop"]
    )
    text = tiny(shared, "text")(input_ids=ids).last_hidden_state
    nets = Networks(tiny(shared, "unet"), tiny(shared, "control"), tiny(shared, "vae"))
    how = How(sampler_of("spaced", scaled_linear(), 3), FIXES["wavelet"], official=True)
    chain = DiffBIRChain(nets, Texts(text, text), how, smooth, canvas)
    assert chain.shape == (4, 64, 88)
    found = taken_through(chain, Noise([Given(0, "", 0)], CPU))
    within_one((found[0] * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0), golden["v1_out_uint8"])


@PARITY
@torch.inference_mode()
def test_stage_1_equals_the_golden_one(shared: Path) -> None:
    """Of the official size; and in the mode of training, in which the loader leaves it, it would not."""
    golden = np.load(shared / "golden" / "diffbir" / "golden_swinir_full.npz")
    state = swinir(depths=8 * [6], width=180, heads=6)
    keys = diffbirs.keys(shared)["swinir"]
    assert {key: list(value.shape) for key, value in state.items()} == keys
    for key, value in diffbirs.weights(keys).items():
        if not key.endswith(("attn_mask", "relative_position_index")):
            state[key] = value
    net = stage1_of(TensorFile(Path("s.ckpt"), "", {"state_dict": state}, {}), CPU, "v1")
    given = torch.from_numpy(image(64, 128, 3)[None].astype(np.float32) / 255)
    found = net(given)[0]
    np.testing.assert_allclose(found[:, 16:48, 48:80].numpy(), golden["crop"].reshape(3, 32, 32), rtol=0, atol=1e-5)
    assert float(found.min()) < 0, "it is not clamped"
    torch.manual_seed(0)
    assert (net.train()(given)[0] - found).abs().max() > 0.01


@torch.inference_mode()
def test_the_upscaler_spandrel_is_not_in_the_mode_of_training(tmp_path: Path) -> None:
    """Of a network that leaves out parts of itself at random in that mode."""
    from ida_rd.upscale import spandrel

    path = tmp_path / "swinir.pth"
    torch.save(swinir(scale=4, unshuffle=1), path)
    upscaler = spandrel.load(spandrel.Parameters(path=str(path)), Problem(4), "cpu")
    first = upscaler.sample(LR[:, :8, :8], DRAWS[:1]).sr
    assert np.array_equal(upscaler.sample(LR[:, :8, :8], DRAWS[:1]).sr, first)
    assert not any(part.training for part in upscaler.network.model.modules())


# What it is


def test_defaults_are_those_of_the_publication() -> None:
    assert Parameters().model_dump() == {
        "version": "v1", "path": None, "control": None, "stage1": "published", "swinir": None, "bsrnet": None,
        "sampler": None, "steps": None, "cfg": None, "start": "noise", "tile": None, "stride": None,
        "colour": "wavelet", "compat": "none", "batch": None, "licence": None,
    }  # fmt: skip
    fields = Parameters.model_fields
    assert get_args(Way) == SAMPLERS
    assert set(get_args(fields["colour"].annotation)) == set(FIXES)


def test_it_says_what_it_is() -> None:
    described = diffbir.describe(Parameters(), 4)
    assert (described.kind, described.stochastic, described.blind, described.marks()) == ("diffusion", True, True, [])
    assert described.weights == {"diffbir.general_full_v1": None, "diffbir.general_swinir_v1": None}
    assert diffbir.describe(Parameters(stage1="inside", path="x.ckpt"), 4).weights == {}
    assert described.settings == {"sampler": "spaced", "steps": 50, "cfg": 1.0, "prompt": []}
    assert described.licence.startswith("CreativeML Open RAIL++-M")
    assert diffbir.describe(Parameters(licence="mine"), 4).licence == "mine"
    assert described.size.problem(1, 1, 4) is None
    with pytest.raises(UserError, match="factor 8: DiffBIR enlarges by 4 alone"):
        diffbir.describe(Parameters(), 8)
    assert (
        diffbir.memory(Parameters(batch=4), 4, 5)
        > diffbir.memory(Parameters(), 4, 5)
        == diffbir.memory(Parameters(), 4, 1)
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 1}, "u.steps: "),
        ({"sampler": "ddpm"}, "u.sampler: "),
        ({"colour": "lab"}, "u.colour: "),
        ({"stage1": "inside", "swinir": "a.ckpt"}, "swinir: stage1: inside does not use it"),
    ],
)
def test_impossible_settings_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


def test_its_files_are_known_without_torch() -> None:
    code = (
        "import sys; from ida_rd.upscale import diffbir; from ida_rd.upscale.diffbir import layout;"
        "layout.parts_of(layout.SIZES); p = diffbir.Parameters(); diffbir.describe(p, 4); diffbir.files(p, 4);"
        "assert not {'torch', 'diffusers', 'transformers', 'spandrel'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# What it does


@pytest.fixture(scope="module")
def net(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(shared, tmp_path_factory.mktemp("diffbir") / "general_full_v1.ckpt")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks in the file, and images that are made at 64 pixels at least."""
    monkeypatch.setattr(layout, "SIZES", TINY)
    monkeypatch.setattr(canvases, "LEAST", 64)


def loaded(net: Path, **changed: Any) -> sampling.DiffBIRUpscaler:
    values = {"path": str(net), "stage1": "inside", "steps": 2} | changed
    return sampling.DiffBIRUpscaler(Parameters.model_validate(values), "cpu")


@pytest.mark.usefixtures("small")
def test_it_keeps_the_contract(net: Path) -> None:
    check_upscaler(diffbir, {"path": str(net), "stage1": "inside", "steps": 2}, 4)


@pytest.mark.usefixtures("small")
def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(net: Path) -> None:
    """To the last bit, as long as `batch` is left alone; and within a grey level else."""
    default = loaded(net)
    together = default.sample(LR, DRAWS).sr
    assert together.shape == (3, 3, 36, 56)
    for k, draw in enumerate(DRAWS):
        assert np.array_equal(default.sample(LR, [draw]).sr[0], together[k])
    torch.manual_seed(1)
    assert np.array_equal(np.concatenate([default.sample(LR, part).sr for part in (DRAWS[:2], DRAWS[2:])]), together)
    assert np.abs(loaded(net, batch=3).sample(LR, DRAWS).sr.astype(int) - together).max() <= 1
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 1), (0, "image", 0, 1)):
        assert not np.array_equal(default.sample(LR, [Draw(*other)]).sr[0], together[0])


@pytest.mark.usefixtures("small")
def test_what_depends_on_the_lr_image_alone_is_computed_once(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler, calls = loaded(net), {"stage1": 0, "encoded": 0, "unet": 0}

    def count(name: str) -> Any:
        def hook(*_: Any) -> None:
            calls[name] += 1

        return hook

    upscaler.stage1.register_forward_pre_hook(count("stage1"))
    upscaler.nets.autoencoder.encoder.register_forward_pre_hook(count("encoded"))  # type: ignore[union-attr]
    upscaler.nets.unet.register_forward_pre_hook(count("unet"))
    upscaler.sample(LR, DRAWS)
    assert calls == {"stage1": 1, "encoded": 1, "unet": 3 * 2}


@pytest.mark.usefixtures("small")
def test_settings_change_what_they_name(net: Path) -> None:
    usual = loaded(net).sample(LR, DRAWS[:1]).sr
    for changed in (
        {"steps": 3},
        {"sampler": "dpm++_3m_sde"},
        {"sampler": "ddim"},
        {"colour": "adain"},
        {"colour": "none"},
    ):
        assert not np.array_equal(loaded(net, **changed).sample(LR, DRAWS[:1]).sr, usual)
    off = usual.astype(int) - loaded(net, compat="official").sample(LR, DRAWS[:1]).sr
    assert 0.2 < off.mean() < 0.8, "half a level is lost"


@torch.inference_mode()
def test_an_image_that_is_none_is_told(shared: Path) -> None:
    """And one of the size at which it is made keeps what lies outside of 8 bits, to be counted."""
    nets = Networks(tiny(shared, "unet"), tiny(shared, "control"), tiny(shared, "vae"))
    how = How(sampler_of("spaced", scaled_linear(), 2), FIXES["none"])
    canvas, text = Canvas(128, 128), torch.zeros(1, 77, 32)
    assert (canvas.size, canvas.padding) == ((512, 512), (0, 0))
    canvas.size = canvas.final = (64, 64)
    chain = DiffBIRChain(nets, Texts(text, text), how, torch.full((1, 3, 64, 64), 0.5), canvas)
    good = chain.begin(Noise(DRAWS[:1], CPU))
    assert torch.isnan(chain.end(good._replace(x=good.x * torch.nan))).all()
    assert chain.end(good).max() > 1
    canvas.final = (32, 32)
    assert chain.end(good).shape == (1, 3, 32, 32)
    assert torch.isnan(chain.end(good._replace(x=good.x * torch.nan))).all()
    assert chain.end(good).max() <= 1


@pytest.mark.parametrize(
    ("sides", "size", "padding"),
    [
        ((128, 130), (512, 520), (0, 56)),
        ((96, 96), (512, 512), (0, 0)),
        ((127, 200), (512, 807), (0, 25)),
        ((300, 140), (1200, 560), (16, 16)),
    ],
)
def test_sizes_on_the_way(sides: tuple[int, int], size: tuple[int, int], padding: tuple[int, int]) -> None:
    canvas = Canvas(*sides)
    assert (canvas.final, canvas.size, canvas.padding) == ((4 * sides[0], 4 * sides[1]), size, padding)


# Its files


def test_official_files_are_whole(shared: Path, tmp_path: Path) -> None:
    """Files with the names of all official tensors, in one file; and each of their parts is missed."""
    full = hollow(shared, tmp_path / "general_full_v1.ckpt")
    check_file(full, "v1", "base", inside=True)
    for prefix, what in (
        ("model.diffusion_model.input_blocks.4.", "the U-Net of DiffBIR v1 (model.diffusion_model....) is not"),
        ("control_model.zero_convs.", "the control of DiffBIR v1"),
        ("first_stage_model.decoder.up.3.", "the autoencoder of DiffBIR v1"),
        ("cond_stage_model.model.transformer.resblocks.22.", "the text encoder of DiffBIR v1"),
        ("preprocess_model.conv_first.", "the network of stage 1 of DiffBIR v1"),
    ):
        part = hollow(shared, tmp_path / "part.ckpt", without=prefix)
        with pytest.raises(UserError, match=re.escape(what)) as error:
            check_file(part, "v1", "base", inside=True)
        assert str(error.value).endswith(": give the right file")
        assert len(str(error.value).splitlines()) == 1
    check_file(hollow(shared, tmp_path / "part.ckpt", without="preprocess_model."), "v1", "base")
    without = "cond_stage_model.model.transformer.resblocks.23."
    check_file(hollow(shared, tmp_path / "part.ckpt", without=without), "v1", "base", inside=True)


def test_wrong_files_are_found_before_anything_runs(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what ``plan`` asks of an entry, in one line each."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    full, stage1 = hollow(shared, tmp_path / "full.ckpt"), tmp_path / "swinir.ckpt"
    torch.save({"state_dict": swinir()}, stage1)
    broken, evil = tmp_path / "broken.ckpt", tmp_path / "evil.ckpt"
    broken.write_bytes(full.read_bytes()[:-5000])
    evil.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    cached = tmp_path / "cache" / "hub" / "checkpoints" / "general_full_v1.ckpt"
    inside = {"stage1": "inside"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "weights diffbir.general_full_v1 are not at"),
        (
            {"path": str(full)},
            "general_swinir_v1.ckpt: put a copy there (it was part of https://github.com/XPixelGroup",
        ),
        ({"path": str(tmp_path / "no.ckpt")} | inside, "no.ckpt does not exist: give general_full_v1.ckpt, of https"),
        ({"path": str(full), "swinir": str(tmp_path / "no")}, "swinir: "),
        ({"path": str(stage1), "swinir": str(stage1)}, "swinir.ckpt: the U-Net of DiffBIR v1"),
        ({"path": str(full), "swinir": str(full)}, "full.ckpt: the network of stage 1 of DiffBIR v1 is not"),
        ({"path": str(broken)} | inside, "broken.ckpt"),
        ({"path": str(evil)} | inside, "evil.ckpt: the U-Net of DiffBIR v1"),
    ]
    for entry, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as error:
            upscale_recipe("u", {"method": "diffbir"} | entry, 4, 0, 2, size=(64, 64), download=False)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
    entry = {"method": "diffbir", "path": str(full), "swinir": str(stage1)}
    found, _ = upscale_recipe("u", entry, 4, 0, 2, size=(64, 64), download=False)
    assert found["files"] == {"full.ckpt": sha256_file(full), "swinir.ckpt": sha256_file(stage1)}
    assert set(found["packages"]) == {"diffusers", "transformers", "spandrel"}
    cached.parent.mkdir(parents=True)
    cached.write_bytes(full.read_bytes())
    with pytest.raises(UserError, match=r"has sha256 .* expected b511f6be"):
        upscale_recipe("u", {"method": "diffbir"} | inside, 4, 0, 2, size=(64, 64), download=False)
    with pytest.raises(MissingWeights):
        diffbir.load(Parameters(path=str(full)), Problem(4), "cpu")


@pytest.mark.usefixtures("small")
def test_files_are_what_is_loaded(net: Path, shared: Path, tmp_path: Path) -> None:
    separate = tmp_path / "swinir.pth"
    torch.save({f"module.{key}": value for key, value in swinir().items()}, separate)
    usual = loaded(net).sample(LR, DRAWS[:1]).sr
    assert np.array_equal(loaded(net, stage1="published", swinir=str(separate)).sample(LR, DRAWS[:1]).sr, usual)
    state = torch.load(net)["state_dict"]
    other = tmp_path / "other.ckpt"
    for change, message in (
        (
            {"control_model.input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)},
            "the control of DiffBIR v1 (control_model",
        ),
        ({"model.diffusion_model.out.2.bias": torch.full((4,), torch.nan)}, "not finite"),
        ({"first_stage_model.loss.weight": torch.zeros(2)}, "is unknown: loss.weight"),
    ):
        torch.save({"state_dict": state | change}, other)
        with pytest.raises(UserError, match=re.escape(message)) as error:
            loaded(other)
        assert len(str(error.value).splitlines()) == 1
    torch.save(torch.nn.Linear(2, 2).state_dict(), other)
    with pytest.raises(UserError, match=r"stage 1 cannot be loaded|recognises no|not the network of stage 1"):
        loaded(net, stage1="published", swinir=str(other))

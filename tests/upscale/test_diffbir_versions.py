"""DiffBIR v2 and v2.1: their prompts, guidance, tiles, sizes and files; and the memory of images made at 512 pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.pulse.recipe import image, normal
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.methods import method_recipe, open_method, validate
from ida_rd.core.seeds import Draw, generator
from ida_rd.core.tensors import TensorFile
from ida_rd.upscale import diffbir
from ida_rd.upscale.contract import memory_of
from ida_rd.upscale.diffbir import Parameters, layout, made_at
from ida_rd.upscale.diffbir.layout import Sizes, check_file
from ida_rd.upscale.diffbir.versions import VERSIONS, Name
from ida_rd.upscale.need import need_of
from ida_rd.upscale.stage import _sizes

pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("spandrel", reason="needs the package spandrel: pip install 'ida-rd[spandrel]'")

import diffbirs
from diffbirs import separate, tiny, whole

from ida_rd.models.latent.networks import controlled
from ida_rd.upscale.diffbir import canvas as canvases
from ida_rd.upscale.diffbir.canvas import CANVASES, EnlargedCanvas, LaterCanvas, resized
from ida_rd.upscale.diffbir.networks import Networks, Texts, ids_of, stage1_of
from ida_rd.upscale.diffbir.sampler import DiffBIRChain, DiffBIRUpscaler, How, how_of
from ida_rd.upscale.diffusion.chain import Noise, taken_through
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.diffusion.edm import SDE3M
from ida_rd.upscale.diffusion.samplers import sampler_of
from ida_rd.upscale.diffusion.schedule import scaled_linear

PARITY = pytest.mark.parity("ida_rd.upscale.diffbir.sampler", "ida_rd.upscale.diffbir.canvas")
SLOW = pytest.mark.slow
CPU = torch.device("cpu")
DRAWS = [Draw(0, "image", k) for k in range(2)]
LR = generator("diffbir").integers(0, 256, (3, 16, 20), dtype=np.uint8)  # made at 64 x 80


class Given(Draw):
    """The noise that the golden pipeline was given."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        k = 0 if label == "start" else int(label.removeprefix("step ")) + 1
        return normal(7900 + k, 1, *shape, dtype=torch.float32)[0].numpy()


@pytest.fixture(scope="module")
def post(shared: Path) -> Any:
    return np.load(shared / "golden" / "diffbir" / "golden_post.npz")


@PARITY
def test_prompts_are_the_golden_ones(shared: Path) -> None:
    rows = np.load(shared / "golden" / "diffbir" / "golden_tiny_modules.npz")["tokens"]
    for words, row in (
        (VERSIONS["v1"].prompt, 0), (VERSIONS["v1"].negative, 0), (VERSIONS["v2"].prompt, 0),
        (VERSIONS["v2"].negative, 1), (VERSIONS["v2.1"].prompt, 2), (VERSIONS["v2.1"].negative, 3),
    ):  # fmt: skip
        assert np.array_equal(ids_of(words, 77)[0].numpy(), rows[row])
    assert ids_of((5, 6, 7), 4).tolist() == [[49406, 5, 6, 49407]]


@PARITY
def test_images_are_resized_and_extended_as_the_golden_ones(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, key in ((normal(52, 1, 3, 13, 17), "short_edge_to_20"), (normal(54, 1, 3, 40, 52), "down_aa_bicubic")):
        found = resized(given.float(), post[key].shape[2:])
        np.testing.assert_allclose(found.numpy(), post[key], rtol=0, atol=1e-5)
    monkeypatch.setattr(canvases, "LEAST", 20)
    canvas = LaterCanvas(13, 17)
    canvas.final = (13, 17)
    assert (canvas._scaled(0, 13), canvas._scaled(1, 13)) == post["short_edge_to_20"].shape[2:]
    small = normal(53, 1, 2, 5, 9).float()
    canvas.size = (5, 9)
    canvas.tile = 1
    canvas.padding = canvas._padding()
    assert np.array_equal(canvas.controlling(small).numpy(), post["pad8"])


@PARITY
def test_the_smooth_image_is_the_same_for_v2_and_v2_1_where_stage_1_does_nothing(post: Any) -> None:
    """As in the golden pipeline, in which it is Pillow's bicubic enlargement."""
    lr, enlarged = image(24, 30, 60), post["lq_x4_pil_bicubic"]
    given = torch.from_numpy(enlarged.transpose(2, 0, 1))[None].float() / 255
    first = EnlargedCanvas(24, 30).smoothed(lr, lambda _: given, CPU)
    assert first.shape == (1, 3, 512, 640)
    assert torch.equal(LaterCanvas(24, 30).smoothed(lr, lambda images: images, CPU), first)


@PARITY
@SLOW
@torch.inference_mode()
def test_the_whole_of_v2_equals_the_golden_one(shared: Path, post: Any) -> None:
    """An LR image of 30 x 24, made at 640 x 512 and reduced; stage 1 is the identity, as there."""
    lr = image(24, 30, 60)
    given = torch.from_numpy(post["lq_x4_pil_bicubic"].transpose(2, 0, 1))[None].float() / 255
    canvas = EnlargedCanvas(24, 30)
    smooth = canvas.smoothed(lr, lambda _: given, CPU)
    encoder = tiny(shared, "text")
    words = (), VERSIONS["v2"].negative
    texts = Texts(*(encoder(input_ids=ids_of(one, 77)).last_hidden_state for one in words))
    nets = Networks(tiny(shared, "unet"), tiny(shared, "control"), tiny(shared, "vae"))
    how = How(sampler_of("spaced", scaled_linear(), 3), FIXES["wavelet"], cfg=4.0, official=True)
    found = taken_through(DiffBIRChain(nets, texts, how, smooth, canvas), Noise([Given(0, "", 0)], CPU))
    mine = (found[0] * 255).round().numpy().astype(int).transpose(1, 2, 0)
    off = np.abs(mine - post["pipeline_uint8"][0])
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize(
    ("sides", "tile", "size", "padding"),
    [
        ((31, 24), None, (661, 512), (43, 0)),
        ((31, 24), 512, (661, 512), (3, 0)),
        ((31, 24), 704, (661, 512), (43, 0)),
        ((128, 130), None, (512, 520), (0, 56)),
        ((300, 141), 512, (1200, 564), (0, 4)),
        ((12, 12), None, (512, 512), (0, 0)),
    ],
)
def test_sizes_on_the_way_of_the_later_versions(
    sides: tuple[int, int], tile: int | None, size: tuple[int, int], padding: tuple[int, int]
) -> None:
    """Sides of more than one tile are of whole latent pixels, and others of whole windows."""
    canvas = LaterCanvas(*sides, tile)
    assert (canvas.size, canvas.padding) == (size, padding)


def test_the_memory_of_small_images_is_that_of_512_pixels(tmp_path: Path) -> None:
    """What `stages/upscale` counts with; at 256 it is four times as much as by the HR image's own pixels."""
    given = Parameters()
    assert made_at(given, 256, 256) == (512, 512)
    assert made_at(given, 512, 512) == (512, 512)
    assert made_at(given, 96, 124) == (512, 704)
    assert made_at(given, 1200, 560) == (1216, 576)
    for sides in ((24, 31), (31, 24), (12, 12), (200, 160), (127, 200)):
        for kind in CANVASES.values():
            canvas = kind(*sides)
            made = made_at(given, *canvas.final)
            assert all(a + b <= c for a, b, c in zip(canvas.size, canvas.padding, made, strict=True))
    for name, size in (("a", (64, 64)), ("b", (96, 64))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    images = {name: tmp_path / f"{name}.png" for name in ("a", "b")}
    for entry, pixels in (({"method": "diffbir"}, 512 * 768), ({"method": "flow"}, 256 * 384)):
        recipe = method_recipe("upscale", "u", entry) | {"factor": 4}
        method = open_method(recipe)
        assert _sizes(method, recipe, images) == {"a": (256, 256), "b": (384, 256)}
        each = memory_of(method, 4, 5)
        assert each
        assert need_of(method, 4, 5, 256, 384) == each * pixels


# What they are


def test_what_the_versions_leave_open_is_as_published() -> None:
    described = {version: diffbir.describe(Parameters(version=version), 4) for version in VERSIONS}
    assert described["v2"].weights == {"diffbir.sd2_1": None, "diffbir.v2": None, "diffbir.bsrnet": None}
    assert list(described["v2.1"].weights) == ["diffbir.sd2_1_zsnr", "diffbir.v2_1", "diffbir.swinir_v2_1"]
    assert described["v2"].settings == {
        "sampler": "spaced", "steps": 50, "cfg": 4.0, "prompt": [], "negative": list(VERSIONS["v2"].negative),
    }  # fmt: skip
    found = described["v2.1"].settings
    assert (found["sampler"], found["steps"], found["cfg"]) == ("dpm++_3m_sde", 10, 6.0)
    assert found["prompt"] == list(VERSIONS["v2.1"].prompt) != found["negative"]
    assert "negative" not in diffbir.describe(Parameters(version="v2", cfg=1), 4).settings
    assert diffbir.describe(Parameters(version="v2", tile=512), 4).settings["stride"] == 256
    assert described["v2"].licence == "CreativeML Open RAIL++-M; Apache-2.0"


def test_v2_1_is_sampled_from_noise_alone_by_velocities() -> None:
    how = how_of(Parameters(version="v2.1", tile=512, stride=320, start="condition"))
    assert isinstance(how.sampler, SDE3M)
    assert (how.sampler.predicts, how.sampler.steps, how.cfg, how.tiles, how.begin) == ("v", 10, 6.0, (64, 40), 0)
    usual = sampler_of("dpm++_3m_sde", scaled_linear(), 10)
    assert isinstance(usual, SDE3M)
    assert how.sampler.levels[1] > 1.5 * usual.levels[1], "nothing is left at the last time, and less before"
    other = how_of(Parameters(version="v2", start="condition", compat="official"))
    assert other.begin == pytest.approx(scaled_linear()[-1])
    assert (other.tiles, other.official) == (None, True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "v3"}, "u.version: "),
        ({"cfg": 4}, "cfg: v1 has no prompt to be guided by"),
        ({"control": "a.pth"}, "control: v1 has no such file"),
        ({"version": "v2", "swinir": "a.pth"}, "swinir: v2 has no such file"),
        ({"version": "v2.1", "bsrnet": "a.pth"}, r"bsrnet: v2.1 has no such file"),
        ({"version": "v2", "stage1": "inside"}, "stage1: v2 has none inside"),
        ({"version": "v2.1", "sampler": "dpm_solver"}, "sampler: dpm_solver begins where something"),
        ({"stride": 256}, "stride: nothing is cut without tile"),
        ({"tile": 64, "stride": 128}, "stride: tiles of 64 pixels, 128 apart, leave gaps"),
        ({"tile": 100}, "u.tile: "),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


# What they do


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks in the files, and images that are made at 64 pixels at least."""
    monkeypatch.setattr(layout, "SIZES", Sizes(diffbirs.UNET, diffbirs.AUTOENCODER, diffbirs.TEXT))
    monkeypatch.setattr(canvases, "LEAST", 64)


@pytest.fixture(scope="module")
def nets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folders = {version: tmp_path_factory.mktemp(version) for version in ("v2", "v2.1")}
    found = {version: separate(shared, folder, version) for version, folder in folders.items()}
    return found | {"v1": {"path": str(whole(shared, folders["v2"] / "full.ckpt")), "stage1": "inside"}}


def loaded(nets: dict[str, dict[str, str]], version: str, **changed: Any) -> DiffBIRUpscaler:
    return DiffBIRUpscaler(
        validate(Parameters, {"version": version, "steps": 2} | nets[version] | changed, where="u"), "cpu"
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("version", ["v2", pytest.param("v2.1", marks=SLOW)])
def test_a_guided_sample_in_tiles_is_the_same_alone_in_a_batch_and_in_chunks(nets: Any, version: str) -> None:
    """To the last bit, as long as `batch` is left alone; and within a grey level else."""
    upscaler = loaded(nets, version, tile=64)
    together = upscaler.sample(LR, DRAWS).sr
    assert together.shape == (2, 3, 64, 80)
    assert np.array_equal(np.concatenate([upscaler.sample(LR, [draw]).sr for draw in DRAWS]), together)
    upscaler.parameters = upscaler.parameters.model_copy(update={"batch": 2})
    assert np.abs(upscaler.sample(LR, DRAWS).sr.astype(int) - together).max() <= 1
    assert not np.array_equal(together[0], together[1])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("version", [pytest.param("v1", marks=SLOW), "v2", pytest.param("v2.1", marks=SLOW)])
def test_one_tile_is_no_tiles(nets: Any, version: str) -> None:
    upscaler = loaded(nets, version)
    usual = upscaler.sample(LR, DRAWS[:1]).sr
    for tile, same in ((128, True), (64, False)):
        upscaler.parameters = upscaler.parameters.model_copy(update={"tile": tile})
        upscaler.how = how_of(upscaler.parameters)
        assert np.array_equal(upscaler.sample(LR, DRAWS[:1]).sr, usual) == same


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("version", [pytest.param("v2", marks=SLOW), "v2.1"])
def test_guidance_of_scale_1_is_none(nets: Any, version: str) -> None:
    """The unwanted prompt is not looked at; at another scale both are, and the sample is between or beyond them."""
    upscaler, calls = loaded(nets, version, cfg=1), [0]
    upscaler.nets.unet.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    upscaler.texts = upscaler.texts._replace(negative=upscaler.texts.negative * torch.nan)
    alone = upscaler.sample(LR, DRAWS[:1])
    assert (alone.finite.all(), calls) == (True, [2])
    upscaler.how = upscaler.how._replace(cfg=3.0)
    assert not upscaler.sample(LR, DRAWS[:1]).finite.any()
    assert calls == [2 + 4]
    upscaler.texts = upscaler.texts._replace(negative=upscaler.texts.prompt)
    assert np.abs(upscaler.sample(LR, DRAWS[:1]).sr.astype(int) - alone.sr).max() <= 1


@torch.inference_mode()
def test_a_tile_is_controlled_by_what_it_covers(shared: Path) -> None:
    """Two that do not overlap: each is what the network makes of its part of the latent and of the condition."""
    nets = Networks(tiny(shared, "unet"), tiny(shared, "control"), tiny(shared, "vae"))
    canvas = LaterCanvas(16, 32)
    canvas.size, canvas.padding = (64, 128), (0, 0)
    text, smooth, x = normal(1, 1, 77, 32).float(), normal(2, 1, 3, 64, 128).float(), normal(3, 1, 4, 8, 16).float()
    how = How(sampler_of("spaced", scaled_linear(), 2), FIXES["none"], tiles=(8, 8))
    chain = DiffBIRChain(nets, Texts(text, text), how, smooth, canvas)
    assert chain.each == DiffBIRChain(nets, Texts(text, text), how._replace(tiles=None), smooth, canvas).each / 2
    right = controlled(nets.unet, nets.control, x[..., 8:], 500, text, chain.condition[..., 8:])
    torch.testing.assert_close(chain.network(x, 500)[..., 8:], right, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("small")
def test_a_chain_may_begin_at_the_condition(nets: Any) -> None:
    upscaler = loaded(nets, "v2", start="condition")
    canvas = EnlargedCanvas(*LR.shape[1:])
    with torch.inference_mode():
        smooth = canvas.smoothed(LR, upscaler.stage1, CPU)
        chain = DiffBIRChain(upscaler.nets, upscaler.texts, upscaler.how, smooth, canvas)
        noise, kept = Noise(DRAWS, CPU), float(scaled_linear()[-1])
        expected = kept**0.5 * chain.condition + (1 - kept) ** 0.5 * noise.start(chain.shape)
        torch.testing.assert_close(chain.begin(noise).x, expected)
    assert not torch.equal(expected, noise.start(chain.shape))


# Their files


@torch.inference_mode()
def test_bsrnet_of_the_official_size_is_recognised(shared: Path) -> None:
    state = diffbirs.weights(diffbirs.keys(shared)["bsrnet"])
    file = TensorFile(Path("BSRNet.pth"), "", state, {})
    net = stage1_of(file, CPU, "v2")
    assert sum(p.numel() for p in net.parameters()) == 16_697_987
    assert net(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 20, 28)
    with pytest.raises(UserError, match=r"ESRGAN of scale 4 is not .* stage 1 of DiffBIR v2\.1, SwinIR of"):
        stage1_of(file, CPU, "v2.1")


def test_swapped_files_are_found_before_anything_runs(shared: Path, tmp_path: Path) -> None:
    found = diffbirs.keys(shared)
    paths = {}
    for name in ("sd", "control", "swinir", "bsrnet"):
        paths[name] = tmp_path / f"{name}.pth"
        torch.save({key: torch.zeros(()).expand(shape) for key, shape in found[name].items()}, paths[name])
    networks: dict[Name, str] = {"v2": "bsrnet", "v2.1": "swinir"}
    for version, stage1 in networks.items():
        right: dict[Any, str] = {"base": "sd", "control": "control", "stage1": stage1}
        for role, name in right.items():
            check_file(paths[name], version, role)
            for other in sorted(set(paths) - {name}):
                with pytest.raises(UserError, match=f"{other}.pth: .* of DiffBIR {re.escape(version)}.* is not whole"):
                    check_file(paths[other], version, role)
    with pytest.raises(UserError, match=r"control: .*no.pth does not exist: give v2.pth, of https://.* \(Apache-2.0\)"):
        diffbir.files(Parameters(version="v2", control=str(tmp_path / "no.pth")), 4)
    with pytest.raises(UserError, match=r"bsrnet: .*no.pth does not exist: give BSRNet.pth, of https://"):
        diffbir.files(Parameters(version="v2", bsrnet=str(tmp_path / "no.pth")), 4)


@pytest.mark.usefixtures("small")
def test_only_stable_diffusion_may_hold_more_than_its_networks(nets: Any, tmp_path: Path) -> None:
    """What programs leave in it is ignored; the control is read strictly."""
    state = torch.load(nets["v2"]["control"])
    other = tmp_path / "other.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, other)
    loaded(nets, "v2", control=str(other))
    torch.save(state | {"counter": torch.zeros(1)}, other)
    with pytest.raises(UserError, match=r"other.pth is not the control of DiffBIR v2: is unknown: counter"):
        loaded(nets, "v2", control=str(other))

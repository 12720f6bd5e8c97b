"""The upscaler ``stablesr``: golden chains, its contract and its parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import image, normal
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.core.methods import validate
from ida_rd.core.progress import listening
from ida_rd.core.seeds import Draw, generator
from ida_rd.upscale import stablesr
from ida_rd.upscale.check import check_upscaler
from ida_rd.upscale.stablesr import Parameters, layout

pytest.importorskip("transformers", reason="needs the package transformers: pip install 'ida-rd[diffusion]'")
pytest.importorskip("diffusers", reason="needs the package diffusers: pip install 'ida-rd[diffusion]'")

from stablesrs import CPU, SMALL, golden, saved, tiny

from ida_rd.upscale.diffusion.chain import Noise
from ida_rd.upscale.diffusion.colour import FIXES
from ida_rd.upscale.stablesr.sampler import SCALE, Begun, Canvas, StableSRChain, StableSRUpscaler, prepared

PARITY = pytest.mark.parity("ida_rd.upscale.stablesr.sampler")
DRAWS = [Draw(0, "image", k) for k in range(3)]
LR = generator("stablesr").integers(0, 256, (3, 8, 12), dtype=np.uint8)
FEW: dict[str, Any] = {"tile": 64, "stride": 64, "steps": 2}


def single(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape, dtype=torch.float32)


class Given(Draw):
    """The noise that golden chains were given: `sample` of them are drawn before that of the first step."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        k = self.sample - 1 if label == "start" else 0 if label == "posterior" else int(label[5:]) + self.sample
        return normal(self.seed + k, 1, *shape, dtype=torch.float32)[0].numpy()


class Apart(Given):
    """That of a chain whose start has a seed of its own."""

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        return single(34, 1, *shape)[0].numpy() if label == "start" else super().normal(shape, label)


def near(mine: Tensor, golden: Any, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(mine.numpy(), golden, rtol=0, atol=atol)


def ended(chain: StableSRChain, state: Begun, noise: Noise) -> Tensor:
    for number in range(chain.steps):
        state = chain.step(number, state, noise)
    return state.state.x


@PARITY
@pytest.mark.parametrize(
    ("loop", "changed"),
    [
        ("ddpm5", {"steps": 5}),
        ("ddpm4", {"variant": "turbo"}),
        ("ddpm5_v", {"variant": "768v", "steps": 5}),
        ("ddpm5_negprompt_scale3", {"steps": 5, "guidance": 3, "negative": [1]}),
        pytest.param("canvas5_tile16_ov4", {"steps": 5, "tile": 128, "stride": 96}, marks=pytest.mark.slow),
    ],
)
@torch.inference_mode()
def test_chains_equal_the_golden_ones(shared: Path, loop: str, changed: dict[str, Any]) -> None:
    """Of a latent of the LR image that is given."""
    told = json.loads((shared / "golden" / "stablesr" / "meta.json").read_text())[f"loop_{loop}"]
    canvas = "canvas" in loop
    values = {"tile": 192, "start": "lr" if canvas else "noise", "latent": "mean", "fidelity": 0} | changed
    texts = [single(30, 1, 77, 32), single(31, 1, 77, 32)][: 1 + ("negative" in changed)]
    chain = StableSRChain(
        tiny(shared), texts, Parameters.model_validate(values), torch.zeros(1, 3, 64, 64), Canvas(16, 16, 64)
    )
    latent = 0.8 * (single(33, 1, 4, 20, 32) if canvas else single(32, 1, 4, 16, 24))
    chain.encoded = chain.encoded._replace(mean=latent / SCALE)
    chain.shape = tuple(latent.shape[1:])
    noise = Noise([Apart(told["seed_base"], "", 0) if canvas else Given(told["seed_base"], "", 1)], CPU)
    assert chain.steps == told["steps"]
    near(ended(chain, chain.begin(noise), noise), golden(shared, "sampling")[f"z_{loop}"])


@PARITY
@pytest.mark.parametrize(
    ("name", "sides", "seeds", "colour"), [("a", (30, 41), (61, 8600), "adain"), ("b", (40, 34), (62, 8700), "wavelet")]
)
@torch.inference_mode()
def test_the_whole_equals_the_golden_one(
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    sides: tuple[int, int],
    seeds: tuple[int, int],
    colour: str,
) -> None:
    """LR images that are made at 174 x 128, and at four times their size; in tiles of 128 pixels."""
    found = {key.removeprefix(f"e2e_{name}_"): value for key, value in golden(shared, "e2e").items() if name in key[4]}
    told = json.loads((shared / "golden" / "stablesr" / "meta.json").read_text())[f"e2e_{name}"]
    p = Parameters.model_validate({"tile": 128, "stride": 96, "steps": 4, "colour": colour, "compat": "official"})
    canvas = Canvas(*sides, 128)
    picture = prepared(image(*sides, seeds[0]), canvas)
    assert list(canvas.size) == told["ori"]
    assert list(picture.shape) == told["padded"]
    chain = StableSRChain(tiny(shared), [single(30, 1, 77, 32)], p, picture, canvas)
    noise = Noise([Given(seeds[1], "", 2)], CPU)
    begun = chain.begin(noise)
    near(begun.condition, found["latent"], 5e-5)
    if name == "a":
        near(begun.state.x, found["xT"], 5e-5)
    near(ended(chain, begun, noise), found["z"])
    # From its own end, so that what follows is compared by itself.
    last = begun._replace(state=begun.state._replace(x=torch.from_numpy(found["z"])))
    full = chain.full(last.state.x)
    if name == "a":
        near(full[:, :, 60:100, 60:100].clamp(0, 1), found["full_crop"], 5e-5)
        # The published program crops after it has reduced, and then too much is left.
        reduced = F.interpolate(full.clamp(0, 1), size=(150, 180), mode="bicubic")[0, :, :128, :174]
        mine = (reduced.clamp(0, 1) * 255).numpy().astype(np.uint8)
        padding = torch.full_like(full, torch.nan)
        padding[:, :, :128, :174] = full[:, :, :128, :174]
        monkeypatch.setattr(chain, "full", lambda _: padding)
        found_sr = chain.end(last)
        assert found_sr.shape == (1, 3, 120, 164)
        assert torch.isfinite(found_sr).all(), "ours crops before"
    else:
        mine = (chain.end(last)[0] * 255).round().numpy().astype(np.uint8)
    off = np.abs(mine.transpose(1, 2, 0).astype(int) - found["uint8"])
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001


@PARITY
def test_images_are_enlarged_as_the_golden_one(shared: Path) -> None:
    """And what lies outside of 8 bits is cut off, and the padding is a reflection."""
    given, found = single(56, 1, 3, 15, 20), golden(shared, "post")["up_bicubic"]
    near(F.interpolate(given, size=(64, 85), mode="bicubic", align_corners=False), found, 1e-6)
    lr = np.zeros((3, 15, 20), np.uint8)
    lr[:, 5:, 7:] = 255
    canvas = Canvas(15, 20, 64)
    assert (canvas.size, canvas.padding) == ((64, 85), (32, 11))
    mine = prepared(lr, canvas)
    assert mine.shape == (1, 3, 96, 96)
    assert (float(mine.min()), float(mine.max())) == (-1, 1)
    torch.testing.assert_close(mine[:, :, 64:, :85], mine[:, :, 31:63, :85].flip(2), rtol=0, atol=0)
    torch.testing.assert_close(mine[:, :, :, 85:], mine[:, :, :, 73:84].flip(3), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("sides", "least", "size", "padding"),
    [
        ((128, 128), 512, (512, 512), (0, 0)),
        ((128, 130), 512, (512, 520), (32, 24)),
        ((49, 60), 512, (512, 626), (32, 14)),  # in floating point 49 of 512 / 49 are 511
        ((300, 140), 512, (1200, 560), (16, 16)),
        ((1, 3), 512, (512, 1536), (0, 0)),
        ((100, 192), 768, (768, 1474), (32, 30)),
    ],
)
def test_sizes_on_the_way(sides: tuple[int, int], least: int, size: tuple[int, int], padding: tuple[int, int]) -> None:
    canvas = Canvas(*sides, least)
    assert (canvas.final, canvas.size, canvas.padding) == ((4 * sides[0], 4 * sides[1]), size, padding)


# What it is


def test_defaults_are_those_of_the_publication() -> None:
    assert Parameters().model_dump() == {
        "variant": "base", "path": None, "cfw": None, "steps": None, "start": "lr", "latent": "drawn", "guidance": 1.0,
        "negative": [], "fidelity": 0.5, "colour": "adain", "tile": None, "stride": None, "compat": "none",
        "batch": None, "licence": None,
    }  # fmt: skip
    decided = {
        name: stablesr.describe(Parameters.model_validate({"variant": name}), 4).settings for name in stablesr.VARIANTS
    }
    assert decided == {
        "base": {"steps": 200, "tile": 512, "stride": 256},
        "768v": {"steps": 200, "tile": 768, "stride": 384},
        "turbo": {"steps": 4, "tile": 512, "stride": 256},
    }
    assert stablesr.describe(Parameters(steps=7, tile=128, stride=96), 4).settings == {
        "steps": 7,
        "tile": 128,
        "stride": 96,
    }
    assert set(FIXES) == {"adain", "wavelet", "none"}


def test_it_says_what_it_is() -> None:
    described = stablesr.describe(Parameters(), 4)
    assert (described.kind, described.stochastic, described.blind) == ("diffusion", True, True)
    assert described.marks() == ["non-commercial"]
    assert described.weights == {"stablesr.base": None, "stablesr.cfw": None}
    checkpoints = Parameters(variant="turbo", path="a.ckpt", cfw="b.safetensors")
    assert stablesr.describe(checkpoints, 4).weights == {"stablesr.turbo": "a.ckpt"}
    assert stablesr.describe(Parameters(licence="mine"), 4).licence == "mine"
    assert described.size.problem(1, 1, 4) is None
    with pytest.raises(UserError, match="factor 8: StableSR enlarges by 4 alone"):
        stablesr.describe(Parameters(), 8)
    assert stablesr.made_at(Parameters(), 64, 96) == (512, 768)
    assert stablesr.made_at(Parameters(), 512, 520) == (544, 544)
    assert stablesr.made_at(Parameters(tile=128), 64, 64) == (128, 128)
    four, one = stablesr.memory(Parameters(batch=4), 4, 5), stablesr.memory(Parameters(), 4, 5)
    assert four > one == stablesr.memory(Parameters(batch=4), 4, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "u.steps: "),
        ({"variant": "face"}, "u.variant: "),
        ({"tile": 100}, "tile: 100 is not a multiple of 64: give 64"),
        ({"tile": 64, "stride": 72}, "stride: tiles of 64 pixels, 72 apart, leave gaps"),
        ({"variant": "768v", "stride": 500}, "stride: 500 is not a multiple of 8: give 496"),
        ({"guidance": 3}, "guidance: it is away from a prompt: give `negative`"),
        ({"negative": [3]}, "guidance: it is away from a prompt: give `negative`"),
        ({"negative": [49406], "guidance": 2}, "negative.0: input should be less than 49406"),
        ({"negative": [1] * 76, "guidance": 2}, "u.negative: "),
        ({"fidelity": 1.5}, "u.fidelity: "),
    ],
)
def test_impossible_settings_are_one_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        validate(Parameters, wrong, where="u")
    assert "\n" not in str(error.value)


# What it does


@pytest.fixture(scope="module")
def nets(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return saved(shared, tmp_path_factory.mktemp("stablesr"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks in the files."""
    monkeypatch.setattr(layout, "SIZES", SMALL)


def loaded(nets: dict[str, str], **changed: Any) -> StableSRUpscaler:
    return StableSRUpscaler(Parameters.model_validate(nets | FEW | changed), "cpu")


@pytest.mark.usefixtures("small")
def test_it_keeps_the_contract(nets: dict[str, str]) -> None:
    check_upscaler(stablesr, nets | FEW | {"steps": 1}, 4)


@pytest.mark.usefixtures("small")
def test_a_sample_is_the_same_alone_in_a_batch_and_in_chunks(
    nets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, as long as `batch` is left alone; and within a grey level else."""
    upscaler = loaded(nets)
    told: list[float] = []
    with listening(told.append):
        together = upscaler.sample(LR, DRAWS).sr
    assert together.shape == (3, 3, 32, 48)
    assert told == sorted(told)
    assert told[-1] == 1
    assert 0.5 in told, "in the middle of the second sample"
    torch.manual_seed(1)
    assert np.array_equal(np.concatenate([upscaler.sample(LR, part).sr for part in (DRAWS[:2], DRAWS[2:])]), together)
    assert np.array_equal(upscaler.sample(LR, DRAWS[1:2]).sr[0], together[1])
    monkeypatch.setattr(upscaler, "parameters", upscaler.parameters.model_copy(update={"batch": 3}))
    assert np.abs(upscaler.sample(LR, DRAWS).sr.astype(int) - together).max() <= 1
    for other in ((1, "image", 0), (0, "other", 0), (0, "image", 0, 1)):
        assert not np.array_equal(upscaler.sample(LR, [Draw(*other)]).sr[0], together[0])


@pytest.mark.usefixtures("small")
def test_what_depends_on_the_lr_image_alone_is_computed_once(nets: dict[str, str]) -> None:
    upscaler = loaded(nets, batch=3, latent="mean", guidance=2, negative=[5])
    calls: dict[str, list[int]] = {"first": [], "second": [], "structure": [], "unet": []}
    parts = (upscaler.nets.autoencoder.encoder, upscaler.nets.fused.autoencoder.encoder, upscaler.nets.structure)
    for name, part in zip(calls, (*parts, upscaler.nets.unet.unet), strict=True):
        part.register_forward_pre_hook(lambda _, given, name=name: calls[name].append(len(given[0])))
    upscaler.sample(LR[:, :8, :8], DRAWS)
    assert calls == {"first": [1], "second": [1], "structure": 2 * [1], "unet": 2 * 2 * [3]}


@pytest.mark.usefixtures("small")
def test_settings_change_what_they_name(nets: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = loaded(nets)

    def made(**changed: Any) -> NDArray[np.uint8]:
        values = Parameters.model_validate(nets | FEW | changed)
        monkeypatch.setattr(upscaler, "parameters", values)
        return upscaler.sample(LR, DRAWS[:1]).sr

    usual = made()
    for changed in (
        {"steps": 3}, {"variant": "768v"}, {"start": "noise"}, {"latent": "mean"}, {"fidelity": 0}, {"fidelity": 1},
        {"colour": "wavelet"}, {"colour": "none"}, {"stride": 16}, {"tile": 128, "stride": 128},
    ):  # fmt: skip
        assert not np.array_equal(made(**changed), usual), changed
    off = usual.astype(int) - made(compat="official")
    assert 0.2 < off.mean() < 0.8, "half a level is lost"
    away = loaded(nets, guidance=2, negative=[5]).sample(LR, DRAWS[:1]).sr
    assert not np.array_equal(away, usual)
    assert not np.array_equal(away, loaded(nets, guidance=2, negative=[6]).sample(LR, DRAWS[:1]).sr)


@torch.inference_mode()
def test_an_image_that_is_none_is_told(shared: Path) -> None:
    """And one of the size at which it is made keeps what lies outside of 8 bits, to be counted."""
    p = Parameters.model_validate(FEW | {"colour": "none", "fidelity": 0})
    for sides, most in (((16, 16), np.inf), ((8, 8), 1)):
        canvas = Canvas(*sides, 64)
        chain = StableSRChain(tiny(shared), [torch.zeros(1, 77, 32)], p, torch.zeros(1, 3, 64, 64), canvas)
        good = chain.begin(Noise(DRAWS[:1], CPU))
        found = chain.end(good)
        assert found.shape == (1, 3, 4 * sides[0], 4 * sides[1])
        assert (found.max() > 1) == (most > 1)
        bad = good._replace(state=good.state._replace(x=good.state.x * torch.nan))
        assert torch.isnan(chain.end(bad)).all()

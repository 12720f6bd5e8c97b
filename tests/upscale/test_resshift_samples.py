"""ResShift's chain: golden samples with given noise, tiles, and what samples of one image share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import normal
from golden.resshift.recipe import (
    HERE,
    META,
    SMALL,
    SMALL_AUTOENCODER,
    TINY,
    TINY_AUTOENCODER,
    autoencoder,
    images,
    unet,
)
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.seeds import Draw, generator
from ida_rd.models.resshift.config import VARIANTS
from ida_rd.models.resshift.schedule import Shifting
from ida_rd.upscale.diffusion.chain import Noise, draw_samples, taken_through
from ida_rd.upscale.resshift.sampler import ResShiftChain
from ida_rd.upscale.resshift.tiles import Tile, padded, starts, tiles_of

PARITY = pytest.mark.parity("ida_rd.upscale.resshift.sampler")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
LARGE = pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float64, marks=pytest.mark.slow), torch.float32], ids=["float64", "float32"]
)
GOLDEN = np.load(HERE / "tiny.npz")
CPU = torch.device("cpu")


class Given(Draw):
    """Golden noise, of item `sample` of a batch: `base` and `batch` are set below, and which number a step's has."""

    base, batch, first = 0, 1, 1

    def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
        k = 0 if label == "start" else int(label.removeprefix("step ")) + self.first
        return normal(self.base + k, self.batch, *shape, dtype=torch.float32)[self.sample].numpy()


def noise_of(base: int, batch: int, dtype: torch.dtype, *, official: bool = False) -> Noise:
    """That of the start, then one for each step; or, where every tile has its own, as they are numbered."""
    made = type("Given", (Given,), {"base": base, "batch": batch, "first": 0 if official else 1})
    return Noise([made(0, "", k) for k in range(batch)], CPU, dtype)


def chain_of(lr: Tensor, variant: str = "v3", tile: int = 64, stride: int = 48, **changed: Any) -> ResShiftChain:
    dtype, small = lr.dtype, changed.get("small", False)
    net = unet(SMALL if small else TINY, dtype)
    coder = autoencoder(SMALL_AUTOENCODER if small else TINY_AUTOENCODER, dtype)
    by = Shifting.of(VARIANTS[variant])
    return ResShiftChain(net, coder, by, lr, tile, stride, changed.get("official", False))


def near(mine: Tensor, golden: Any, dtype: torch.dtype, wide: float = 1e-5) -> None:
    np.testing.assert_allclose(mine.double().numpy(), golden, rtol=0, atol=1e-6 if dtype == torch.float64 else wide)


# Golden samples


@PARITY
@DTYPES
@pytest.mark.parametrize(
    ("variant", "key", "base"),
    [pytest.param("v1", "loop_s15", 3000, marks=pytest.mark.slow), ("v3", "loop_s4", 4000)],
)
@torch.inference_mode()
def test_samples_equal_the_golden_ones(variant: str, key: str, base: int, dtype: torch.dtype) -> None:
    """Two images with given noise: the latent after every step, its codes, and what comes out."""
    chain, noise = chain_of(images(32, 32, 101, 102, dtype=dtype), variant), noise_of(base, 2, dtype)
    near(chain.y[0], GOLDEN[f"{key}_zy"], dtype)
    rows = META["tiny"][f"{key}_rows"]
    assert chain.steps == len(rows) + 1
    state = chain.begin(noise)
    for number, row in enumerate(rows):
        state = chain.step(number, state, noise)
        x = state.latents[0].double()
        mine = [float(value) for value in (x.mean(), x.std(correction=0), x.ravel()[0], x.ravel()[-1])]
        np.testing.assert_allclose(mine, row[:4], rtol=0, atol=1e-6 if dtype == torch.float64 else 5e-5)
        if number < 2:
            near(x, GOLDEN[f"{key}_sample_after{number + 1}"], dtype, 5e-5)
    near(state.latents[0], GOLDEN[f"{key}_final"], dtype, 5e-5)
    assert chain.autoencoder.quantize.nearest(state.latents[0]).flatten().tolist() == GOLDEN[f"{key}_idx"].tolist()
    sr = chain.end(chain.step(len(rows), state, noise)) * 2 - 1
    near(sr[0, :, 32:96, 32:96], GOLDEN[f"{key}_hr_0_crop"], dtype)
    near(F.avg_pool2d(sr[1:], 4)[0], GOLDEN[f"{key}_hr_1_pooled4"], dtype)


@PARITY
@LARGE
@torch.inference_mode()
def test_a_padded_sample_equals_the_golden_one(dtype: torch.dtype) -> None:
    chain = chain_of(images(40, 24, 106, dtype=dtype))
    assert chain.shape == (3, 64, 32)
    sr = taken_through(chain, noise_of(5000, 1, dtype)).clamp(0, 1) * 2 - 1
    assert sr.shape == (1, 3, 160, 96)
    near(F.avg_pool2d(sr, 4)[0], GOLDEN["pad_hr_pooled4"], dtype)
    near(sr[0, :, -64:, -64:], GOLDEN["pad_hr_br"], dtype)


@PARITY
@LARGE
@torch.inference_mode()
def test_a_chopped_sample_equals_the_golden_one(dtype: torch.dtype) -> None:
    """As published: each tile with noise of its own, and means where they overlap."""
    chain = chain_of(images(40, 56, 107, dtype=dtype), tile=32, stride=24, official=True)
    assert [[tile.top, tile.left] for tile in chain.tiles] == META["tiny"]["chop_starts"]
    sr = taken_through(chain, noise_of(6000, 1, dtype, official=True)) * 2 - 1
    near(F.avg_pool2d(sr, 4), GOLDEN["chop_hr_pooled4"], dtype)
    near(sr[0, :, 16:80, 80:144], GOLDEN["chop_hr_crop"], dtype)


@PARITY
@torch.inference_mode()
def test_a_seeded_sample_equals_that_of_the_reference() -> None:
    class FromTorch(Draw):
        """Numbers in the order in which the reference draws them; it draws once more, at the end, and uses it not."""

        def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
            return torch.randn(1, *shape)[0].numpy()

    torch.manual_seed(12345)
    chain, noise = chain_of(images(32, 32, 101, dtype=torch.float32)), Noise([FromTorch(0, "", 0)], CPU)
    state = chain.begin(noise)
    for number in range(chain.steps):
        state = chain.step(number, state, noise)
    near(state.latents[0], GOLDEN["seeded_final"], torch.float32, 5e-5)
    near(chain.end(state)[0, :, :32, :32] * 2 - 1, GOLDEN["seeded_hr_crop"], torch.float32)


# Tiles


@pytest.mark.parametrize(
    ("length", "tile", "stride", "expected"),
    [
        (40, 64, 48, [0]),
        (64, 64, 48, [0]),
        (65, 64, 48, [0, 1]),
        (112, 64, 48, [0, 48]),
        (120, 64, 48, [0, 48, 56]),
        (160, 64, 64, [0, 64, 96]),
        (600, 512, 448, [0, 88]),
        (1000, 512, 448, [0, 448, 488]),
    ],
)
def test_tiles_begin_where_the_published_ones_do(length: int, tile: int, stride: int, expected: list[int]) -> None:
    assert starts(length, tile, stride) == expected


def test_tiles_are_as_large_as_the_image_along_a_short_side() -> None:
    assert tiles_of(20, 70, 64, 48) == [Tile(0, 0, 20, 64), Tile(0, 6, 20, 64)]
    image = torch.arange(20 * 70).view(1, 20, 70)
    assert torch.equal(Tile(2, 6, 20, 64).of(image), image[:, 2:, 6:])
    assert torch.equal(Tile(1, 3, 2, 4).of(image, 4), image[:, 4:12, 12:28])


def test_sides_are_padded_by_reflection_however_short() -> None:
    x = normal(1, 1, 3, 40, 33)
    assert torch.equal(padded(x, 64), F.pad(x, (0, 31, 0, 24), mode="reflect"))
    assert torch.equal(padded(x[..., :32, :32], 16), x[..., :32, :32])
    line = torch.tensor([[1.0, 2.0, 3.0]])
    assert padded(line.expand(3, 3), 8)[0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert padded(line[:, :1], 4).tolist() == [[1.0] * 4] * 4


@torch.inference_mode()
def test_tiles_share_a_field_of_noise_unless_as_published() -> None:
    """Where two tiles overlap both begin from the same noise; each is padded as far as it needs."""
    lr = images(20, 40, 1, dtype=torch.float32)
    shared, own = (chain_of(lr, tile=32, stride=24, small=True, official=one) for one in (False, True))
    noise = Noise([Draw(0, "image", 0)], CPU)
    assert (shared.shape, own.own, len(own.tiles)) == ((3, 32, 40), (3, 32, 32), 2)
    found = {}
    for name, chain in (("shared", shared), ("own", own)):
        left, right = ((x - y) for x, y in zip(chain.begin(noise).latents, chain.y, strict=True))
        assert left.shape == right.shape == (1, 3, 32, 32)
        found[name] = float((left[..., 8:] - right[..., :24]).abs().max())
        flat = torch.stack([left[..., 8:].flatten(), right[..., :24].flatten()])
        assert float(torch.corrcoef(flat)[0, 1]) == pytest.approx(float(name == "shared"), abs=0.1)
    assert found["shared"] < 1e-5 < found["own"]


@torch.inference_mode()
def test_an_overlap_varies_as_much_as_the_rest_unless_as_published() -> None:
    """Means of independent samples vary less. Noise alone, through no network: the tiles themselves."""
    lr = torch.zeros(1, 3, 16, 48)
    spread = {}
    for official in (False, True):
        chain = chain_of(lr, tile=32, stride=16, small=True, official=official)
        chain.unet = lambda x, t, lr: x  # type: ignore[assignment]
        chain.autoencoder = _Enlarging()  # type: ignore[assignment]
        draws = [Draw(0, "image", k) for k in range(24)]
        sr = taken_through(chain, Noise(draws, CPU)).std(dim=0).mean(dim=(0, 1))
        spread[official] = float(sr[64:128].mean() / sr[:64].mean())
    assert spread[False] == pytest.approx(1, abs=0.03)
    assert spread[True] == pytest.approx(0.5**0.5, abs=0.03)


class _Enlarging:
    """An autoencoder whose images are its latents, enlarged and small enough that none is clamped."""

    def decode(self, z: Tensor) -> Tensor:
        return 0.1 * F.interpolate(z, scale_factor=4.0, mode="nearest")


@torch.inference_mode()
def test_every_tile_is_decoded_clamped_and_counted() -> None:
    lr = images(20, 40, 1, 2, dtype=torch.float32)
    chain = chain_of(lr, tile=32, stride=24, small=True)
    chain.autoencoder = _Bright()  # type: ignore[assignment]
    sr = taken_through(chain, Noise([Draw(0, "image", k) for k in range(2)], CPU))
    assert sr.shape == (2, 3, 80, 160)
    assert torch.equal(sr, torch.ones_like(sr)), "each was clamped, and the mean of what overlaps is taken"


class _Bright:
    """An autoencoder whose images are too bright."""

    def decode(self, z: Tensor) -> Tensor:
        return torch.full((len(z), 3, 4 * z.shape[2], 4 * z.shape[3]), 1.5)


# What samples share


def counting(function: Callable[..., Tensor], calls: list[int]) -> Callable[..., Tensor]:
    def counted(x: Tensor, *others: Tensor) -> Tensor:
        calls.append(len(x))
        return function(x, *others)

    return counted


def test_an_image_is_encoded_once_for_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    coder = autoencoder(SMALL_AUTOENCODER, torch.float32)
    encoded: list[int] = []
    decoded: list[int] = []
    monkeypatch.setattr(coder, "encode", counting(coder.encode, encoded))
    monkeypatch.setattr(coder, "decode", counting(coder.decode, decoded))
    with torch.inference_mode():
        chain = chain_of(images(16, 16, 1, dtype=torch.float32), small=True)
    draw_samples(chain, [Draw(0, "image", k) for k in range(5)], CPU, 2)
    assert encoded == [1]
    assert decoded == [2, 2, 1]


def test_a_sample_that_is_not_finite_says_so() -> None:
    """It would have the nearest code of what is no number, and pass for an image."""

    class Broken(Draw):
        def normal(self, shape: tuple[int, ...], label: str = "latent") -> NDArray[np.float32]:
            numbers = super().normal(shape, label)
            return np.full_like(numbers, np.inf) if label == "step 2" else numbers

    lr = torch.from_numpy(generator("resshift").uniform(-1, 1, (1, 3, 16, 40))).float()
    for tile in (64, 32):
        with torch.inference_mode():
            chain = chain_of(lr, tile=tile, stride=24, small=True)
        found = draw_samples(chain, [Draw(0, "image", 0), Broken(0, "image", 1)], CPU, 2)
        assert found.finite.tolist() == [True, False]

"""Tiles of a latent and colours of a result: golden values and laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden.pulse.recipe import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ida_rd.upscale.diffusion.colour import FIXES, adain, low_frequencies, none, wavelet
from ida_rd.upscale.diffusion.tiles import Window, tiled, weights, windows

PARITY = pytest.mark.parity("ida_rd.upscale.diffusion.tiles", "ida_rd.upscale.diffusion.colour")
SIDES = st.integers(1, 24)


def single(seed: int, *shape: int) -> Tensor:
    return normal(seed, *shape, dtype=torch.float32)


def near(found: Tensor, golden: Any, atol: float) -> None:
    np.testing.assert_allclose(found.double().numpy(), golden, rtol=0, atol=atol)


@PARITY
def test_tiles_equal_the_golden_ones(shared: Path) -> None:
    post = np.load(shared / "golden/diffbir/golden_post.npz")
    near(weights(8, 8), post["gauss8"], 1e-13)
    near(weights(16, 16), np.load(shared / "golden/stablesr/golden_sampling.npz")["gauss16"], 1e-13)
    found = [[w.top, w.top + w.height, w.left, w.left + w.width] for w in windows(16, 24, 8, 5)]
    assert found == post["windows_16_24_8_5"].tolist()

    def enlarged(part: Tensor, _: Window) -> Tensor:
        return F.interpolate(part, scale_factor=4) * part.mean()

    near(tiled(enlarged, single(55, 1, 3, 16, 24), 8, 5, factor=4), post["tiled_fn_conv"], 1e-6)


@PARITY
def test_colours_equal_the_golden_ones(shared: Path) -> None:
    post = np.load(shared / "golden/diffbir/golden_post.npz")
    image, colours = single(50, 1, 3, 80, 112) * 0.2 + 0.5, single(51, 1, 3, 80, 112) * 0.15 + 0.4
    near(wavelet(image, colours), post["wavelet"], 1e-6)
    near(low_frequencies(colours), post["wavelet_low_b"], 1e-6)
    post = np.load(shared / "golden/stablesr/golden_post.npz")
    image, colours = 0.4 * single(50, 2, 3, 80, 112), 0.3 * single(51, 2, 3, 80, 112) - 0.1
    near(wavelet(image, colours), post["wavelet"], 1e-6)
    near(adain(image, colours), post["adain"], 1e-6)


@given(SIDES, SIDES, st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_tiles_change_nothing_of_a_network_that_looks_at_one_place_alone(
    height: int, width: int, tile: int, stride: int, factor: int
) -> None:
    """They cover all of it, lie within it, and their weights add up to 1; what else it needs is cut alike."""
    stride = min(stride, tile)
    x, other = normal(1, 2, 3, height, width), normal(2, 1, 3, height, width)

    def network(part: Tensor, window: Window) -> Tensor:
        assert part.shape[2:] == (min(tile, height), min(tile, width))
        beside = window.of(other)
        assert beside.shape[2:] == part.shape[2:]
        return F.interpolate(part**2 + beside, scale_factor=factor)

    whole = F.interpolate(x**2 + other, scale_factor=factor)
    torch.testing.assert_close(tiled(network, x, tile, stride, factor=factor), whole, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 96), st.integers(1, 96))
def test_weights_are_positive_and_highest_in_the_middle(height: int, width: int) -> None:
    found = weights(height, width)
    assert found.shape == (height, width)
    assert (found.float() > 0).all()
    row, column = divmod(int(found.argmax()), width)
    assert abs(row - height / 2) <= 0.5
    assert abs(column - (width - 1) / 2) <= 0.5
    torch.testing.assert_close(found, found.flip(1))


def test_a_network_sees_no_tile_more_than_it_must() -> None:
    assert windows(64, 64, 64, 32) == [Window(0, 0, 64, 64)]
    assert [(w.top, w.left) for w in windows(8, 21, 8, 8)] == [(0, 0), (0, 8), (0, 13)]
    for stride in (0, 9):
        with pytest.raises(ValueError, match="leave gaps"):
            windows(16, 16, 8, stride)


@pytest.mark.parametrize("name", FIXES)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 99))
def test_an_image_keeps_its_own_colours(name: Any, height: int, width: int, seed: int) -> None:
    image = normal(seed, 2, 3, height, width)
    torch.testing.assert_close(FIXES[name](image, image), image, rtol=1e-9, atol=1e-9)


@given(st.integers(4, 40), st.integers(4, 40), st.floats(-1, 1), st.floats(0.5, 2))
def test_colours_become_those_of_the_other(height: int, width: int, offset: float, gain: float) -> None:
    """Whichever those of the image were: its own are lost, and nothing else is."""
    image, colours = normal(1, 1, 3, height, width), normal(2, 1, 3, height, width) * gain + offset
    torch.testing.assert_close(wavelet(image + offset, colours), wavelet(image, colours))
    torch.testing.assert_close(wavelet(image, colours + offset), wavelet(image, colours) + offset)
    found = adain(image * gain + offset, colours)
    torch.testing.assert_close(found, adain(image, colours), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.mean((2, 3)), colours.mean((2, 3)))
    torch.testing.assert_close(found.std((2, 3)), colours.std((2, 3)), rtol=1e-3, atol=0)
    assert none(image, colours) is image


def test_a_channel_of_one_value_stays_finite() -> None:
    flat, colours = torch.full((1, 3, 9, 9), 0.3), single(3, 1, 3, 9, 9)
    assert torch.isfinite(adain(flat, colours)).all()
    torch.testing.assert_close(low_frequencies(flat), flat)

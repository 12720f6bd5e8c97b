"""Statistics that NIQE and BRISQUE share: goldens, and laws."""

from __future__ import annotations

import numpy as np
import pytest
from golden.nriqa import HERE, image
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ida_rd.quality._natural import RATIOS, SHAPES, halved, luma, nearest_shape, normalised, products, skewed

SIGNED = arrays(np.float64, (1, 40), elements=st.integers(-192, 192).map(lambda level: level / 64))


def test_the_reduction_to_half_is_exact() -> None:
    golden = np.load(HERE / "half.npz")
    assert np.array_equal(halved(luma(image("kitten_96"))), golden["kitten_96_half"])
    with np.errstate(all="raise"):
        corner = halved(luma(image("skyline_192")))[:24, :24]
    assert np.array_equal(corner, golden["skyline_192_half_topleft24"])


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_reduction_keeps_constants_mirrors_and_sides(grey: np.ndarray) -> None:
    grey = grey.astype(np.float64)
    small = halved(grey)
    assert small.shape == tuple(-(-side // 2) for side in grey.shape)
    assert np.array_equal(halved(np.full_like(grey, 7)), np.full_like(small, 7))
    assert np.array_equal(halved(grey.T), small.T)
    even = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    if even.size:
        assert np.array_equal(halved(even[::-1, ::-1]), halved(even)[::-1, ::-1])


def test_luma_is_rounded_and_that_of_grey_is_itself() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(luma(np.repeat(levels[..., None], 3, axis=2)), levels)
    colours = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(luma(colours), np.floor(luma(colours)))
    assert luma(np.array([[[10, 20, 30]]], np.uint8))[0, 0] == 18  # 18.15


@given(
    arrays(np.uint8, (14, 15), elements=st.integers(0, 255)),
    st.tuples(st.integers(0, 6), st.integers(0, 7), st.integers(0, 255)),
)
def test_flat_areas_are_zero_and_no_noise(grey: np.ndarray, flat: tuple[int, int, int]) -> None:
    """A pixel whose 7 x 7 neighbours are all alike counts for neither side, whichever way rounding went."""
    y, x, level = flat
    grey = grey.astype(np.float64)
    grey[y : y + 8, x : x + 8] = level
    for border in ("nearest", "constant"):
        values, deviation = normalised(grey, border)
        assert not values[y + 3 : y + 5, x + 3 : x + 5].any()
        assert (deviation >= 0).all()
        turned, _ = normalised(np.ascontiguousarray(grey[::-1, ::-1]), border)
        # Where all are nearly alike, rounding decides the deviation's last digits.
        assert np.allclose(turned[::-1, ::-1], values, rtol=0, atol=1e-4)
        assert np.array_equal(turned[::-1, ::-1] > 0, values > 0)


def test_the_border_continues_for_niqe_and_is_black_for_brisque() -> None:
    grey = np.full((20, 20), 100.0)
    assert not normalised(grey, "nearest")[0].any()
    black = normalised(grey, "constant")[0]
    assert (black[:3] > 0).all()
    assert not black[3:-3, 3:-3].any()


def test_neighbours_wrap_around_within_each_tile() -> None:
    tile = np.arange(1.0, 7).reshape(1, 2, 3)
    found = [product[0] for product in products(tile)]
    assert found[0].tolist() == [[3, 2, 6], [24, 20, 30]]  # the left neighbour
    assert found[1].tolist() == [[4, 10, 18]] * 2  # the one above
    assert found[2].tolist() == [[6, 8, 15], [12, 5, 12]]  # above, and left
    assert found[3].tolist() == [[5, 12, 12], [8, 15, 6]]  # above, and right


@given(st.lists(st.floats(0, 1.2), min_size=1, max_size=20))
def test_the_shape_is_the_nearest_of_the_table_and_the_first_of_equals(ratios: list[float]) -> None:
    plain = [SHAPES[np.abs(RATIOS - ratio).argmin()] for ratio in ratios]
    assert nearest_shape(np.array(ratios)).tolist() == plain
    between = (RATIOS[10] + RATIOS[11]) / 2
    assert nearest_shape(np.array([between]))[0] == SHAPES[10]


@given(SIGNED, st.sampled_from([0.25, 2.0, 8.0]))
def test_the_fit_scales_and_turns_with_its_values(values: np.ndarray, scale: float) -> None:
    found, scaled, turned = (skewed(v) for v in (values, scale * values, -values))
    assert np.allclose(scaled.shape, found.shape, rtol=0, atol=0.0011, equal_nan=True)
    assert np.allclose(scaled.left, scale * found.left, equal_nan=True)
    assert np.allclose(turned.shape, found.shape, rtol=0, atol=0.0011, equal_nan=True)
    assert np.allclose(turned.left, found.right, equal_nan=True)


def test_zeros_belong_to_neither_side_and_one_side_alone_is_no_fit() -> None:
    values = np.array([[-1.0, -3, 0, 0, 2, 2]])
    found = skewed(values)
    assert found.left[0] == pytest.approx(np.sqrt(5))
    assert found.right[0] == pytest.approx(2)
    ratio = (8 / 6) ** 2 / (18 / 6)
    g = np.sqrt(5) / 2
    assert found.shape[0] == nearest_shape(np.array([ratio * (g**3 + 1) * (g + 1) / (g * g + 1) ** 2]))[0]
    for one in ([[1.0, 2, 0]], [[-1.0, -2, 0]], [[0.0, 0, 0]]):
        assert all(np.isnan(part[0]) for part in skewed(np.array(one)))

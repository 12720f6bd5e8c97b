"""Ranks, spread, balls and spaces: what each is of what, on values whose answer is known."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from ida_rd.calibration.coverage import references, tarp_histogram
from ida_rd.calibration.ranks import (
    central_coverage,
    contrasts,
    coverage,
    mean_rank,
    outside,
    rank_histogram,
)
from ida_rd.calibration.spaces import OPPONENT, features, octaves, projections, wavelets
from ida_rd.calibration.spread import energy_score, mean_lengths, squared_parts

PURE = ("resampling", "ranks", "spread", "coverage")


def test_a_rank_is_the_number_of_samples_below() -> None:
    samples = np.array([[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    assert rank_histogram(np.array([0, 9, 9]), samples) == pytest.approx([1 / 3, 0, 0, 2 / 3])
    assert rank_histogram(np.array([1.5, 2.5, 2.5]), samples) == pytest.approx([0, 1 / 3, 2 / 3, 0])


def test_ties_share_the_ranks_that_a_draw_could_give() -> None:
    samples = np.array([[5], [5], [7]])
    assert rank_histogram(np.array([5]), samples) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert rank_histogram(np.array([7]), samples) == pytest.approx([0, 0, 0.5, 0.5])
    rng = np.random.default_rng(0)  # 8-bit values of three levels, exact samples: even all the same
    found = rank_histogram(rng.integers(0, 3, 40_000), rng.integers(0, 3, (4, 40_000)))
    assert found == pytest.approx([0.2] * 5, abs=0.01)


def test_what_is_read_off_an_even_histogram_is_what_exact_samples_have() -> None:
    even = np.full(6, 1 / 6)
    assert outside(even) == pytest.approx(2 / 6)
    assert mean_rank(even) == pytest.approx(0.5)
    for level in (0.1, 0.5, 0.9, 1.0):
        assert coverage(even, level) == pytest.approx(level)
        assert central_coverage(even, level) == pytest.approx(level)
    assert contrasts(5).T @ contrasts(5) == pytest.approx(np.eye(4), abs=1e-12)
    assert even @ contrasts(5) == pytest.approx(np.zeros(4), abs=1e-12)


def test_a_u_covers_too_little_and_a_slope_shows_in_the_mean() -> None:
    u, low = np.array([0.4, 0.1, 0.1, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    assert outside(u) == pytest.approx(0.8)
    assert central_coverage(u, 0.5) == pytest.approx(0.2)
    assert mean_rank(u) == pytest.approx(0.5)
    assert mean_rank(low) == pytest.approx(0.375)
    assert coverage(low, 0.5) == pytest.approx(0.7)


@pytest.mark.parametrize("samples", [2, 3, 10])
def test_spread_to_skill_does_not_depend_on_how_many_samples_there_are(samples: int) -> None:
    rng = np.random.default_rng(samples)
    mean = rng.standard_normal((400, 100))
    x, drawn = mean + rng.standard_normal(mean.shape), mean + 0.8 * rng.standard_normal((samples, *mean.shape))
    variance, bias = squared_parts(x, drawn)
    assert variance == pytest.approx(0.64, rel=0.03)
    assert bias == pytest.approx(1.0, rel=0.03)
    # Both sides of the identity by which the score is split.
    assert variance + bias == pytest.approx(((drawn - x) ** 2).mean())


def test_lengths_of_exact_samples_agree_and_the_energy_score_is_least_for_them() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 8))
    scores = {}
    for width in (0.5, 1.0, 1.5):
        among, to_original = mean_lengths(x, width * rng.standard_normal((5, 2000, 8)))
        scores[width] = float(energy_score(np.array(among), np.array(to_original)))
        assert (among / to_original == pytest.approx(1, abs=0.01)) == (width == 1)
    assert min(scores, key=scores.__getitem__) == 1.0


@pytest.mark.parametrize(("width", "least", "most"), [(1.0, 0.88, 0.92), (0.8, 0.0, 0.8), (1.2, 0.95, 1.0)])
def test_balls_hold_what_they_should_and_less_of_a_narrow_decoder(width: float, least: float, most: float) -> None:
    rng = np.random.default_rng(1)
    places, colours = 4000, 20
    plain = 3 * rng.standard_normal((places, colours))
    x, drawn = plain + rng.standard_normal(plain.shape), plain + width * rng.standard_normal((5, *plain.shape))
    reference = references(plain, [rng.standard_normal((500, colours))], 2, rng)
    assert reference.shape == (2, places, colours)
    found = tarp_histogram(x, drawn, reference)
    assert found.sum() == pytest.approx(1)
    assert least < coverage(found, 0.9) < most


def test_wavelets_keep_the_length_of_an_image_and_see_no_flat_one() -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 16, 24, 3))
    found = wavelets(image, 2)
    assert [one.shape for one in found] == [(2, 8 * 12 * 9), (2, 4 * 6 * 9)]
    low = image.reshape(2, 4, 4, 6, 4, 3).sum(axis=(2, 4)) @ OPPONENT / 4
    lengths = sum((one.astype(float) ** 2).sum(axis=1) for one in found) + (low**2).sum(axis=(1, 2, 3))
    assert lengths == pytest.approx((image**2).sum(axis=(1, 2, 3)), rel=1e-5)
    assert all(np.abs(one).max() < 1e-4 for one in wavelets(np.full((8, 8, 3), 77.0), 2))
    assert wavelets(np.zeros((9, 11, 3)), 2)[1].shape == (2 * 2 * 9,), "what two halvings do not divide is left out"
    assert np.allclose(OPPONENT.T @ OPPONENT, np.eye(3))
    assert [octaves(factor) for factor in (2, 3, 4, 8)] == [1, 1, 2, 3]


def test_features_are_of_cells_and_do_not_see_a_phase() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    found = features(images)
    assert found.shape == (2, 2 * 3, 36)
    assert projections(found).shape == (2, 6, 16)
    assert projections(found)[0] == pytest.approx(projections(found[:1])[0])
    waves = 127 + 80 * np.sin(2 * np.pi * np.arange(70) / 5)  # a period of five pixels: that of the finest filters
    stripes = [np.broadcast_to(waves[start : start + 64][None, :, None], (64, 64, 3)) for start in (0, 2)]
    faint = 127 + (stripes[0] - 127) / 100
    one, other, third = features(np.stack([*stripes, faint]))[:, :, :12]  # of the finest scale
    assert np.abs(one - other).max() < 0.1 * np.abs(one - third).max()


def test_the_statistics_know_nothing_of_images_or_files() -> None:
    for name in PURE:
        tree = ast.parse(Path(ROOT / "ida_rd/calibration" / f"{name}.py").read_text())
        own = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        own = {module for module in own if module.startswith("ida_rd")}
        assert own <= {f"ida_rd.calibration.{pure}" for pure in PURE} | {"ida_rd.core.seeds"}, name

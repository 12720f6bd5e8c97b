"""The posterior of a Gaussian field, against dense matrices and simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ida_rd.models.gaussian_field import ROUNDING, Expected, Field, Posterior, World, expected, wiener_bound
from ida_rd.models.linear_filters import FILTERS, Kernel, kernel_of, over_aliases, transfer

Array = NDArray[np.float64]
SIDE, FACTOR = 8, 2
FIELD = Field(sigma=20, cutoff=1 / 16, floor=0.01, correlation=0.6)


def matrix(kernel: Kernel, side: int, factor: int) -> Array:
    """The filter along one axis as a periodic matrix, by its definition."""
    found = np.zeros((side // factor, side))
    for k in range(side // factor):
        for j, tap in enumerate(kernel.taps):
            found[k, (factor * k + kernel.first + j) % side] += tap
    return found


def covariance(field: Field, height: int, width: int) -> Array:
    """Of all pixels of all channels, from the spectrum's correlations: (3 H W, 3 H W)."""
    correlation = np.fft.ifft2(field.spectrum(height, width)).real
    y, x = (place.ravel() for place in np.mgrid[:height, :width])
    spatial = correlation[(y[:, None] - y) % height, (x[:, None] - x) % width]
    colour = np.full((3, 3), field.correlation) + (1 - field.correlation) * np.eye(3)
    return np.kron(colour, spatial)


def dense(world: World, height: int, width: int) -> tuple[Array, Array, Array]:
    """Covariance of the field, the operator of LR, and the covariance of LR."""
    along = [matrix(world.kernel, side, world.factor) for side in (height, width)]
    operator = np.kron(np.eye(3), np.kron(*along))
    prior = covariance(world.field, height, width)
    seen = operator @ (prior + world.rounding * np.eye(len(prior))) @ operator.T
    return prior, operator, seen + world.noise * np.eye(len(operator))


def worlds() -> list[World]:
    return [World(FIELD, kernel_of(name, FACTOR), FACTOR, noise) for name in FILTERS for noise in (ROUNDING, 4.0)]


@pytest.mark.parametrize("world", worlds())
def test_mean_and_covariance_are_those_of_dense_matrices(world: World) -> None:
    height, width = SIDE, SIDE + 4
    prior, operator, seen = dense(world, height, width)
    gain = prior @ operator.T @ np.linalg.inv(seen)
    posterior = Posterior(world, height, width)
    lr = np.random.default_rng(0).normal(127, 20, (3, height // 2, width // 2))
    mean = world.field.mean + gain @ (lr.ravel() - world.field.mean)
    np.testing.assert_allclose(posterior.mean(lr).ravel(), mean, rtol=0, atol=1e-10)
    # A sample is linear in its normal numbers: their coefficients, column by column, give its covariance.
    flat = np.full_like(lr, world.field.mean)
    zero = np.zeros((3, height, width)), np.zeros_like(lr)
    columns = []
    for which in (0, 1):
        for i in range(zero[which].size):
            white = [part.copy() for part in zero]
            white[which].flat[i] = 1
            columns.append(posterior.sample(flat, *white).ravel() - world.field.mean)
    root = np.array(columns).T
    np.testing.assert_allclose(root @ root.T, prior - gain @ operator @ prior, rtol=0, atol=1e-10)


def test_samples_have_the_posteriors_mean_and_covariance() -> None:
    world = worlds()[3]
    posterior = Posterior(world, SIDE, SIDE)
    prior, operator, seen = dense(world, SIDE, SIDE)
    wanted = prior - prior @ operator.T @ np.linalg.solve(seen, operator @ prior)
    random = np.random.default_rng(1)
    lr = random.normal(127, 20, (3, 4, 4))
    count = 6000
    draws = np.array(
        [
            posterior.sample(lr, random.standard_normal((3, SIDE, SIDE)), random.standard_normal((3, 4, 4))).ravel()
            for _ in range(count)
        ]
    )
    variances = wanted.diagonal()
    error = np.abs(draws.mean(axis=0) - posterior.mean(lr).ravel()) / np.sqrt(variances / count)
    assert error.max() < 4.5
    scale = np.sqrt((np.outer(variances, variances) + wanted**2) / count)
    assert (np.abs(np.cov(draws.T) - wanted) / scale).max() < 5.5  # of 18,000 different entries


def test_a_matched_decoder_spreads_as_much_as_it_errs() -> None:
    for world in worlds():
        found = expected(world, world, SIDE, SIDE)
        prior, operator, seen = dense(world, SIDE, SIDE)
        original = prior + world.rounding * np.eye(len(prior))
        least = original - original @ operator.T @ np.linalg.solve(seen, operator @ original)
        bound = wiener_bound(world.kernel, FACTOR, world.field.spectrum(SIDE, SIDE) + world.rounding, world.noise)
        # Colour lets the decoder do better than channel by channel; the bound of one spectrum is for one channel.
        alone = replace(world, field=replace(world.field, correlation=0.0))
        assert bound.variance == pytest.approx(expected(alone, alone, SIDE, SIDE).squared_error.mean(), rel=1e-3)
        assert found.squared_error.mean() == pytest.approx(least.trace() / len(least), rel=1e-3)
        assert found.squared_error.mean() >= least.trace() / len(least)
        assert found.ratio == pytest.approx(1, abs=2e-3)
        assert found.coverage(0.9, 4, found.variance > 1) == pytest.approx(0.9, abs=5e-3)


def dense_score(truth: World, belief: World, height: int, width: int) -> tuple[Array, Array]:
    """Squared error and variance of each pixel of a cell, by matrices."""
    prior, operator, seen = dense(truth, height, width)
    believed, other, expected_seen = dense(belief, height, width)
    gain = believed @ other.T @ np.linalg.inv(expected_seen)
    original = prior + truth.rounding * np.eye(len(prior))
    cross = gain @ operator @ original
    error = original - cross - cross.T + gain @ seen @ gain.T
    variance = believed - gain @ other @ believed + belief.rounding * np.eye(len(prior))

    def of_cell(matrix: Array) -> Array:
        planes = matrix.diagonal().reshape(3, height // FACTOR, FACTOR, width // FACTOR, FACTOR)
        return planes.mean(axis=(0, 1, 3))

    return of_cell(error), of_cell(variance)


@pytest.mark.parametrize("believed", ["bicubic", "nearest"])
@pytest.mark.parametrize("true", FILTERS)
def test_a_wrong_decoders_score_is_that_of_dense_matrices(true: str, believed: str) -> None:
    truth = World(FIELD, kernel_of(true, FACTOR), FACTOR, 4.0)
    belief = World(Field(15, 1 / 8, 0.1, 0.3), kernel_of(believed, FACTOR), FACTOR)
    found = expected(truth, belief, SIDE, SIDE + 4)
    error, variance = dense_score(truth, belief, SIDE, SIDE + 4)
    np.testing.assert_allclose(found.squared_error, error, rtol=1e-10)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-10)
    # Its mean is worse than the best one; what it scores need not be, where it is too sure of itself.
    right = expected(truth, truth, SIDE, SIDE + 4)
    assert found.squared_error.mean() > right.squared_error.mean()
    sure = expected(truth, replace(truth, field=replace(FIELD, sigma=1.0), noise=1e-3), SIDE, SIDE + 4)
    assert sure.mse < right.mse


@pytest.mark.parametrize(("true", "believed"), [("nearest", "bicubic"), ("box", "lanczos"), ("bicubic", "bicubic")])
def test_a_wrong_decoders_score_is_what_a_simulation_finds(true: str, believed: str) -> None:
    """With rounding as it is, uniform, at HR, LR and samples; coverage too, K = 3."""
    factor, side, count = 4, 32, 60
    field = replace(FIELD, sigma=25.0, cutoff=1 / 32)
    truth = World(field, kernel_of(true, factor), factor, 1 + ROUNDING)
    decoder = World(field, kernel_of(believed, factor), factor, 1 + ROUNDING)
    posterior, found = Posterior(decoder, side, side), expected(truth, decoder, side, side)
    along = matrix(truth.kernel, side, factor)
    random = np.random.default_rng(2)
    measured = np.empty((count, 4))
    for i in range(count):
        hr = np.rint(field.draw(random.standard_normal((3, side, side))))
        lr = along @ hr @ along.T
        lr = np.rint(lr + random.standard_normal(lr.shape))
        sr = np.array(
            [
                np.rint(posterior.sample(lr, random.standard_normal(hr.shape), random.standard_normal(lr.shape)))
                for _ in range(3)
            ]
        )
        mean, spread = sr.mean(axis=0), sr.std(axis=0, ddof=1)
        total, variance = np.square(sr - hr).mean(), np.square(spread).mean()
        inside = [np.abs(hr - mean) <= t * spread * np.sqrt(4 / 3) for t in (0.8164966, 2.9199856)]  # Student's, 2
        measured[i] = variance, total - variance, inside[0].mean(), inside[1].mean()
    wanted = [found.variance.mean(), found.squared_error.mean(), found.coverage(0.5, 3), found.coverage(0.9, 3)]
    error = measured.std(axis=0, ddof=1) / np.sqrt(count)
    assert (np.abs(measured.mean(axis=0) - wanted) < 3.5 * error).all(), (measured.mean(axis=0), wanted, error)
    assert (error < 0.02 * np.array(wanted)).all(), "what is asked is asked sharply"


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("name", [name for name in FILTERS if name != "gaussian"])
def test_taps_are_pillows(name: str, factor: int) -> None:
    side = 24 * factor
    hr = np.random.default_rng(3).uniform(0, 255, (side, side)).astype(np.float32)
    lr = np.asarray(Image.fromarray(hr).resize((24, 24), Image.Resampling[name.upper()]))
    along = matrix(kernel_of(name, factor), side, factor)
    inside = slice(3, -3)
    np.testing.assert_allclose((along @ hr @ along.T)[inside, inside], lr[inside, inside], atol=1e-3)


@pytest.mark.parametrize("name", FILTERS)
def test_a_transfer_function_is_what_the_taps_do(name: str) -> None:
    kernel = kernel_of(name, FACTOR)
    hr = np.random.default_rng(4).normal(size=(8, 12))
    lr = matrix(kernel, 8, FACTOR) @ hr @ matrix(kernel, 12, FACTOR).T
    seen = over_aliases(transfer(kernel, 8, 12) * np.fft.fft2(hr), FACTOR)
    np.testing.assert_allclose(np.fft.ifft2(seen), lr, atol=1e-12)
    assert kernel.taps.sum() == pytest.approx(1, abs=1e-12)


def test_the_wiener_bound_of_what_is_known() -> None:
    """White images: every filter keeps one of factor^2 numbers. Nothing seen: all is lost."""
    white = np.full((16, 16), 9.0)
    for name in FILTERS:
        assert wiener_bound(name, 4, white, noise=0.0).variance == pytest.approx(9 * 15 / 16)
    blind = wiener_bound(Kernel(np.zeros(1), 0), 4, white)
    assert blind.variance == pytest.approx(9)
    assert blind.psnr == pytest.approx(10 * np.log10(255**2 / 9))
    assert wiener_bound("box", 4, white, noise=1e9).variance == pytest.approx(9)
    flat = np.zeros((16, 16))
    flat[0, 0] = 256.0  # images without any detail, of variance 1: the mean is all there is
    assert wiener_bound("box", 4, flat, noise=1.0).variance == pytest.approx(1 / 17)  # sixteen pixels, each 1 + 1
    spectrum = Field().spectrum(64, 64)
    bounds = {name: wiener_bound(name, 4, spectrum).variance for name in FILTERS}
    assert max(bounds, key=lambda name: bounds[name]) == "nearest"


def test_a_field_is_drawn_with_its_spectrum_and_colours() -> None:
    random = np.random.default_rng(5)
    field = Field(sigma=10, cutoff=0.1, floor=0.05, correlation=0.7)
    draws = np.array([field.draw(random.standard_normal((3, 8, 8))) for _ in range(4000)])
    draws = draws.reshape(4000, -1)
    wanted = covariance(field, 8, 8)
    assert wanted[0, 0] == pytest.approx(100)
    assert np.abs(draws.mean(axis=0) - 127.5).max() < 1
    assert (np.abs(np.cov(draws.T) - wanted) / np.sqrt((100**2 + wanted**2) / 4000)).max() < 5.5


def test_coverage_without_error_or_with_too_much_is_not_the_level() -> None:
    one = np.ones((2, 2))
    assert Expected(one, one).coverage(0.5, 4) == pytest.approx(0.5)
    assert Expected(9 * one, one).coverage(0.9, 4) < 0.7
    assert Expected(one / 9, one).coverage(0.5, 4) > 0.7
    mixed = Expected(np.array([[1.0, 100.0]]), np.array([[1.0, 1.0]]))
    assert mixed.coverage(0.9, 4, np.array([[True, False]])) == pytest.approx(0.9)


def test_truth_and_belief_of_two_factors_are_refused() -> None:
    with pytest.raises(ValueError, match="factor or mean"):
        expected(World(FIELD, kernel_of("box", 2), 2), World(FIELD, kernel_of("box", 4), 4), 8, 8)

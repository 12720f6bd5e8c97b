"""DPID, perceptual and L0: the goldens, their laws, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.images import read_image
from ida_rd.core.methods import validate
from ida_rd.core.seeds import generator
from ida_rd.downscale import dpid, l0, perceptual
from ida_rd.downscale.check import check_downscaler
from ida_rd.downscale.cubic import cubic
from ida_rd.downscale.eight_bit import round_levels

HERE = ROOT / "tests" / "golden"
RNG = generator("test")
VARIANTS = {"fixed": "real", "official": "matlab_official"}
METHODS = {"dpid": dpid, "perceptual": perceptual, "l0": l0}


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(height), int(width)


def _check_png(path: Path, hr: NDArray[np.uint8]) -> None:
    _, size, *rest = path.stem.split("_")
    if path.parent.name == "dpid":
        lr = dpid.downscale(hr, _size(size), rng=RNG, lam=float(rest[0][1:]), variant=VARIANTS[rest[2]])  # type: ignore[arg-type]
    elif path.parent.name == "perceptual":
        lr = perceptual.downscale(hr, _size(size), rng=RNG)
    else:
        lr = l0.downscale(hr, _size(size), rng=RNG, lam=float(rest[-1][1:]))
    assert np.array_equal(lr, read_image(path)), path.name


@pytest.mark.parametrize(
    "path", sorted(p for name in METHODS for p in (HERE / name).glob("*.png")), ids=lambda path: path.stem
)
def test_downscalers_equal_the_golden_images(path: Path, astronaut: NDArray[np.uint8]) -> None:
    inputs = {"astronaut256": astronaut[0:256, 96:352], "astronaut203x170": astronaut[7:177, 107:310]}
    _check_png(path, np.ascontiguousarray(inputs[path.stem.split("_")[0]]))


@pytest.mark.parametrize("name", METHODS)
def test_downscalers_equal_all_available_golden_images(name: str, shared: Path) -> None:
    folder = shared / "golden" / "downscale"
    goldens = sorted((folder / name).glob("*.png"))
    assert goldens
    for path in goldens:
        _check_png(path, read_image(folder / "inputs" / f"{path.stem.split('_')[0]}.png"))


@pytest.mark.parametrize("name", METHODS)
def test_float_results_equal_the_golden_ones(name: str, shared: Path) -> None:
    folder = shared / "golden" / "downscale"
    seen = 0
    for path in sorted((folder / name).glob("*.npz")):
        hr = read_image(folder / "inputs" / f"{path.stem.split('_')[0]}.png")
        golden = np.load(path)
        for key in golden.files:
            found = re.search(r"_l([\d.]+)", key)
            lam = float(found[1]) if found else 0.0
            if name == "dpid" and key.endswith("_float"):
                result, limit = dpid.dpid(hr, _size(key.split("_")[0]), lam=lam), 2e-3
            elif name == "dpid" and key.endswith("_cuda_emul_u8"):
                result, limit = dpid.dpid(hr, _size(key.split("_")[0]), lam=lam, variant="cuda"), 1
                assert (result != golden[key]).mean() < 1e-3, key
            elif name == "perceptual":
                result, limit = perceptual.perceptual(hr, 256 // _size(key)[0]) / 255, 1e-6
            elif key.startswith("ours_fft_bicubic"):
                result, limit = l0.l0(hr, 256 // golden[key].shape[0], lam=lam) / 255, 1e-6
            else:
                continue
            assert np.abs(result - golden[key]).max() <= limit, (path.name, key)
            seen += 1
    assert seen >= 6


def test_the_inside_of_dpid_is_that_of_an_independent_program(shared: Path) -> None:
    """Another program's border differs; its inside does not."""
    folder = shared / "golden" / "downscale"
    golden = np.load(folder / "dpid" / "chelsea256.npz")["64x64_l1_pepedpid"]
    ours = dpid.dpid(read_image(folder / "inputs" / "chelsea256.png"), (64, 64))
    assert np.abs(ours - golden)[1:-1, 1:-1].max() < 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_the_contract_is_kept(name: str) -> None:
    check_downscaler(METHODS[name], {})


@pytest.mark.parametrize("name", METHODS)
def test_floats_and_bytes_give_the_same(name: str, astronaut: NDArray[np.uint8]) -> None:
    hr = astronaut[:96, :96]

    def run(image: NDArray) -> NDArray[np.float64]:
        return dpid.dpid(image, (24, 24)) if name == "dpid" else getattr(METHODS[name], name)(image, 4)

    np.testing.assert_allclose(255 * run(hr / 255), run(hr), atol=1e-8 if name == "dpid" else 1e-4)
    with pytest.raises(TypeError, match="not int32"):
        run(hr.astype(np.int32))


IMAGES = st.integers(2, 5).flatmap(
    lambda s: st.tuples(
        st.just(s),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6).flatmap(
            lambda shape: hnp.arrays(np.uint8, (shape[0] * s, shape[1] * s, 3), elements=st.integers(0, 255))
        ),
    )
)


def _run(name: str, hr: NDArray[np.uint8], factor: int) -> NDArray[np.float64]:
    if name == "dpid":
        return dpid.dpid(hr, (hr.shape[0] // factor, hr.shape[1] // factor))
    return getattr(METHODS[name], name)(hr, factor)


@pytest.mark.parametrize("name", METHODS)
@given(level=st.integers(0, 255), factor=st.integers(2, 9), height=st.integers(1, 5), width=st.integers(1, 5))
@settings(deadline=None)
def test_a_constant_image_stays_constant(name: str, level: int, factor: int, height: int, width: int) -> None:
    hr = np.full((height * factor, width * factor, 3), level, np.uint8)
    np.testing.assert_allclose(_run(name, hr, factor), level, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@given(case=IMAGES, axis=st.integers(0, 1))
@settings(deadline=None)
def test_flips_commute(name: str, case: tuple[int, NDArray[np.uint8]], axis: int) -> None:
    factor, hr = case
    if name == "l0":
        # A gradient at the threshold can fall on either side, and differences look one way: without the prior.
        flipped, straight = l0.l0(np.flip(hr, axis), factor, lam=0), l0.l0(hr, factor, lam=0)
    else:
        flipped, straight = _run(name, np.flip(hr, axis), factor), _run(name, hr, factor)
    np.testing.assert_allclose(flipped, np.flip(straight, axis), atol=1e-3 if name == "perceptual" else 1e-8)


@given(case=IMAGES, lam=st.sampled_from([0, 0.3, 0.5, 1, 3]))
@settings(deadline=None)
def test_dpid_stays_within_the_range_of_each_block(case: tuple[int, NDArray[np.uint8]], lam: float) -> None:
    factor, hr = case
    lr = dpid.dpid(hr, (hr.shape[0] // factor, hr.shape[1] // factor), lam=lam)
    blocks = hr.reshape(lr.shape[0], factor, lr.shape[1], factor, 3)
    flat = np.ptp(blocks, axis=(1, 3)).max(axis=2) == 0  # there the neighbourhood's mean is taken, or the block's level
    assert ((lr >= blocks.min(axis=(1, 3)) - 1e-9) | flat[:, :, None]).all()
    assert ((lr <= blocks.max(axis=(1, 3)) + 1e-9) | flat[:, :, None]).all()
    assert lr.min() >= hr.min() - 1e-9
    assert lr.max() <= hr.max() + 1e-9
    if lam == 0:
        np.testing.assert_allclose(lr, blocks.mean(axis=(1, 3)), atol=1e-9)


@given(case=IMAGES)
@settings(deadline=None)
def test_perceptual_and_l0_keep_the_mean(case: tuple[int, NDArray[np.uint8]]) -> None:
    factor, hr = case
    # Patches of one pixel have no variance between them: the block means remain.
    means = hr.reshape(hr.shape[0] // factor, factor, hr.shape[1] // factor, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(perceptual.perceptual(hr, factor, patch=1), means, atol=1e-9)
    # L0 weighs all frequencies but the lowest, which is the mean.
    np.testing.assert_allclose(l0.l0(hr, factor).mean(axis=(0, 1)), hr.mean(axis=(0, 1)), atol=1e-8)


def test_perceptual_scales_each_patch_to_the_variance_of_its_pixels(astronaut: NDArray[np.uint8]) -> None:
    """With one patch, SSIM's optimum: mean and variance of the LR image are those of the HR image."""
    hr = astronaut[:64, :64]
    lr = perceptual.perceptual(hr, 4, patch=16)
    np.testing.assert_allclose(lr.mean(axis=(0, 1)), hr.mean(axis=(0, 1)))
    np.testing.assert_allclose(lr.var(axis=(0, 1)), hr.var(axis=(0, 1)))


def test_l0_is_the_minimiser_it_claims_to_be(astronaut: NDArray[np.uint8]) -> None:
    """Without the prior, the least-squares solution, found here by another route; with more of it, fewer gradients."""
    hr = astronaut[40:72, 40:72] / 255
    position = (np.arange(32) + 0.5) / 4 - 0.5
    up = np.zeros((32, 8))
    for tap in np.floor(position).astype(int) + np.arange(-1, 3)[:, None]:
        np.add.at(up, (np.arange(32), tap % 8), cubic(position - tap))
    solution = np.stack([np.linalg.lstsq(np.kron(up, up), hr[:, :, c].ravel())[0] for c in range(3)], axis=1)
    np.testing.assert_allclose(l0.l0(hr, 4, lam=0), solution.reshape(8, 8, 3), atol=1e-10)
    edges = []
    for lam in (0, 2e-4, 2e-2):
        d = l0.l0(astronaut[:128, :128], 4, lam=lam) / 255
        edges.append(sum(np.square(np.roll(d, -1, axis) - d).sum(axis=2) for axis in (0, 1)) > 1e-4)
    assert edges[0].sum() > edges[1].sum() > edges[2].sum() > 0


def test_dpid_does_ratios_that_are_not_whole(astronaut: NDArray[np.uint8]) -> None:
    lr = dpid.dpid(astronaut[:100, :90], (37, 41), lam=0)
    rows, columns = dpid._coverage(100, 37), dpid._coverage(90, 41)
    np.testing.assert_allclose(rows[1].sum(axis=1), 100 / 37)
    np.testing.assert_allclose(columns[1].sum(axis=1), 90 / 41)
    np.testing.assert_allclose(lr.mean(), astronaut[:100, :90].mean(), rtol=1e-9)


def test_dpid_reads_nothing_outside_the_image(astronaut: NDArray[np.uint8]) -> None:
    around = np.full((120, 110, 3), np.nan)
    around[:100, :90] = astronaut[:100, :90] / 255
    for size in ((37, 41), (99, 89), (100, 90), (1, 1)):
        np.testing.assert_array_equal(
            dpid.dpid(around[:100, :90], size), dpid.dpid(around[:100, :90].copy(), size), strict=True
        )
        assert np.isfinite(dpid.dpid(around[:100, :90], size)).all()


def test_levels_round_half_up() -> None:
    assert round_levels(np.array([-3, 0.49, 0.5, 1.5, 2.5, 254.5, 300])).tolist() == [0, 0, 1, 2, 3, 255, 255]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("dpid", {"lambda": -1}, "lambda: input should be greater than or equal to 0"),
        ("dpid", {"lambda": float("nan")}, "lambda: input should be a finite number"),
        ("dpid", {"lam": 1}, "'lambda'"),
        ("dpid", {"variant": "matlab"}, "variant: .*'matlab_official'"),
        ("perceptual", {"patch": 0}, "patch: .*greater than or equal to 1"),
        ("perceptual", {"eps": -1}, "eps: .*greater"),
        ("l0", {"kappa": 1}, "kappa: .*greater than or equal to 1.1"),
        ("l0", {"lamda": 1}, "lamda: unknown key; did you mean 'lambda'"),
    ],
)
def test_impossible_parameters_are_named(name: str, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate(METHODS[name].Parameters, values, where="downscalers.x")

"""Patches: functions of seed and step, whose LR images are those of whole photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from training_photos import cut_photos

from ida_rd.core.errors import UserError
from ida_rd.core.images import write_png
from ida_rd.training.patches import PILLOW_REACH, Downscaling, PatchSource, Pixels, pillow


@pytest.fixture
def photos(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """Two photographs of 200 x 200."""
    return cut_photos(tmp_path, astronaut, side=200)


def test_patches_are_a_function_of_seed_and_step(photos: Path) -> None:
    files = sorted(photos.iterdir())
    first, second = (PatchSource(files, 4, 32, seed=0).batch("nll", 5, 3) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], PatchSource(files, 4, 32, seed=0).batch("nll", 6, 3)[0])


def test_a_patchs_lr_image_is_the_crop_of_the_whole_photographs(astronaut: NDArray[np.uint8]) -> None:
    whole = np.asarray(Image.fromarray(astronaut).resize((128, 128), Image.Resampling.BICUBIC))
    side, y, x = 8, 40, 72
    outer = astronaut[y : y + 4 * (side + 2 * PILLOW_REACH), x : x + 4 * (side + 2 * PILLOW_REACH)]
    small = np.asarray(Image.fromarray(outer).resize((side + 2 * PILLOW_REACH,) * 2, Image.Resampling.BICUBIC))
    inner = small[PILLOW_REACH:-PILLOW_REACH, PILLOW_REACH:-PILLOW_REACH]
    assert np.array_equal(inner, whole[y // 4 + PILLOW_REACH :, x // 4 + PILLOW_REACH :][:side, :side])


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("jpeg", [0.0, 1.0])
def test_a_patchs_lr_image_is_its_own_and_jpeg_comes_before(photos: Path, jpeg: float, factor: int) -> None:
    files = sorted(photos.iterdir())
    hr, lr = PatchSource(files, factor, 64, seed=0, jpeg=jpeg).batch("nll", 0, 6)
    whole = [np.asarray(Image.open(path)).astype(int) for path in files]
    found = 0
    for patch, small in zip(hr.transpose(0, 2, 3, 1), lr.transpose(0, 2, 3, 1), strict=True):
        size = (64 // factor,) * 2
        again = np.asarray(Image.fromarray(np.ascontiguousarray(patch)).resize(size, Image.Resampling.BICUBIC))
        assert np.array_equal(again[3:-3, 3:-3], small[3:-3, 3:-3])  # further in than the kernel reaches
        turns = [np.rot90(m, k) for m in (patch, patch[:, ::-1]) for k in range(4)]
        windows = (np.lib.stride_tricks.sliding_window_view(p, (64, 64, 3))[::1, ::1, 0] for p in whole)
        found += any((w[:, :, 8, 8] == t[8, 8]).all(-1).any() and _occurs(w, t) for w in windows for t in turns)
    assert found == (0 if jpeg else 6)


def _occurs(windows: NDArray[np.int_], patch: NDArray[np.uint8]) -> bool:
    ys, xs = np.nonzero((windows[:, :, 8, 8] == patch[8, 8]).all(-1))
    return any(np.array_equal(windows[y, x], patch) for y, x in zip(ys, xs, strict=True))


@pytest.mark.parametrize("name", ["bilinear", "lanczos", "box", "nearest"])
def test_lr_images_are_made_by_the_filters_that_are_named(photos: Path, name: str) -> None:
    files = sorted(photos.iterdir())
    hr, lr = PatchSource(files, 4, 64, seed=0, downscalings=[pillow(name)]).batch("nll", 0, 3)
    for patch, small in zip(hr.transpose(0, 2, 3, 1), lr.transpose(0, 2, 3, 1), strict=True):
        image = Image.fromarray(np.ascontiguousarray(patch))
        again = np.asarray(image.resize((16, 16), Image.Resampling[name.upper()]))
        assert np.array_equal(again[3:-3, 3:-3], small[3:-3, 3:-3])
    with pytest.raises(UserError, match="--filters bilnear: did you mean 'bilinear'"):
        pillow("bilnear")


def test_photographs_are_shown_reduced_and_sharpened_where_asked(photos: Path) -> None:
    files = sorted(photos.iterdir())

    def edges(**options: Any) -> float:
        hr = PatchSource(files, 4, 32, seed=0, **options).batch("nll", 0, 60)[0].astype(float)
        return float(np.abs(np.diff(hr, axis=3)).mean())

    assert edges(scales=(1.0, 2.0)) > 1.1 * edges()  # there is more in a pixel of a reduced photograph
    assert edges(sharpen=1.0) > 1.1 * edges()
    assert edges(sharpen=0.5) == pytest.approx((edges() + edges(sharpen=1.0)) / 2, rel=0.1)
    with pytest.raises(UserError, match="would enlarge"):
        PatchSource(files, 4, 32, seed=0, scales=(0.5,))
    with pytest.raises(UserError, match="reduced by 8 smaller than 56 x 56"):
        PatchSource(files, 4, 32, seed=0, scales=(1.0, 8.0))


def test_the_candidate_with_most_detail_is_kept(photos: Path) -> None:
    files = sorted(photos.iterdir())

    def detail(candidates: int) -> float:
        lr = PatchSource(files, 4, 32, seed=0, candidates=candidates).batch("nll", 0, 40)[1].astype(float)
        return float(np.abs(np.diff(lr, axis=3)).mean())

    assert detail(4) > 1.15 * detail(1)


def _average(radius: int) -> Downscaling:
    """Means over a square that reaches so many LR pixels from the LR pixel's centre; zero beyond the image."""

    def make(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        factor = hr.shape[0] // size[0]
        reach = radius * factor
        wide = np.pad(hr.astype(float), ((reach, reach), (reach, reach), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(wide, (2 * reach, 2 * reach), axis=(0, 1))
        return windows[factor // 2 :: factor, factor // 2 :: factor].mean((3, 4))[: size[0], : size[1]].astype(np.uint8)

    return Downscaling(f"average-{radius}", radius, make)


@pytest.mark.parametrize("downscalings", [[_average(5)], [pillow("box"), _average(5)]], ids=["one", "mixed"])
def test_patches_have_the_margin_that_a_downscaler_reaches(tmp_path: Path, downscalings: Sequence[Downscaling]) -> None:
    # Flat, so whatever looks beyond the margin of a crop sees the zeros there.
    write_png(tmp_path / "a.png", np.full((160, 160, 3), 200, np.uint8))
    source = PatchSource([tmp_path / "a.png"], 4, 32, 0, downscalings=downscalings)
    assert all((source.batch("x", step, 4)[1] == 200).all() for step in range(2))
    write_png(tmp_path / "b.png", np.full((71, 71, 3), 200, np.uint8))
    with pytest.raises(UserError, match="smaller than 72 x 72 pixels"):
        PatchSource([tmp_path / "b.png"], 4, 32, 0, downscalings=downscalings)


def test_a_random_downscaler_draws_what_seed_and_step_say(photos: Path) -> None:
    def noisy(hr: Pixels, size: tuple[int, int], *, rng: np.random.Generator) -> Pixels:
        return rng.integers(0, 256, (*size, 3), dtype=np.uint8)

    def batch(step: int) -> Pixels:
        chosen = [Downscaling("noise", 1, noisy)]
        return PatchSource(sorted(photos.iterdir()), 4, 32, 0, downscalings=chosen).batch("x", step, 2)[1]

    assert np.array_equal(batch(0), batch(0))
    assert not np.array_equal(batch(0), batch(1))


def test_photographs_are_read_as_everywhere_else(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    wide = np.random.default_rng(0).integers(0, 256, (80, 120, 3)).astype(np.uint8)
    Image.fromarray(wide).save(tmp_path / "a.png", exif=exif)
    source = PatchSource([tmp_path / "a.png"], 4, 32, seed=0)
    assert np.array_equal(source.images[0][0], np.rot90(wide, -1))
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EOF\n")
    with pytest.raises(UserError, match=r"^training images: .*b\.png: PostScript is not read"):
        PatchSource([tmp_path / "b.png"], 4, 32, seed=0)

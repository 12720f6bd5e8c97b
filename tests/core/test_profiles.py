"""Colours are decided by what a profile does: a true sRGB profile changes nothing, another one what it says."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import (
    ADOBE_PRIMARIES,
    LINEAR,
    P3_PRIMARIES,
    SRGB,
    SRGB_FORMULA,
    SRGB_PRIMARIES,
    chunk,
    curve_of,
    decoded,
    encoded,
    gamma_curve,
    iccp,
    page_of,
    png_of,
    profile_of,
    tiff_of,
)
from PIL import Image

from ida_rd.core.images import ImageError, read_image

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
COLOURS = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)
COLOURS[0, :48] = np.arange(48)[:, None]
TRUE_SRGB = {
    "LittleCMS": SRGB,
    "formula, version 2": profile_of(SRGB_FORMULA),
    "formula, version 4": profile_of(SRGB_FORMULA, version=4),
    "1024 entries": profile_of(curve_of(decoded, 1024), name="monitor"),
    "4096 entries": profile_of(curve_of(decoded, 4096)),
    "26 entries": profile_of(curve_of(decoded, 26), name="c2"),
}
# Profile, and what its samples in [0, 1] mean.
OTHERS: dict[str, tuple[bytes, Any, Any]] = {
    "GIMP's linear": (profile_of(LINEAR, name="GIMP built-in Linear sRGB"), lambda x: x, SRGB_PRIMARIES),
    "Display P3": (profile_of(SRGB_FORMULA, P3_PRIMARIES, name="sRGB"), decoded, P3_PRIMARIES),
    "P3, sampled": (profile_of(curve_of(decoded, 1024), P3_PRIMARIES, name="DCI-P3 with sRGB"), decoded, P3_PRIMARIES),
    "Adobe RGB": (profile_of(gamma_curve(563 / 256), ADOBE_PRIMARIES), lambda x: x ** (563 / 256), ADOBE_PRIMARIES),
    "gamma 1.8": (profile_of(gamma_curve(1.80078125), name="sRGB"), lambda x: x**1.80078125, SRGB_PRIMARIES),
    "gamma 2.2": (profile_of(gamma_curve(2.19921875), name="sRGB"), lambda x: x**2.19921875, SRGB_PRIMARIES),
}
GREYS = {
    "sGray": (profile_of(SRGB_FORMULA, None), decoded),
    "gamma 2.2": (profile_of(gamma_curve(2.19921875), None), lambda x: x**2.19921875),
    "linear": (profile_of(LINEAR, None), lambda x: x),
    "dot gain": (profile_of(curve_of(lambda x: x**1.75, 256), None), lambda x: x**1.75),
}


def read(data: bytes, folder: Path) -> NDArray[np.uint8]:
    """Read an image from its bytes."""
    (folder / "image.png").write_bytes(data)
    return read_image(folder / "image.png")


def to_srgb(samples: NDArray[Any], most: int, meaning: Any, primaries: Any) -> NDArray[Any]:
    """The conversion by its definition, in floating point; levels of 255, not rounded."""
    linear = meaning(samples / most)
    if primaries is not None:
        linear = linear @ (np.linalg.inv(np.array(SRGB_PRIMARIES)) @ np.array(primaries)).T
    return 255 * encoded(linear)


@pytest.mark.parametrize("name", TRUE_SRGB)
def test_a_true_srgb_profile_leaves_pixels_as_they_are(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read(png_of(COLOURS, iccp(TRUE_SRGB[name])), tmp_path), COLOURS)
    samples = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)
    expected = np.floor(samples / 257 + 0.5)
    assert np.array_equal(read(png_of(samples, iccp(TRUE_SRGB[name])), tmp_path), expected)


@pytest.mark.parametrize("name", OTHERS)
def test_another_profile_is_applied_whatever_its_name(tmp_path: Path, name: str) -> None:
    profile, meaning, primaries = OTHERS[name]
    found = read(png_of(COLOURS, iccp(profile)), tmp_path)
    expected = to_srgb(COLOURS, 255, meaning, primaries)
    assert np.abs(found - expected).max() < 2  # LittleCMS has fewer digits on 8 bits
    assert np.abs(COLOURS - expected).max() > 5


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("name", OTHERS)
def test_sixteen_bits_are_rounded_after_the_profile(tmp_path: Path, name: str, kind: str) -> None:
    profile, meaning, primaries = OTHERS[name]
    samples = np.stack([RAMP, RAMP // 2, RAMP[::-1]], axis=2)
    samples[:8] = RAMP[:8, :, None]  # dark greys
    data = png_of(samples, iccp(profile)) if kind == "png" else tiff_of(page_of(samples, {34675: profile}))
    found = read(data, tmp_path)
    differs = np.abs(found - to_srgb(samples, 65535, meaning, primaries))
    assert differs[:8].max() <= 0.6
    assert differs.max() < 1  # published primaries have four digits; next to 0 one in the last is a third of a level
    early = np.floor(samples / 257 + 0.5)
    too_early = np.abs(to_srgb(early, 255, meaning, primaries) - to_srgb(samples, 65535, meaning, primaries)).max()
    if name == "GIMP's linear":
        assert too_early > 6


@pytest.mark.parametrize("name", GREYS)
def test_grey_profiles_are_applied(tmp_path: Path, name: str) -> None:
    profile, meaning = GREYS[name]
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    alike = [png_of(levels, iccp(profile)), png_of(np.stack([levels, levels | 255], 2), iccp(profile))]
    for data in alike:
        found = read(data, tmp_path)
        expected = to_srgb(levels[:, :, None], 255, meaning, None)
        assert np.abs(found - expected).max() <= (0 if name == "sGray" else 0.6) + 1e-4
    opaque = np.stack([RAMP, RAMP | 65535], axis=2)
    for data in (png_of(RAMP, iccp(profile)), png_of(opaque, iccp(profile)), tiff_of(page_of(RAMP, {34675: profile}))):
        found = read(data, tmp_path)
        assert np.abs(found - to_srgb(RAMP[:, :, None], 65535, meaning, None)).max() <= 0.6


def test_grey_with_a_colour_profile_is_that_profiles_grey(tmp_path: Path) -> None:
    profile, meaning, _ = OTHERS["GIMP's linear"]
    expected = to_srgb(RAMP[:, :, None], 65535, meaning, None)
    assert np.abs(read(png_of(RAMP, iccp(profile)), tmp_path) - expected).max() <= 0.6
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = read(png_of(levels, iccp(profile)), tmp_path)
    assert np.abs(found - to_srgb(levels[:, :, None], 255, meaning, None)).max() <= 1.01


@pytest.mark.parametrize("samples", [COLOURS, COLOURS.astype(np.uint16) * 257], ids=["8", "16"])
def test_a_grey_profile_of_a_coloured_image_is_named_as_the_reason(tmp_path: Path, samples: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match=r"^its ICC profile is one for GRAY, but its pixels are RGB: convert"):
        read(png_of(samples, iccp(GREYS["linear"][0])), tmp_path)


@pytest.mark.parametrize("name", ["named-samsung.png", "named-display-p3.png"])
def test_real_profiles_that_are_called_srgb_are_applied(shared: Path, name: str) -> None:
    path = shared / "cases" / "profile-named-srgb" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    stored = np.asarray(Image.open(path).convert("RGB"))
    expected = to_srgb(stored, 255, decoded, P3_PRIMARIES)
    assert np.abs(read_image(path) - expected).max() < 2
    assert np.abs(stored - expected).max() > 20


def test_a_profile_within_a_bitmap_is_found(tmp_path: Path) -> None:
    profile, meaning, primaries = OTHERS["Display P3"]
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "BMP")
    plain = file.getvalue()
    for space, said in ((b"DEBM", None), (b"KNIL", "in another file"), (b"BGRs", "")):
        header = bytearray(plain[14:54].ljust(124, b"\0"))
        header[0:1], header[56:60] = b"\x7c", space
        pixels = plain[54:]
        header[112:120] = (124 + len(pixels)).to_bytes(4, "little") + len(profile).to_bytes(4, "little")
        data = plain[:10] + (138).to_bytes(4, "little") + bytes(header) + pixels + profile
        if said:
            with pytest.raises(ImageError, match=said):
                read(data, tmp_path)
        elif said is None:
            assert np.abs(read(data, tmp_path) - to_srgb(COLOURS, 255, meaning, primaries)).max() < 2
        else:
            assert np.array_equal(read(data, tmp_path), COLOURS)


def test_a_profile_that_is_damaged_is_not_left_out_in_silence(tmp_path: Path) -> None:
    for body in (b"p\0\0" + b"no zlib stream", b"p\0\0"):
        with pytest.raises(ImageError, match=r"its ICC profile cannot be used .+: convert it to sRGB first$"):
            read(png_of(COLOURS, chunk(b"iCCP", body)), tmp_path)


def test_curves_of_every_formula_are_those_of_lcms(tmp_path: Path) -> None:
    def formula(kind: int, *values: float) -> bytes:
        return (
            b"para\0\0\0\0"
            + struct.pack(">HH", kind, 0)
            + struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
        )

    samples = np.repeat(RAMP[:, :, None], 3, axis=2)
    for curve, meaning in (
        (formula(0, 1.5), lambda x: x**1.5),
        (formula(1, 2.0, 0.9, 0.1), lambda x: np.maximum(0.9 * x + 0.1, 0) ** 2),
        (formula(2, 2.0, 0.8, 0.1, 0.05), lambda x: np.maximum(0.8 * x + 0.1, 0) ** 2 + 0.05),
        (
            formula(4, 2.0, 0.9, 0.1, 0.2, 0.1, 0.0, 0.01),
            lambda x: np.where(x >= 0.1, (0.9 * x + 0.1) ** 2, 0.2 * x + 0.01),
        ),
    ):
        found = read(png_of(samples, iccp(profile_of(curve))), tmp_path)
        assert np.abs(found - to_srgb(samples, 65535, meaning, None)).max() <= 0.6

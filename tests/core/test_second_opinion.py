"""The reader against another one, libvips, on a grid of generated files.

Left out of the grid, since the two differ on purpose: tRNS, gAMA and cICP, which libvips does not refuse; white-is-zero
in 16 bits, EXIF after IDAT and in texts, which it does not read; transparency, which it keeps.
"""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import png
import pytest
from numpy.typing import NDArray
from pictures import (
    ADOBE_PRIMARIES,
    LINEAR,
    P3_PRIMARIES,
    PACKERS,
    SRGB,
    SRGB_FORMULA,
    UPRIGHT,
    chunk,
    decoded,
    encoded,
    exif_of,
    gamma_curve,
    iccp,
    page_of,
    png_of,
    profile_of,
    tiff_of,
)
from PIL import Image

from ida_rd.core.images import read_image

pyvips: Any = pytest.importorskip("pyvips", reason="needs the package pyvips: pip install 'ida-rd[libraries]'")

ORDERS = ("<", ">")
PROFILES: dict[str, dict[str, bytes | None]] = {
    "rgb": {
        "none": None,
        "sRGB": SRGB,
        "linear": profile_of(LINEAR, name="built-in Linear sRGB"),
        "Display P3": profile_of(SRGB_FORMULA, P3_PRIMARIES, name="sRGB", version=4),
        "Adobe RGB": profile_of(gamma_curve(563 / 256), ADOBE_PRIMARIES),
    },
    "grey": {
        "none": None,
        "sGray": profile_of(SRGB_FORMULA, None),
        "gamma 2.2": profile_of(gamma_curve(563 / 256), None),
        "linear": profile_of(LINEAR, None),
    },
}


def other(data: bytes, samples: NDArray[Any], profile: bytes | None) -> NDArray[np.uint8]:
    """What libvips reads: turned, and converted to sRGB by way of XYZ in floating point.

    Straight, LittleCMS would take the profiles' curves and primaries as a table of colours where samples have 16 bits,
    or are grey, and be wrong by up to twelve levels next to the edge of the gamut and in the darks.
    """
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    if profile is None:
        found = image.numpy()
        levels = np.floor(found / 257 + 0.5) if found.dtype == np.uint16 else found
    elif samples.dtype == np.uint8 and samples.ndim == 3:
        levels = np.floor(image.icc_transform("srgb", depth=16, intent="relative").numpy() / 257 + 0.5)
    else:
        levels = image.icc_import(embedded=True, intent="relative", pcs="xyz").colourspace("srgb").numpy()
    levels = levels.reshape(*levels.shape[:2], -1)
    return np.broadcast_to(levels, (*levels.shape[:2], 3)).astype(np.uint8)


def photograph(shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Smooth colours over the whole range, the darks more than the rest."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / np.array(shape[:2])[:, None, None]
    planes = np.stack([x * y, x**2, 0.5 + 0.5 * np.sin(7 * x - 3 * y)], axis=2)
    samples: NDArray[Any] = (planes * np.iinfo(dtype).max).astype(dtype)
    return samples if len(shape) == 3 else samples[:, :, 0]


def interlaced(samples: NDArray[Any], *chunks: bytes) -> bytes:
    """An interlaced PNG with chunks before its data."""
    file = io.BytesIO()
    height, width = samples.shape[:2]
    bits = samples.dtype.itemsize * 8
    png.Writer(width, height, greyscale=samples.ndim == 2, bitdepth=bits, interlace=True).write(
        file, samples.reshape(height, -1).tolist()
    )
    data = file.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


def grid() -> list[tuple[str, bytes, NDArray[Any], bytes | None]]:
    """Files: what each is, its bytes, its samples, its profile."""
    files = []
    for bits, colours, orientation in product((8, 16), ("grey", "rgb"), UPRIGHT):
        shape = (29, 41, 3) if colours == "rgb" else (29, 41)
        dtype: type = np.uint8 if bits == 8 else np.uint16
        samples: NDArray[Any] = photograph(shape, dtype)
        for name, profile in PROFILES[colours].items():
            what = f"{bits} bits, {colours}, orientation {orientation}, {name}"
            chunks = [*([iccp(profile)] if profile else []), chunk(b"eXIf", exif_of(orientation))]
            files.append((f"PNG, {what}", png_of(samples, *chunks), samples, profile))
            files.append((f"PNG, {what}, interlaced", interlaced(samples, *chunks), samples, profile))
            tags: dict[int, Any] = {274: orientation} | ({34675: profile} if profile else {})
            for (packed, tile), order in product(product(PACKERS, (None, 16)), ORDERS):
                data = tiff_of(page_of(samples, tags, packed=packed, tile=tile, order=order), order=order)
                files.append((f"TIFF, {what}, {packed}, tile {tile}, {order}", data, samples, profile))
            if bits == 8:
                for kind, options in (("JPEG", {"quality": 95}), ("WEBP", {"lossless": True})):
                    if (kind, colours) == ("WEBP", "grey"):
                        continue
                    file = io.BytesIO()
                    exif = b"Exif\0\0" + exif_of(orientation)
                    Image.fromarray(samples).save(file, kind, exif=exif, icc_profile=profile, **options)
                    files.append((f"{kind}, {what}", file.getvalue(), samples, profile))
    return files


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_libvips_reads_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    compared = 0
    for what, data, samples, profile in grid():
        if not what.startswith(kind):
            continue
        path.write_bytes(data)
        ours, theirs = read_image(path).astype(int), other(data, samples, profile).astype(int)
        assert ours.shape == theirs.shape, what
        # Stored samples are the same, but for the rounding of one JPEG decoder and another. Through a profile, each
        # rounds in its own way, libvips more than once; where it is as good as sRGB, ours leaves samples alone.
        most = (1 if kind == "JPEG" else 0) if profile is None else 2
        assert np.abs(ours - theirs).max() <= most, what
        compared += 1
    assert compared >= 32


def test_the_second_opinion_is_one(tmp_path: Path) -> None:
    """Both conversions are those of the definition, on the darks of a linear profile."""
    profile = PROFILES["rgb"]["linear"]
    assert profile is not None
    samples = np.repeat(np.arange(2048, dtype=np.uint16).reshape(32, 64)[:, :, None], 3, axis=2)
    data = png_of(samples, iccp(profile))
    (tmp_path / "image").write_bytes(data)
    expected = 255 * encoded(samples / 65535)
    assert np.abs(read_image(tmp_path / "image") - expected).max() <= 0.6
    assert np.abs(other(data, samples, profile) - expected).max() <= 1.6
    assert np.allclose(decoded(encoded(np.linspace(0, 1, 9))), np.linspace(0, 1, 9), atol=1e-4)

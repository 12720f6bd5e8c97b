"""Colours to sRGB, by what an ICC profile does.

A profile is taken for sRGB if it changes none of many colours by more than one level of 255, whatever it is called. The
published sRGB profiles differ by no more than that (their curves are formulas or tables of 26 to 4096 entries, their
primaries are rounded), while the nearest others, such as a plain gamma of 2.2, change dark colours by several levels.
Pixels with such a profile are left as they are.

Samples of 8 bits are converted by LittleCMS, through Pillow. Pillow has no way to give it 16 bits of colour, so these
are converted here, from the profile's curves and primaries, and rounded once, at the end: rounded before, the darks of
a linear profile would be wrong by six levels. What is done here is compared with LittleCMS's result on 8 bits. Where a
profile consists of tables of colours instead, or the two differ, samples are rounded before they are converted.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ida_rd.core.claim import ImageError, check_profile
from ida_rd.core.foreign import decoding

__all__ = ["rounded", "to_srgb"]

SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # by Pillow's mode
TOLERANCE = 1  # levels of 255 by which a profile may differ from sRGB
AGREEMENT = 2  # levels of 255 between the curves read here and LittleCMS, which computes on 8 bits with fewer digits
STEPS = np.linspace(0, 255, 16).round().astype(np.uint8)
SHADES = 2**19  # of linear light: in the steepest part, next to black, 160 of them make a level
BAND = 2**19  # pixels that are converted at a time
WHITE = (0.9642, 1.0, 0.8249)  # D50
MOST_ENTRIES = 2**16  # of a curve
TABLES = (b"A2B0", b"A2B1", b"D2B0", b"D2B1")
Floats = NDArray[np.floating[Any]]


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert an image of 8 bits, in L, RGB or CMYK; that of an sRGB profile is returned as it is."""
    with decoding("its ICC profile cannot be used", "convert it to sRGB first", error=ImageError):
        mode = "RGB" if image.mode == "L" and _space(icc) == "RGB" else image.mode
        if mode != "CMYK" and _is_srgb(icc, mode):
            return image
        return _by_lcms(image.convert(mode), icc)


def rounded(samples: NDArray[np.uint16], icc: bytes | None = None) -> NDArray[np.uint8]:
    """Convert samples of 16 bits, (H, W) or (H, W, 3), to sRGB of 8 bits; grey may become colours."""
    if icc is not None:
        with decoding("its ICC profile cannot be used", "convert it to sRGB first", error=ImageError):
            if samples.ndim == 2 and _space(icc) == "RGB":
                samples = np.repeat(samples[:, :, None], 3, axis=2)
            mode = "L" if samples.ndim == 2 else "RGB"
            if not _is_srgb(icc, mode):
                return _converted(samples, icc, mode)
    result = np.empty(samples.shape, dtype=np.uint8)
    for rows in _bands(samples):
        # round(v / 257): 65535 = 255 * 257
        result[rows] = ((samples[rows].astype(np.uint32) + 128) // 257).astype(np.uint8)
    return result


def _bands(samples: NDArray[Any]) -> list[slice]:
    step = max(1, BAND // max(samples.shape[1], 1))
    return [slice(start, start + step) for start in range(0, samples.shape[0], step)]


def _converted(samples: NDArray[np.uint16], icc: bytes, mode: str) -> NDArray[np.uint8]:
    matrix_and_curves = _read(icc, mode)
    if matrix_and_curves is None:
        return np.asarray(_by_lcms(Image.fromarray(rounded(samples)), icc))
    result = np.empty(samples.shape, dtype=np.uint8)
    for rows in _bands(samples):
        linear = _linear(*matrix_and_curves, samples[rows])
        linear *= SHADES - 1
        linear += 0.5
        result[rows] = _levels()[linear.astype(np.int32)]
    return result


@lru_cache(maxsize=8)
def _profile(icc: bytes) -> ImageCms.ImageCmsProfile:
    check_profile(icc)
    return ImageCms.ImageCmsProfile(io.BytesIO(icc))


def _space(icc: bytes) -> str:
    return _profile(icc).profile.xcolor_space.strip()


@lru_cache(maxsize=8)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    if _space(icc) != SPACES[mode]:
        raise ImageError(
            f"its ICC profile is one for {_space(icc)}, but its pixels are {SPACES[mode]}: convert it to sRGB first"
        )
    # Optimised for grey, LittleCMS is wrong by up to ten levels in the darks of a linear profile. Otherwise it is slow
    # (half a second for a million pixels), but there are only 256 greys.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    return ImageCms.buildTransform(_profile(icc), ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags=flags)


@lru_cache(maxsize=8)
def _of_levels(icc: bytes) -> NDArray[np.uint8]:
    """What each of 256 greys becomes: (256, 3)."""
    return np.asarray(_transform(icc, "L").apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None])))[0]


def _by_lcms(image: Image.Image, icc: bytes) -> Image.Image:
    if image.mode == "L":
        return Image.merge("RGB", [image.point(channel.tolist()) for channel in _of_levels(icc).T])
    return _transform(icc, image.mode).apply(image)


@lru_cache(maxsize=1)
def _colours() -> NDArray[np.uint8]:
    """All greys, and colours all over the cube, most of them dark or saturated: (1, N, 3)."""
    levels = np.arange(256, dtype=np.uint8)
    greys = np.repeat(levels[:, None], 3, axis=1)
    grid = np.array(list(product(STEPS, repeat=3)), dtype=np.uint8)
    pure = np.concatenate([greys * np.array(which, dtype=np.uint8) for which in product((0, 1), repeat=3)])
    return np.concatenate([grid, greys, pure, grid // 8])[None]


def _given(mode: str) -> NDArray[np.uint8]:
    return _colours() if mode == "RGB" else np.arange(256, dtype=np.uint8)[None]


@lru_cache(maxsize=64)
def _is_srgb(icc: bytes, mode: str) -> bool:
    given = _given(mode)
    told = np.asarray(_by_lcms(Image.fromarray(given), icc)).astype(int)
    return int(np.abs(told - given.reshape(1, given.shape[1], -1)).max()) <= TOLERANCE


@lru_cache(maxsize=8)
def _read(icc: bytes, mode: str) -> tuple[Floats | None, tuple[Floats, ...]] | None:
    """The matrix to sRGB's linear colours, None for grey, and each channel's curve at 65536 values.

    None where the profile does not consist of these, or where LittleCMS finds other colours by it.
    """
    try:
        tags = _tags(icc)
        if any(tag in tags for tag in TABLES):
            return None
        if mode == "L":
            found: tuple[Floats | None, tuple[Floats, ...]] = (None, (_curve(tags[b"kTRC"]),))
        else:
            own = np.stack([_xyz(tags[channel + b"XYZ"]) for channel in (b"r", b"g", b"b")], axis=1)
            srgb = _tags(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
            target = np.stack([_xyz(srgb[channel + b"XYZ"]) for channel in (b"r", b"g", b"b")], axis=1)
            curves = tuple(_curve(tags[channel + b"TRC"]) for channel in (b"r", b"g", b"b"))
            found = (np.linalg.solve(target, own).astype(np.float32), curves)
    except (KeyError, ValueError, struct.error, OverflowError, FloatingPointError):
        return None
    given = _given(mode)
    told = np.asarray(_by_lcms(Image.fromarray(given), icc)).astype(float)
    ours = _encoded(_linear(*found, given.astype(np.uint16) * 257))
    differs = np.abs(told - ours.reshape(1, given.shape[1], -1)).max()
    return found if differs <= AGREEMENT else None


def _linear(matrix: Floats | None, curves: tuple[Floats, ...], samples: NDArray[np.uint16]) -> Floats:
    """Samples as sRGB's linear light, in [0, 1]."""
    if matrix is None:
        return np.clip(curves[0][samples], 0, 1)
    linear = np.stack([curve[samples[..., i]] for i, curve in enumerate(curves)], axis=-1)
    return np.clip(linear @ matrix.T, 0, 1)


def _encoded(linear: Floats) -> Floats:
    """Linear light as levels of sRGB, not rounded."""
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=1)
def _levels() -> NDArray[np.uint8]:
    """The level of each of `SHADES` linear lights."""
    return np.rint(_encoded(np.linspace(0, 1, SHADES))).astype(np.uint8)


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    if 132 + 12 * count > len(icc):
        raise ValueError
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 100))]
    return {tag: icc[begin : begin + size] for tag, begin, size in entries}


def _fixed(data: bytes, begin: int, count: int) -> Floats:
    return np.array(struct.unpack_from(f">{count}i", data, begin)) / 65536


def _xyz(tag: bytes) -> Floats:
    return _fixed(tag, 8, 3)


def _curve(tag: bytes) -> Floats:
    """A tone curve at all values of 16 bits."""
    return _at_all(tag).astype(np.float32)


def _at_all(tag: bytes) -> Floats:
    x = np.arange(65536) / 65535
    (count,) = struct.unpack_from(">I", tag, 8)
    if tag[:4] == b"curv":
        if count > MOST_ENTRIES:
            raise ValueError
        if count == 0:
            return x
        entries = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count == 1:
            return x ** (entries[0] / 256)
        return np.interp(x, np.linspace(0, 1, count), entries / 65535)
    if tag[:4] != b"para":
        raise ValueError
    return _parametric(x, count >> 16, tag)


def _parametric(x: Floats, kind: int, tag: bytes) -> Floats:
    """A curve by formula: ``(a x + b) ** g + e`` from `d` on, ``c x + f`` below."""
    g, *rest = _fixed(tag, 12, (1, 3, 4, 5, 7)[kind] if kind < 5 else 0)
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b = rest[:2]
        d, e = -b / a, rest[2] if kind == 2 else 0.0
        f = e
    elif kind in (3, 4):
        a, b, c, d = rest[:4]
        e, f = rest[4:] if kind == 4 else (0.0, 0.0)
    with np.errstate(all="raise"):
        return np.clip(np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f), 0, 1)

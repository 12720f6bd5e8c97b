"""What is known of an image file before a library opens it, and how much of it is too much."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ida_rd.core.errors import UserError

__all__ = [
    "MAX_PIXELS",
    "SIXTEEN",
    "TRANSPARENT",
    "Claim",
    "ImageError",
    "check_budget",
    "check_pixels",
    "check_profile",
]

MAX_PIXELS = 2**28  # 268 megapixels
FREE_PIXELS = 2**25  # what any file may hold: 34 megapixels, about 300 MB while they are decoded
PIXELS_PER_BYTE = 64  # beyond them; a plain grey JPEG has 85, a photograph less than 20
SIXTEEN = 16
MAX_PROFILE = 2**24  # those of presses have 2 to 4 MB
MLUC_ENTRY = 12  # bytes
TRANSPARENT = "has transparent pixels: flatten it onto a background first"


class ImageError(UserError):
    """An image that cannot be used: the message is the reason, without the path."""


@dataclass(frozen=True)
class Claim:
    """What is known of a file before it is decoded.

    Attributes
    ----------
    data : bytes
        What the decoder is given.
    frames : int or None
        How many images it holds that may be meant, where only a walk over the file tells.
    more : bool
        Whether it holds further images that are left out: thumbnails, other views.
    tile : int
        Pixels of one tile: the decoder holds a whole one, however small the image is.
    sixteen : bool
        Whether it has 16 bits per sample.
    inverted : bool
        Whether 0 is white in it, and the decoder does not know.
    transparent : tuple of int or None
        The samples that mean a transparent pixel, in the range of the decoded ones.
    turns : tuple or None
        Where a PNG says how it is turned: blocks of EXIF data, and of XMP.
    icc : bytes or None
        A colour profile that the decoder does not find.
    srgb : bool
        Whether its colours are sRGB, whatever its profile says.
    """

    data: bytes
    frames: int | None = None
    more: bool = False
    tile: int = 0
    sixteen: bool = False
    inverted: bool = False
    transparent: tuple[int, ...] | None = None
    turns: tuple[tuple[bytes, ...], tuple[bytes, ...]] | None = None
    icc: bytes | None = None
    srgb: bool = False


def check_pixels(width: int, height: int) -> None:
    """Refuse more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} is more than {MAX_PIXELS / 1e6:.0f} megapixels: cut it into pieces first")


def check_budget(width: int, height: int, size: int, *, weight: int = 1) -> None:
    """Refuse an image that needs far more memory than its file of `size` bytes accounts for.

    Parameters
    ----------
    width, height : int
    size : int
    weight : int
        How many times the memory of an ordinary image its decoder needs.
    """
    check_pixels(width, height)
    if width * height * weight > max(FREE_PIXELS, PIXELS_PER_BYTE * size):
        raise ImageError(
            f"{width} x {height} pixels in {size} bytes looks like a decompression bomb: cut it into pieces first"
        )


def check_profile(icc: bytes) -> None:
    """Refuse a colour profile that is huge, or claims more translations of a text than it has room for.

    Each of them is allocated.
    """
    if len(icc) > MAX_PROFILE:
        raise ImageError(f"its ICC profile has {len(icc)} bytes, more than {MAX_PROFILE}: convert it to sRGB first")
    for found in re.finditer(b"mluc", icc):
        count = int.from_bytes(icc[found.end() + 4 : found.end() + 8], "big")
        if count * MLUC_ENTRY > len(icc):
            raise ImageError("its ICC profile cannot be used (it is damaged): convert it to sRGB first")

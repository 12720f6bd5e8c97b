"""Bytes of an image file to samples of 8 bits, by one decoder, within a budget.

Pillow decodes everything, in formats that are listed: none of them starts a program or opens another file. Its 16-bit
samples, of which it gives only one byte, are decoded twice, for the high and for the low byte, so that the samples come
from the decoder whose header was checked.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from ida_rd.core.containers import SIXTEEN, Claim, ImageError, check_budget, check_pixels, claim_of, without_exif
from ida_rd.core.foreign import decoding

__all__ = ["FORMATS", "Decoded", "bands", "decode", "open_header", "quiet"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
BAND = 2**22  # pixels that are converted at a time
BMP_RLE = (1, 2)
BITS_PER_SAMPLE, ORIENTATION, PLANAR = 258, 274, 284
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower and differs by version; ours are in `containers`
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or Python prints what it logs


@dataclass(frozen=True)
class Decoded:
    """An image as it is stored.

    Attributes
    ----------
    image : Image
        8 bits per channel, not yet turned.
    orientation : int
        By EXIF, 1 to 8; 1 also where EXIF cannot be read.
    icc : bytes or None
        Its colour profile.
    """

    image: Image.Image
    orientation: int
    icc: Any


@contextmanager
def quiet() -> Iterator[None]:
    """Let no library warn of a file: what is wrong with it is said in one line, or does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Libtiff prints what is wrong with a file, and cannot be told not to."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def open_header(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open an image of a listed format, and check its size.

    Raises
    ------
    ImageError
        Unknown, damaged or too large.
    """
    with decoding("not a readable image", error=ImageError):
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            raise ImageError("not a readable image (unknown format)") from None
    check_pixels(*image.size)
    return image


def decode(data: bytes) -> Decoded:
    """Decode an image file.

    Raises
    ------
    ImageError
        The reason why it cannot be used.
    """
    with decoding("cannot be decoded", error=ImageError):
        claim = claim_of(data)
        image = _open(claim)
        frames = claim.frames or int(getattr(image, "n_frames", 1))
        if frames > 1:
            raise ImageError(f"{frames} frames; give one image per file")
        width, height = image.size
        _check_budget(image, claim, len(data))
        decoded = _decode(image, claim)
        if {decoded.image.width, decoded.image.height} != {width, height}:
            raise ImageError("cannot be decoded (its pixels are not as many as its header says)")
        return decoded


def _open(claim: Claim) -> ImageFile.ImageFile:
    try:
        return open_header(io.BytesIO(claim.data))
    except ImageError:
        bare = without_exif(claim.data)
        if len(bare) == len(claim.data):
            raise
    return open_header(io.BytesIO(bare))  # the photograph may be good where its EXIF is not


def _check_budget(image: ImageFile.ImageFile, claim: Claim, size: int) -> None:
    width, height = image.size
    weight = 2 if image.format == "WEBP" or _is_sixteen_bit(image, claim) else 1
    check_budget(width, height, size, weight=weight)
    if claim.tile > width * height:
        check_budget(claim.tile, 1, size)
    if image.format == "BMP" and image.info.get("compression") in BMP_RLE:
        check_budget(width, height + 255, size)  # one instruction may skip as many rows


def _is_sixteen_bit(image: ImageFile.ImageFile, claim: Claim) -> bool:
    if claim.sixteen or image.mode.startswith("I;16"):
        return True
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == SIXTEEN)
    return False


def _decode(image: ImageFile.ImageFile, claim: Claim) -> Decoded:
    icc = image.info.get("icc_profile")
    if _is_sixteen_bit(image, claim):
        # So far, these are turned only where EXIF stands before the pixels, and TIFF only where it is grey.
        known = image.mode.startswith("I;16") if image.format == "TIFF" else "exif" in image.info
        orientation = _orientation(image) if known else 1
        return Decoded(Image.fromarray(_sixteen_bit(image, claim)), orientation, icc)
    orientation = _orientation(image) if image.format == "TIFF" else 1
    _load(image)
    return Decoded(image, orientation if image.format == "TIFF" else _orientation(image), icc)


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # EXIF has as many ways to be broken as there are cameras; the pixels are whole
        return 1


def _load(image: ImageFile.ImageFile) -> None:
    """Decode the pixels, and leave them as they are stored."""
    if image.format != "TIFF":
        image.load()
        return
    # Pillow would read all EXIF to turn the image, and fail where that is damaged.
    image.getexif = Image.Exif  # type: ignore[method-assign]
    with _no_standard_error():
        image.load()
    image._size = image.im.size


def _sixteen_bit(image: ImageFile.ImageFile, claim: Claim) -> NDArray[np.uint8]:
    """Decode 16-bit samples in full and round them to 8 bits: (H, W) or (H, W, 3 or 4)."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        _load(image)
        return _rounded(np.asarray(image))
    raw, *_ = _arguments(image.tile[0])
    if raw.startswith("LA;"):  # two bytes of grey and two of alpha, like four channels
        _load_as(image, "RGBA", "RGBA")
        grey_alpha = _rounded(np.asarray(image).view(">u2"))
        return grey_alpha[:, :, [0, 0, 0, 1]]  # Pillow has no array form of grey and alpha
    if image.format == "TIFF" and image.tag_v2.get(PLANAR) == 2:  # type: ignore[attr-defined]
        raise ImageError("16-bit colours in separate planes are not supported: save it with the channels together")
    if image.mode not in ("RGB", "RGBA"):
        raise ImageError(f"pixel format {image.mode} with 16 bits is not supported: convert it to 8-bit RGB")
    mode = "RGB" if raw.startswith("RGB;") else "RGBA"  # a fourth channel is looked at, whatever it is called
    big = raw.endswith("B") or (raw.endswith("N") and sys.byteorder == "big")
    second = open_header(io.BytesIO(claim.data))
    _load_as(image, mode, f"{mode};16{'B' if big else 'L'}")
    result = np.array(image)
    image.close()
    _load_as(second, mode, f"{mode};16{'L' if big else 'B'}")
    low = second
    for rows in bands(*result.shape[:2]):
        band = np.asarray(low.crop((0, rows.start, result.shape[1], rows.stop)))
        result[rows] = _rounded((result[rows].astype(np.uint32) << 8) | band)
    return result


def _arguments(tile: Any) -> tuple[Any, ...]:
    return tile.args if isinstance(tile.args, tuple) else (tile.args,)


def _load_as(image: ImageFile.ImageFile, mode: str, raw: str) -> None:
    """Decode with the samples unpacked in another way."""
    image._mode = mode
    image.tile = [
        tile._replace(args=(raw, *_arguments(tile)[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    _load(image)


def _rounded(samples: NDArray[Any]) -> NDArray[np.uint8]:
    result = np.empty(samples.shape, dtype=np.uint8)
    for rows in bands(*samples.shape[:2]):
        # round(v / 257): 65535 = 255 * 257
        result[rows] = ((samples[rows].astype(np.uint32) + 128) // 257).astype(np.uint8)
    return result


def bands(height: int, width: int) -> list[slice]:
    """Slices of rows that are small enough for copies of them not to matter."""
    step = max(1, BAND // max(width, 1))
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]

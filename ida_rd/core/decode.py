"""Bytes of an image file to samples of 8 or 16 bits, by one decoder, within a budget.

Pillow decodes everything, in formats that are listed: none of them starts a program or opens another file. Samples of
16 bits, of which it gives only one byte, are decoded twice, for the high and for the low byte, so that they come from
the decoder whose header was checked.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from ida_rd.core.claim import TRANSPARENT, Claim, ImageError, check_budget, check_pixels
from ida_rd.core.containers import claim_of, without_exif
from ida_rd.core.foreign import decoding

__all__ = ["FORMATS", "Decoded", "bands", "decode", "open_header", "quiet"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
# How files of other kinds begin: they are named, since "unknown" would let one look for damage.
OTHERS = (
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"8BPS", "PSD"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (4, b"ftypcrx", "Canon raw"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"IIU\0", "Panasonic raw"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"SIMPLE  =", "FITS"),
)
BAND = 2**22  # pixels that are converted at a time
BMP_RLE = (1, 2)
ORIENTATION, INTEROPERABILITY_INDEX = 274, 1
ADOBE_RGB = b"R03"
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower and differs by version; ours are in `containers`
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or Python prints what it logs


@dataclass(frozen=True)
class Decoded:
    """An image as it is stored.

    Attributes
    ----------
    image : Image
        Not yet turned; where there are `samples`, without pixels.
    samples : array or None
        Of 16 bits: (H, W), or (H, W, channels), of which the second or fourth is opacity.
    orientation : int
        By EXIF, 1 to 8; 1 also where EXIF cannot be read.
    icc : bytes or None
        Its colour profile.
    """

    image: Image.Image
    orientation: int
    icc: Any
    samples: NDArray[np.uint16] | None = None


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
            raise ImageError(_unknown(file)) from None
    check_pixels(*image.size)
    return image


def _unknown(file: IO[bytes]) -> str:
    file.seek(0)
    head = file.read(32)
    for place, begins, name in OTHERS:
        if head[place:].startswith(begins):
            return f"{name} is not read: convert it to PNG first"
    return "not a readable image (unknown format)"


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
        found = decoded.image.size if decoded.samples is None else decoded.samples.shape[:2]
        if set(found) != {width, height}:
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
    return claim.sixteen or image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def _decode(image: ImageFile.ImageFile, claim: Claim) -> Decoded:
    icc = claim.icc or image.info.get("icc_profile")
    if claim.srgb:
        icc = None
    elif not icc and image.format == "PNG" and "icc_profile" in image.info:
        raise ImageError("its ICC profile cannot be used (it is damaged): convert it to sRGB first")
    if icc is None and _is_adobe_rgb(image):
        raise ImageError("its EXIF says Adobe RGB, and it has no ICC profile: convert it to sRGB first")
    orientation = _orientation(image, claim) if image.format == "TIFF" else None  # which forgets it
    samples = None
    if _is_sixteen_bit(image, claim):
        samples = _sixteen_bit(image, claim)
        if claim.inverted:
            np.invert(samples, out=samples)
    else:
        _load(image)
    if claim.transparent is not None:
        _check_opaque(image if samples is None else samples, claim.transparent)
        image.info.pop("transparency", None)
    return Decoded(image, orientation or _orientation(image, claim), icc, samples)


def _is_adobe_rgb(image: ImageFile.ImageFile) -> bool:
    """Whether a camera has marked the image as its standard (DCF) wants it for Adobe RGB."""
    exif = image.info.get("exif")
    if not isinstance(exif, bytes) or ADOBE_RGB not in exif:
        return False
    with suppress(Exception):
        return bool(image.getexif().get_ifd(ExifTags.IFD.Interop).get(INTEROPERABILITY_INDEX) == ADOBE_RGB.decode())
    return False


def _check_opaque(pixels: Image.Image | NDArray[Any], transparent: tuple[int, ...]) -> None:
    """Refuse pixels of the colour that stands for transparency."""
    height, width = pixels.shape[:2] if isinstance(pixels, np.ndarray) else (pixels.height, pixels.width)
    for rows in bands(height, width):
        if isinstance(pixels, np.ndarray):
            band = pixels[rows]
        else:
            crop = pixels.crop((0, rows.start, width, rows.stop))
            band = np.asarray(crop.convert("L") if crop.mode == "1" else crop)
        if (band.reshape(*band.shape[:2], -1) == transparent).all(axis=2).any():
            raise ImageError(TRANSPARENT)


def _orientation(image: ImageFile.ImageFile, claim: Claim) -> int:
    if claim.turns is None:
        with suppress(Exception):  # EXIF has as many ways to be broken as there are cameras; the pixels are whole
            return int(image.getexif().get(ORIENTATION, 1))
        return 1
    exifs, texts = claim.turns
    for block in exifs:
        with suppress(Exception):
            exif = Image.Exif()
            exif.load(block)
            if ORIENTATION in exif:
                return int(exif[ORIENTATION])
    for text in texts:
        if found := XMP_ORIENTATION.search(text):
            return int(found[1])
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


def _sixteen_bit(image: ImageFile.ImageFile, claim: Claim) -> NDArray[np.uint16]:
    """Decode 16-bit samples in full: (H, W), or (H, W, channels)."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        _load(image)
        return np.array(image).astype(np.uint16)
    raw, *_ = _arguments(image.tile[0])
    if raw.startswith("LA;"):  # two bytes of grey and two of alpha, like four channels
        _load_as(image, "RGBA", "RGBA")
        return np.array(image).view(">u2").astype(np.uint16)
    if image.mode not in ("RGB", "RGBA"):
        raise ImageError(f"pixel format {image.mode} with 16 bits is not supported: convert it to 8-bit RGB")
    mode = "RGB" if raw.startswith("RGB;") else "RGBA"  # a fourth channel is looked at, whatever it is called
    big = raw.endswith("B") or (raw.endswith("N") and sys.byteorder == "big")
    low = open_header(io.BytesIO(claim.data))
    _load_as(image, mode, f"{mode};16{'B' if big else 'L'}")
    width, height = image.size
    result = np.empty((height, width, len(mode)), dtype=np.uint16)
    _into(result, image, 8)
    image._im = None  # 16 bits take room enough
    _load_as(low, mode, f"{mode};16{'L' if big else 'B'}")
    _into(result, low, 0)
    return result


def _into(result: NDArray[np.uint16], image: Image.Image, shift: int) -> None:
    """Write the high byte of samples, or add the low one."""
    if image.size != (result.shape[1], result.shape[0]):
        raise ImageError("cannot be decoded (its pixels are not as many as its header says)")
    for rows in bands(*result.shape[:2]):
        band = np.asarray(image.crop((0, rows.start, result.shape[1], rows.stop))).astype(np.uint16)
        result[rows] = band << shift if shift else result[rows] | band


def _arguments(tile: Any) -> tuple[Any, ...]:
    return tile.args if isinstance(tile.args, tuple) else (tile.args,)


def _load_as(image: ImageFile.ImageFile, mode: str, raw: str) -> None:
    """Decode with the samples unpacked in another way."""
    image._mode = mode
    image.tile = [
        tile._replace(args=(raw, *_arguments(tile)[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]
    _load(image)


def bands(height: int, width: int) -> list[slice]:
    """Slices of rows that are small enough for copies of them not to matter."""
    step = max(1, BAND // max(width, 1))
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]

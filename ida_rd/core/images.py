"""Images in and out: one reader with one policy, for every stage.

The working format is RGB, 8 bits, sRGB, an array (H, W, 3) of uint8. Grey is expanded, palettes are
converted, the orientation is applied, an ICC profile other than sRGB is converted, 16 bits are scaled
with rounding after that; transparency is refused unless it is opaque everywhere. docs/data.md lists what
is read, converted and refused.
"""

from __future__ import annotations

import hashlib
import io
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.claim import MAX_PIXELS, TRANSPARENT, ImageError
from ida_rd.core.containers import claim_of
from ida_rd.core.decode import bands, decode, open_header, quiet
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_bytes
from ida_rd.core.foreign import decoding, read_bytes, reason
from ida_rd.core.leftovers import left_out
from ida_rd.core.profiles import rounded, to_srgb
from ida_rd.core.tiff_tags import TIFF_PREFIXES

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "Header",
    "ImageError",
    "image_files",
    "pixels_sha256",
    "png_bytes",
    "read_header",
    "read_image",
    "read_size",
    "webp_bytes",
    "write_png",
]

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
WHOLE = (b"RIFF", *TIFF_PREFIXES)  # how files begin whose headers are all over the file
KINDS = {"I": "whole numbers of 32 bits", "F": "floating-point numbers", "LAB": "Lab colours", "YCbCr": "YCbCr colours"}
MAX_BYTES = 2**30
EMPTY = "the file is empty (0 bytes)"
WEBP_MAX_SIDE = 16383
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation


def image_files(folder: Path, *, what: str, pattern: str | None = None) -> dict[str, Path]:
    """Map image ids (file names without extension, NFC) to the image files of `folder`, in order of id.

    Parameters
    ----------
    folder : Path
        Searched without its sub-folders. Files without an image's extension are ignored.
    what : str
        What the folder is, for the error messages.
    pattern : str, optional
        Only names that match it, as a shell would compare them, case included.

    Raises
    ------
    UserError
        No such folder, no image in it, or two images with one id.
    """
    if not folder.is_dir():
        raise UserError(f"{what}: {folder} is not a folder; give the path of a folder of images")
    found: dict[str, Path] = {}
    doubles = []
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.suffix.lower() not in EXTENSIONS or path.name.startswith(".") or not path.is_file():
            continue
        if pattern is not None and not fnmatchcase(path.name, pattern):
            continue
        image_id = unicodedata.normalize("NFC", path.stem)
        if image_id in found:
            doubles.append(f"{found[image_id].name} and {path.name}")
        found[image_id] = path
    if doubles:
        raise UserError(f"{what}: {folder} has images with the same name: {'; '.join(doubles)}. Rename one of each")
    if not found:
        named = f" named {pattern}" if pattern is not None else ""
        others = left_out(folder, EXTENSIONS, pattern)
        but = f"; {others}" if others else ""
        raise UserError(f"{what}: {folder} holds no image{named} ({', '.join(sorted(EXTENSIONS))}){but}")
    return dict(sorted(found.items()))


class Header(NamedTuple):
    """Of an image whose pixels are not decoded: its size before it is turned, and whether the file has further ones."""

    width: int
    height: int
    more: bool


def read_header(path: Path) -> Header:
    """Look into a file without decoding its pixels.

    Raises
    ------
    ImageError
        As `read_image` does, as far as the header shows it.
    """
    with _file(path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not an ordinary file")  # a pipe would be waited for
        if not status.st_size:
            raise ImageError(EMPTY)
        file: IO[bytes] = path.open("rb")
        more = False
        with file:
            begins = file.read(4)
            file.seek(0)
            if begins in WHOLE:
                with decoding("cannot be decoded", error=ImageError):
                    claim = claim_of(_content(path))
                file, more = io.BytesIO(claim.data), claim.more
            with quiet(), open_header(file) as image:
                return Header(*image.size, more or image.format == "MPO")


def read_size(path: Path) -> tuple[int, int]:
    """Width and height from the header, before the EXIF orientation."""
    return read_header(path)[:2]


def read_image(path: Path | str, *, sha256: str | None = None) -> NDArray[np.uint8]:
    """Read an image file as RGB, uint8, (H, W, 3), by the policy of this module.

    Parameters
    ----------
    path : Path or str
    sha256 : str, optional
        What the file's content must be, where something rests on it already: the bytes that are compared are those that
        are decoded.

    Raises
    ------
    ImageError
        The image cannot be used; the message says why, and leaves the path to the caller.
    """
    path = Path(path)
    with _file(path):
        content = _content(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ImageError("changed since it was first read (its sha256 is another one)")
    with quiet(), decoding("cannot be decoded", error=ImageError):
        return _rgb(content)


@contextmanager
def _file(path: Path) -> Iterator[None]:
    """What can happen to a file while it is read, as `ImageError`."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or reason(error)})") from None
    except ImageError:
        raise
    except UserError as error:
        raise ImageError(str(error).removeprefix(f"{path} ")) from None


def _content(path: Path) -> bytes:
    content = read_bytes(path, MAX_BYTES)
    if not content:
        raise ImageError(EMPTY)
    return content


def _rgb(content: bytes) -> NDArray[np.uint8]:
    decoded = decode(content)
    image, icc, turn = decoded.image, decoded.icc, TURNS.get(decoded.orientation)
    if decoded.samples is not None:
        image, icc = Image.fromarray(rounded(_opaque(decoded.samples), icc)), None
    del decoded  # a step lets go of the image before it
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("LA", "La")
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ImageError(TRANSPARENT)
        image = image.getchannel("R") if grey else image.convert("RGB")
    if image.mode in ("1", "L"):
        image = image.convert("L")
    elif image.mode == "CMYK" and not icc:
        raise ImageError("CMYK without an ICC profile has no defined colours: convert it to sRGB first")
    elif image.mode not in ("RGB", "CMYK"):
        kind = KINDS.get(image.mode, f"pixels of format {image.mode}")
        raise ImageError(f"{kind} are not supported: convert it to 8-bit or 16-bit RGB first")
    if icc:
        image = to_srgb(image, icc)
    return _array(image)


def _opaque(samples: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The samples without their opacity, of which all must be 255 once it is rounded."""
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if channels in (2, 4):
        if int(samples[:, :, -1].min()) < 255 * 257 - 128:
            raise ImageError(TRANSPARENT)
        return samples[:, :, 0] if channels == 2 else samples[:, :, :3]
    return samples


def _array(image: Image.Image) -> NDArray[np.uint8]:
    rows = bands(image.height, image.width)
    if len(rows) == 1:
        return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
    result = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for band in rows:  # a large image is not copied as a whole
        result[band] = np.asarray(image.crop((0, band.start, image.width, band.stop)).convert("RGB"))
    return result


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 as PNG."""
    coded = io.BytesIO()
    Image.fromarray(image).save(coded, format="PNG", compress_level=3)
    return coded.getvalue()


def webp_bytes(image: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 as lossless WebP; a side has at most 16383 pixels."""
    if max(image.shape[:2]) > WEBP_MAX_SIDE:
        raise UserError(f"WebP holds at most {WEBP_MAX_SIDE} pixels per side; use smaller crops (images.crop)")
    coded = io.BytesIO()
    Image.fromarray(image).save(coded, format="WEBP", lossless=True, quality=20, method=1)
    return coded.getvalue()


def write_png(path: Path | str, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 as PNG, atomically."""
    write_bytes(path, png_bytes(image))


def pixels_sha256(image: NDArray[np.uint8]) -> str:
    """Hex SHA-256 of shape and pixels: the identity of an image, however it is encoded."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()

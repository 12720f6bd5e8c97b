"""Images in and out: one reader with one policy, for every stage.

The working format is RGB, 8 bits, sRGB, an array (H, W, 3) of uint8. Grey is expanded, palettes are
converted, 16 bits are scaled with rounding, the EXIF orientation is applied, an ICC profile other
than sRGB is converted; an alpha channel is refused unless it is opaque everywhere.
"""

from __future__ import annotations

import hashlib
import io
import unicodedata
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_bytes

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "ImageError",
    "image_files",
    "pixels_sha256",
    "png_bytes",
    "read_image",
    "read_size",
    "webp_bytes",
    "write_png",
]

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
MAX_PIXELS = 2**28  # 268 megapixels: above it, a header is taken for a decompression bomb
WEBP_MAX_SIDE = 16383
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower and differs by version; _open checks ours


class ImageError(UserError):
    """An image that cannot be used: the message is the reason, without the path."""


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
        raise UserError(f"{what}: {folder} holds no image{named} ({', '.join(sorted(EXTENSIONS))})")
    return dict(sorted(found.items()))


def read_size(path: Path) -> tuple[int, int]:
    """Width and height from the header, before the EXIF orientation."""
    with _open(path) as image:
        return image.size


def _open(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise ImageError("the file is empty (0 bytes)")
    try:
        image = Image.open(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"not a readable image ({_reason(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ImageError(f"{size} is more than {MAX_PIXELS / 1e6:.0f} megapixels: cut it into pieces first")
    return image


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return "unknown format" if text.startswith("cannot identify image file") else text or type(error).__name__


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as RGB, uint8, (H, W, 3), by the policy of this module.

    Raises
    ------
    ImageError
        The image cannot be used; the message says why, and leaves the path to the caller.
    """
    path = Path(path)
    try:
        with _open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise ImageError(f"{image.n_frames} frames; give one image per file")  # type: ignore[attr-defined]
            if _is_sixteen_bit(path, image):
                try:
                    image = _sixteen_bit(path, image)
                except Exception as error:  # two more decoders, each with errors of its own
                    raise ImageError(f"cannot be decoded ({_reason(error)})") from None
                return _rgb(image, image.info.get("icc_profile"))
            image.load()
            return _rgb(image, image.info.get("icc_profile"))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"cannot be decoded ({_reason(error)})") from None


def _is_sixteen_bit(path: Path, image: Image.Image) -> bool:
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        with path.open("rb") as file:
            header = file.read(25)
        return len(header) == 25 and header[24] == 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return max(bits if isinstance(bits, tuple) else (bits,)) == 16
    return False


def _sixteen_bit(path: Path, image: Image.Image) -> Image.Image:
    """Decode 16-bit samples in full (Pillow drops the low byte of colour) and round to 8 bits."""
    if image.mode.startswith("I;16"):
        samples: NDArray[Any] = np.asarray(image).astype(np.uint32)
    elif image.format == "TIFF":
        import tifffile

        samples = tifffile.imread(path).astype(np.uint32)
    else:
        import png  # pypng: pure Python, slow, exact; only this rare case pays for it

        width, height, rows, info = png.Reader(filename=str(path)).read()
        samples = np.array(list(rows), dtype=np.uint32).reshape(height, width, info["planes"])
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.ndim == 3 and samples.shape[2] == 2:  # grey and alpha: Pillow has no array form of it
        samples = samples[:, :, [0, 0, 0, 1]]
    eight = ((samples + 128) // 257).astype(np.uint8)  # round(v / 257): 65535 = 255 * 257
    result = Image.fromarray(eight)
    for key in ("exif", "icc_profile"):
        if key in image.info:
            result.info[key] = image.info[key]
    return result


def _rgb(image: Image.Image, icc: bytes | None) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(image)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ImageError("has transparent pixels: flatten it onto a background first")
        image = image.convert("RGB")
    if image.mode in ("1", "L"):
        image = image.convert("L")
    elif image.mode == "CMYK" and not icc:
        raise ImageError("CMYK without an ICC profile has no defined colours: convert it to sRGB first")
    elif image.mode not in ("RGB", "CMYK"):
        raise ImageError(f"pixel format {image.mode} is not supported: convert it to 8-bit RGB")
    if icc:
        image = _to_srgb(image, icc)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if image.mode != "CMYK" and "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
        if image.mode == "L" and profile.profile.xcolor_space.strip() != "GRAY":
            image = image.convert("RGB")
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"its ICC profile cannot be used ({_reason(error)}): convert it to sRGB first") from None
    assert converted is not None  # not in place
    return converted


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

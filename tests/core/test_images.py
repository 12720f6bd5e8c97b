"""The input policy: what is converted, what is refused, and why."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, image_files, read_image, read_size, webp_bytes, write_png


def _png16(path: Path, samples: NDArray[np.uint16]) -> None:
    """Write a 16-bit RGB PNG; Pillow cannot."""
    height, width, _ = samples.shape
    rows = samples.astype(">u2").tobytes()
    stride = width * 6
    raw = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def test_rgb_is_read_unchanged(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    write_png(tmp_path / "a.png", astronaut)
    assert np.array_equal(read_image(tmp_path / "a.png"), astronaut)


def test_webp_is_lossless(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    (tmp_path / "a.webp").write_bytes(webp_bytes(astronaut))
    assert np.array_equal(read_image(tmp_path / "a.webp"), astronaut)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_is_expanded(tmp_path: Path, astronaut: NDArray[np.uint8], mode: str) -> None:
    grey = Image.fromarray(astronaut).convert(mode)
    grey.save(tmp_path / "a.png")
    expected = np.asarray(grey.convert("L"))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.repeat(expected[:, :, None], 3, axis=2))


def test_palette_is_converted(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    palette = Image.fromarray(astronaut).quantize(64)
    palette.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(palette.convert("RGB")))


@given(value=st.integers(0, 65535))
def test_sixteen_bits_are_rounded_not_truncated(value: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sixteen")
    expected = int(np.floor(value / 257 + 0.5))
    _png16(folder / "colour.png", np.full((2, 3, 3), value, np.uint16))
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(folder / "grey.png")
    Image.fromarray(np.full((2, 3), value, np.uint16)).save(folder / "grey.tiff")
    for name in ("colour.png", "grey.png", "grey.tiff"):
        image = read_image(folder / name)
        assert image.shape == (2, 3, 3)
        assert (image == expected).all(), name


def test_sixteen_bit_colour_tiff_is_rounded(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5, 3), 257 * 100 + 129, np.uint16), photometric="rgb")
    assert (read_image(tmp_path / "a.tif") == 101).all()


def test_exif_orientation_is_applied(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    image = Image.fromarray(astronaut[:100])
    exif = image.getexif()
    exif[274] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(astronaut[:100], -1))


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    image = Image.fromarray(astronaut).convert("RGBA")
    image.save(tmp_path / "opaque.png")
    assert np.array_equal(read_image(tmp_path / "opaque.png"), astronaut)
    image.putpixel((3, 3), (0, 0, 0, 254))
    image.save(tmp_path / "clear.png")
    with pytest.raises(ImageError, match="transparent"):
        read_image(tmp_path / "clear.png")


def test_other_colour_spaces_are_converted_to_srgb(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
    image = Image.new("RGB", (8, 8), (128, 128, 128))
    image.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert (read_image(tmp_path / "srgb.png") == 128).all()
    image.save(tmp_path / "xyz.png", icc_profile=lab.tobytes())
    with pytest.raises(ImageError, match="ICC profile"):
        read_image(tmp_path / "xyz.png")


def test_an_embedded_profile_changes_the_pixels_as_it_should(tmp_path: Path) -> None:
    # sRGB's primaries with a linear tone curve: a linear 0.2140 is sRGB's middle grey.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    linear = _with_linear_curves(bytes(profile))
    Image.new("RGB", (4, 4), (55, 55, 55)).save(tmp_path / "linear.png", icc_profile=linear)
    converted = read_image(tmp_path / "linear.png")
    assert np.abs(converted.astype(int) - 128).max() <= 1  # (55 / 255) encoded by sRGB's curve is 128.3 / 255


def _with_linear_curves(profile: bytes) -> bytes:
    """Replace the tone curves of an ICC profile by identity, and its name."""
    count = struct.unpack(">I", profile[128:132])[0]
    data = bytearray(profile)
    for i in range(count):
        tag, offset, size = struct.unpack(">4sII", profile[132 + 12 * i : 144 + 12 * i])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = b"curv\0\0\0\0\0\0\0\0".ljust(size, b"\0")
        if tag == b"desc":
            data[offset : offset + size] = profile[offset : offset + size].replace(b"s\0R\0G\0B", b"l\0i\0n\0e")
    return bytes(data)


def _with_side(png: bytes, side: int) -> bytes:
    """Let a PNG's header claim another size."""
    data = bytearray(png)
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_large_images_below_the_limit_are_opened(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    write_png(tmp_path / "a.png", astronaut)
    (tmp_path / "large.png").write_bytes(_with_side((tmp_path / "a.png").read_bytes(), 16384))
    assert read_size(tmp_path / "large.png") == (16384, 16384)


def _broken(folder: Path, astronaut: NDArray[np.uint8]) -> dict[str, tuple[Path, str]]:
    good = io.BytesIO()
    Image.fromarray(astronaut).save(good, "PNG")
    files = {
        "truncated.png": good.getvalue()[: len(good.getvalue()) // 2],
        "zero.png": b"",
        "text.png": b"this is no image",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for name, side in (("bomb.png", 60000), ("just too large.png", 16385)):
        (folder / name).write_bytes(_with_side(good.getvalue(), side))
    Image.fromarray(astronaut).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(astronaut[:, :, 0].astype(np.float32)).save(folder / "float.tiff")
    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(2)]
    frames[0].save(folder / "frames.webp", save_all=True, append_images=frames[1:], lossless=True)
    reasons = {
        "truncated.png": "cannot be decoded",
        "zero.png": "empty",
        "text.png": "unknown format",
        "bomb.png": "megapixels",
        "just too large.png": "16385 x 16385 is more than 268 megapixels",
        "cmyk.jpg": "CMYK",
        "float.tiff": "floating-point numbers of 32 bits",
        "frames.webp": "2 frames",
    }
    return {name: (folder / name, reason) for name, reason in reasons.items()}


@pytest.mark.parametrize(
    "name",
    [
        "truncated.png",
        "zero.png",
        "text.png",
        "bomb.png",
        "just too large.png",
        "cmyk.jpg",
        "float.tiff",
        "frames.webp",
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, astronaut: NDArray[np.uint8], name: str) -> None:
    path, reason = _broken(tmp_path, astronaut)[name]
    with pytest.raises(ImageError, match=reason):
        read_image(path)


def test_files_pair_by_name_with_spaces_and_beyond_ascii(tmp_path: Path) -> None:
    for name in ("b c.png", "grün.png", "日本.png", "notes.txt", ".hidden.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, format="PNG")
    assert list(image_files(tmp_path, what="images")) == ["b c", "grün", "日本"]
    assert list(image_files(tmp_path, what="images", pattern="?r*")) == ["grün"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(UserError, match=r"a\.jpg and a\.png"):
        image_files(tmp_path, what="images")

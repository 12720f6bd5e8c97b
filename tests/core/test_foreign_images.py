"""Images of unknown origin: listed formats alone, no program, no further file, and a line for what is wrong."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ida_rd.core.images import ImageError, read_image, read_size, write_png

# What is told of them.
NAMED = {
    "eps": "PostScript",
    "pdf": "PDF",
    "gif": "GIF",
    "ico": "ICO",
    "jp2": "JPEG 2000",
    "psd": "PSD",
    "fits": "FITS",
    "svg": "SVG",
    "avif": "AVIF",
    "heic": "HEIC",
    "jxl": "JPEG XL",
}
SIXTEEN = np.random.default_rng(0).integers(0, 65536, (6, 9, 4)).astype(np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# What other decoders of Pillow would take, some of them by a program or another file.
OTHERS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "gif": None,
    "ico": None,
    "tga": None,
    "pcx": None,
    "sgi": None,
    "jp2": None,
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 2, 2, 8, 3) + bytes(12) + b"\0\0" + bytes(12),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
    "xpm": b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000000", "a"};',
    "xbm": b"#define x_width 1\n#define x_height 1\nstatic char x_bits[] = {0};",
    "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1" + bytes(64),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
    "jxl": b"\xff\x0a" + bytes(64),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + bytes(40),
}


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (9, 6), **options: object) -> bytes:
    """A small image, as Pillow writes it."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    if mode == "RGBA":
        image.putalpha(255)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sixteen_bit_png(channels: int, *, interlaced: bool = False) -> bytes:
    """A 16-bit PNG, written by pypng."""
    file = io.BytesIO()
    planes = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    rows = opaque()[:, :, planes].reshape(6, -1).tolist()
    png.Writer(9, 6, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16, interlace=interlaced).write(
        file, rows
    )
    return file.getvalue()


def sixteen_bit_tiff(channels: int, **options: Any) -> bytes:
    """A 16-bit TIFF, written by tifffile."""
    file = io.BytesIO()
    pixels = opaque()[:, :, :channels] if channels > 1 else opaque()[:, :, 0]
    photometric = "rgb" if channels > 1 else "minisblack"
    chosen: dict[str, Any] = {"metadata": None, "photometric": photometric} | options
    tifffile.imwrite(file, pixels, **chosen)
    return file.getvalue()


def opaque() -> NDArray[np.uint16]:
    """Pixels of 16 bits with an alpha channel that hides nothing."""
    pixels = SIXTEEN.copy()
    pixels[:, :, 3] = 65535
    return pixels


def turned() -> Image.Exif:
    """EXIF of a camera that was turned, with a thumbnail's worth of other tags."""
    exif = Image.Exif()
    exif[274], exif[271], exif[282] = 6, "camera", 72.0
    exif.get_ifd(34665)[33434] = (1, 100)
    return exif


def small_files() -> dict[str, bytes]:
    """A small file of every kind that is read."""
    files = {
        "png": saved("PNG"),
        "png-grey": saved("PNG", "L"),
        "png-bits": saved("PNG", "1"),
        "png-palette": saved("PNG", "P"),
        "png-alpha": saved("PNG", "RGBA"),
        "png-exif": saved("PNG", exif=turned(), icc_profile=SRGB),
        "jpeg": saved("JPEG"),
        "jpeg-grey": saved("JPEG", "L"),
        "jpeg-inks": saved("JPEG", "CMYK"),
        "jpeg-progressive": saved("JPEG", progressive=True),
        "jpeg-exif": saved("JPEG", exif=turned(), icc_profile=SRGB),
        "webp": saved("WEBP", lossless=True),
        "webp-lossy": saved("WEBP"),
        "webp-exif": saved("WEBP", exif=turned(), icc_profile=SRGB),
        "bmp": saved("BMP"),
        "bmp-palette": saved("BMP", "P"),
        "ppm": saved("PPM"),
        "pgm": saved("PPM", "L"),
        "plain": b"P3 2 2 255\n" + b"1 2 3 " * 4,
        "tiff": saved("TIFF"),
        "tiff-lzw": saved("TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved("TIFF", compression="tiff_deflate", exif=turned(), icc_profile=SRGB),
        "tiff-jpeg": saved("TIFF", compression="jpeg"),
        "tiff-palette": saved("TIFF", "P"),
        "tiff-tiles": sixteen_bit_tiff(3, tile=(16, 16)),
        "tiff-16": sixteen_bit_tiff(3),
        "tiff-16-grey": sixteen_bit_tiff(1),
        "tiff-16-big": sixteen_bit_tiff(3, bigtiff=True),
        "tiff-16-deflate": sixteen_bit_tiff(4, compression="zlib", predictor=True, extrasamples=["unassalpha"]),
    }
    for channels in (1, 2, 3, 4):
        files[f"png-16-{channels}"] = sixteen_bit_png(channels)
    return files


FILES = small_files()


@pytest.mark.parametrize("name", FILES)
def test_every_small_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(FILES[name])
    if name == "jpeg-inks":
        with pytest.raises(ImageError, match="CMYK"):
            read_image(tmp_path / "a.png")
    else:
        width, height = read_size(tmp_path / "a.png")
        expected = (width, height) if name.endswith("-exif") and "tiff" not in name else (height, width)
        assert read_image(tmp_path / "a.png").shape == (*expected, 3)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks' checksums are right again, as far as its chunks can be followed."""
    mended, place = bytearray(data), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if place + 12 + length > len(data):
            break
        end = place + 8 + length
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def mutated(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    """Bytes changed, put in, taken out and cut off."""
    for kind, where, value in edits:
        place = where % (len(data) + 1)
        if kind == "change":
            data = data[:place] + value + data[place + len(value) :]
        elif kind == "insert":
            data = data[:place] + value + data[place:]
        elif kind == "remove":
            data = data[:place] + data[place + len(value) :]
        else:
            data = data[:place]
    return data


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["change", "change", "change", "insert", "remove", "cut"]),
        st.integers(0, 2**16),
        st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f", b"\x80\0"]),
    ),
    min_size=1,
    max_size=4,
)


def test_a_damaged_file_gives_its_pixels_or_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.png"
    here = sorted(os.listdir())
    counts = {"read": 0, "refused": 0}

    @given(name=st.sampled_from(sorted(FILES)), edits=EDITS, mend=st.booleans())
    @settings(max_examples=1200, suppress_health_check=list(HealthCheck))
    def attempt(name: str, edits: list[tuple[str, int, bytes]], mend: bool) -> None:
        data = mutated(FILES[name], edits)
        path.write_bytes(with_checksums(data) if mend and name.startswith("png") else data)
        try:
            pixels = read_image(path)
        except ImageError as error:
            counts["refused"] += 1
            line = str(error)
        else:
            line = ""
            counts["read"] += 1
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert sorted(pixels.shape[:2]) == sorted(read_size(path))
        assert "\n" not in line
        assert len(line) < 300

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        attempt()
    assert not warned
    assert counts["read"] > 100
    assert counts["refused"] > 100
    assert os.listdir(tmp_path) == ["a.png"]
    assert sorted(os.listdir()) == here
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_named_and_start_no_program(tmp_path: Path, kind: str) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin64c", "djpeg", "sh", "xv"):
        (programs / name).write_text(f"#!/bin/sh\necho ran > {tmp_path}/ran\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    kinds = {"jp2": "JPEG2000"}
    (tmp_path / "a.png").write_bytes(OTHERS[kind] or saved(kinds.get(kind, kind.upper())))
    code = (
        "import sys; from ida_rd.core.images import ImageError, read_image, read_size\n"
        "for read in (read_image, read_size):\n"
        "    try: read(__import__('pathlib').Path(sys.argv[1]))\n"
        "    except ImageError as error: print(error)\n"
    )
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    named = NAMED.get(kind)
    line = f"{named} is not read: convert it to PNG first" if named else "not a readable image (unknown format)"
    assert done.stdout == f"{line}\n" * 2
    assert not done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_tiff_that_names_another_file_gives_its_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("other.tif", np.full((6, 9, 3), 60000, np.uint16), photometric="rgb", metadata=None)
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="9" SizeY="6" SizeC="3" SizeZ="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">'
        '<UUID FileName="other.tif">urn:uuid:00000000-0000-0000-0000-000000000001</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite("a.tif", SIXTEEN[:, :, :3], photometric="rgb", metadata=None, description=ome)
    assert np.array_equal(read_image(Path("a.tif")), np.rint(SIXTEEN[:, :, :3] / 257).astype(np.uint8))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_equals_pypng(tmp_path: Path, channels: int, interlaced: bool) -> None:
    (tmp_path / "a.png").write_bytes(sixteen_bit_png(channels, interlaced=interlaced))
    _, _, rows, _ = png.Reader(filename=str(tmp_path / "a.png")).read()
    samples = np.array(list(rows), dtype=float).reshape(6, 9, channels)
    colours = samples[:, :, :3] if channels > 2 else np.repeat(samples[:, :, :1], 3, axis=2)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.floor(colours / 257 + 0.5))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzma"},
        {"tile": (16, 16)},
        {"rowsperstrip": 2},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiff_equals_tifffile(
    tmp_path: Path, channels: int, options: dict[str, Any], byteorder: str
) -> None:
    more: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    (tmp_path / "a.tif").write_bytes(sixteen_bit_tiff(channels, byteorder=byteorder, **options, **more))
    samples = tifffile.imread(tmp_path / "a.tif").reshape(6, 9, channels)[:, :, :3].astype(float)
    if options.get("bigtiff") and byteorder == ">":  # Pillow knows no such TIFF
        with pytest.raises(ImageError, match="unknown format"):
            read_image(tmp_path / "a.tif")
    else:
        expected = np.broadcast_to(np.floor(samples / 257 + 0.5), (6, 9, 3))
        assert np.array_equal(read_image(tmp_path / "a.tif"), expected)


def read_image_of(data: bytes, folder: Path) -> NDArray[np.uint8]:
    """Read an image from its bytes."""
    (folder / "image").write_bytes(data)
    return read_image(folder / "image")


def test_what_libraries_warn_of_is_not_printed(tmp_path: Path) -> None:
    data = saved("PNG")
    animation = struct.pack(">I4sII", 8, b"acTL", 0, 0)  # of no frames
    data = with_checksums(data[:33] + animation + bytes(4) + data[33:])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert read_image_of(data, tmp_path).shape == (6, 9, 3)
        assert read_size(tmp_path / "image") == (9, 6)
        assert not warned
        Image.open(tmp_path / "image").close()
        assert len(warned) == 1


def test_broken_exif_is_ignored_where_the_photograph_is_good(tmp_path: Path) -> None:
    good = saved("JPEG", quality=95)
    (tmp_path / "good.jpg").write_bytes(good)
    expected = read_image(tmp_path / "good.jpg")
    one_rational = struct.pack("<HHIIHHII", 282, 5, 3, 60, 274, 2, 1, 0x31) + bytes(60)
    no_digit = struct.pack("<HHIIHHII", 296, 3, 1, 2, 282, 2, 2, 0x31)  # Pillow does not open a JPEG with this
    for body in (
        b"II\x2a\0\x08\0\0\0\x02\0" + no_digit + bytes(8),
        b"",
        b"II\x2a\0",
        b"II\x2a\0\xff\xff\xff\xff",
        b"XX\x2a\0" + bytes(30),
        b"II\x2a\0\x08\0\0\0\x02\0" + one_rational,
    ):
        exif = b"Exif\0\0" + body
        (tmp_path / "a.jpg").write_bytes(good[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + good[2:])
        assert np.array_equal(read_image(tmp_path / "a.jpg"), expected), body
        (tmp_path / "a.png").write_bytes(saved("PNG", exif=exif))
        assert np.array_equal(read_image(tmp_path / "a.png"), read_image_of(saved("PNG"), tmp_path)), body


def test_a_broken_profile_is_one_line(tmp_path: Path) -> None:
    for profile in (b"x", SRGB[:200], b"\xff" * 200, SRGB[:128] + b"\xff" * 4 + SRGB[132:]):
        (tmp_path / "a.png").write_bytes(saved("PNG", icc_profile=profile))
        with pytest.raises(ImageError, match=r"^its ICC profile cannot be used \(.+\): convert it to sRGB first$"):
            read_image(tmp_path / "a.png")


def test_bytes_are_read_once_and_compared_with_their_hash(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    write_png(tmp_path / "a.png", astronaut)
    sha = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert np.array_equal(read_image(tmp_path / "a.png", sha256=sha), astronaut)
    write_png(tmp_path / "a.png", astronaut[::-1].copy())
    with pytest.raises(ImageError, match="changed since"):
        read_image(tmp_path / "a.png", sha256=sha)


def test_what_is_no_ordinary_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in (
        ("folder.png", "folder|ordinary file"),
        ("pipe.png", "ordinary file"),
        ("none.png", "no such file"),
    ):
        for read in (read_image, read_size):
            with pytest.raises(ImageError, match=reason):
                read(tmp_path / name)

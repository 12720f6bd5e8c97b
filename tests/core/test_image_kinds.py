"""What a file says beside its pixels: how it is turned, of what kind its samples are, what is transparent."""

from __future__ import annotations

import io
import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from numpy.typing import NDArray
from pictures import (
    PACKERS,
    SRGB,
    UPRIGHT,
    chunk,
    exif_of,
    iccp,
    page_of,
    png_of,
    raw_profile,
    text_chunk,
    tiff_of,
    with_further_pictures,
    xmp_of,
)
from PIL import Image

from ida_rd.core.containers import claim_of
from ida_rd.core.images import ImageError, read_header, read_image

RANDOM = np.random.default_rng(0)
EIGHT: NDArray[Any] = RANDOM.integers(0, 256, (37, 23, 3)).astype(np.uint8)
SIXTEEN: NDArray[Any] = RANDOM.integers(0, 65536, (37, 23, 3)).astype(np.uint16)
ORDERS = ("<", ">")
TRANSPARENT = "^has transparent pixels: flatten"


def read(data: bytes, folder: Path) -> NDArray[np.uint8]:
    """Read an image from its bytes."""
    (folder / "image").write_bytes(data)
    return read_image(folder / "image")


def seen(samples: NDArray[Any], orientation: int = 1) -> NDArray[np.uint8]:
    """The pixels that a file of samples shows."""
    if samples.dtype == np.uint16:
        samples = np.floor(samples / 257 + 0.5).astype(np.uint8)
    if samples.ndim == 2:
        samples = np.repeat(samples[:, :, None], 3, axis=2)
    return UPRIGHT[orientation](samples)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_tiff_of_any_kind_is_turned(tmp_path: Path, orientation: int) -> None:
    kinds = product((EIGHT, SIXTEEN), ("grey", "rgb"), ("strip", "strips", "tiles"), PACKERS, ORDERS)
    parts: dict[str, Any]
    for samples, colours, layout, packed, order in kinds:
        stored = samples if colours == "rgb" else samples[:, :, 0]
        parts = {"strip": {}, "strips": {"rows": 5}, "tiles": {"tile": 16}}[layout]
        data = tiff_of(page_of(stored, {274: orientation}, packed=packed, order=order, **parts), order=order)
        assert np.array_equal(read(data, tmp_path), seen(stored, orientation)), (colours, layout, packed, order)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_what_pillow_and_tifffile_write_is_turned(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    for compression in ("raw", "tiff_lzw", "tiff_deflate"):
        for stored in (EIGHT, EIGHT[:, :, 0], SIXTEEN[:, :, 0]):
            file = io.BytesIO()
            Image.fromarray(stored).save(file, "TIFF", compression=compression, exif=exif)
            assert np.array_equal(read(file.getvalue(), tmp_path), seen(stored, orientation)), compression
    for stored, tile in product((EIGHT, SIXTEEN, SIXTEEN[:, :, 0]), (None, (16, 16))):
        file = io.BytesIO()
        tag = (274, "H", 1, orientation, True)
        photometric: Any = "rgb" if stored.ndim == 3 else "minisblack"
        tifffile.imwrite(
            file, stored, photometric=photometric, tile=tile, metadata=None, predictor=True, compression="zlib",
            extratags=[tag],
        )  # fmt: skip
        assert np.array_equal(read(file.getvalue(), tmp_path), seen(stored, orientation))


@pytest.mark.parametrize("samples", [EIGHT, SIXTEEN], ids=["8", "16"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_png_is_turned_wherever_it_says_so(tmp_path: Path, samples: NDArray[Any], place: str) -> None:
    exif = b"Exif\0\0" + exif_of(6)
    ways = {
        "eXIf": chunk(b"eXIf", exif_of(6)),
        "raw exif": text_chunk(b"zTXt", b"Raw profile type exif", raw_profile("exif", exif)),
        "raw exif, plain": text_chunk(b"tEXt", b"Raw profile type exif", raw_profile("exif", exif)),
        "raw APP1": text_chunk(b"zTXt", b"Raw profile type APP1", raw_profile("APP1", exif)),
        "XMP": text_chunk(b"iTXt", b"XML:com.adobe.xmp", xmp_of(6)),
        "XMP, other quotes": text_chunk(b"iTXt", b"XML:com.adobe.xmp", xmp_of(6, "'")),
        "raw XMP": text_chunk(b"zTXt", b"Raw profile type xmp", raw_profile("xmp", xmp_of(6))),
        "broken EXIF beside XMP": chunk(b"eXIf", b"II") + text_chunk(b"iTXt", b"XML:com.adobe.xmp", xmp_of(6)),
        "EXIF against XMP": chunk(b"eXIf", exif_of(6)) + text_chunk(b"iTXt", b"XML:com.adobe.xmp", xmp_of(3)),
    }
    for name, way in ways.items():
        for stored in (samples, samples[:, :, 0]):
            data = png_of(stored, way) if place == "before" else png_of(stored, after=[way])
            assert np.array_equal(read(data, tmp_path), seen(stored, 6)), name


def test_long_xmp_is_no_reason_to_refuse_a_photograph(tmp_path: Path) -> None:
    long = xmp_of(8) + b" " * 2**21 + b"<end/>"
    for samples in (EIGHT, SIXTEEN):
        for kind in (b"iTXt", b"tEXt"):
            text = text_chunk(kind, b"XML:com.adobe.xmp", long)
            assert np.array_equal(read(png_of(samples, text), tmp_path), seen(samples, 8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colours", ["grey", "rgb"])
def test_the_colour_that_means_transparent(tmp_path: Path, bits: int, colours: str) -> None:
    if colours == "rgb" and bits < 8:
        return  # there is none
    most = 2**bits - 1
    shape = (16, 16) if colours == "grey" else (16, 16, 3)
    samples = RANDOM.integers(0, most, shape).astype(np.uint16 if bits == 16 else np.uint8)  # none is the largest
    channels = 1 if colours == "grey" else 3
    unused = chunk(b"tRNS", struct.pack(f">{channels}H", *[most] * channels))
    expected = seen(samples) if bits >= 8 else seen((samples * (255 // most)).astype(np.uint8))
    assert np.array_equal(read(png_of(samples, unused, bits=bits), tmp_path), expected)
    samples[3, 5] = most
    with pytest.raises(ImageError, match=TRANSPARENT):
        read(png_of(samples, unused, bits=bits), tmp_path)
    if bits == 16:  # its high byte alone is no match
        samples[3, 5] = most - 1
        assert read(png_of(samples, unused), tmp_path).shape == (16, 16, 3)


@pytest.mark.parametrize("samples", [EIGHT, SIXTEEN], ids=["8", "16"])
def test_a_png_of_other_colours_without_a_profile_is_refused(tmp_path: Path, samples: NDArray[Any]) -> None:
    def gamma(value: int) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", value))

    def primaries(*values: int) -> bytes:
        return chunk(b"cHRM", struct.pack(">8I", *values))

    srgb = primaries(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    adobe = primaries(31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    is_srgb, cicp = (
        chunk(b"sRGB", b"\0"),
        {which: chunk(b"cICP", bytes(which)) for which in ((1, 13, 0, 1), (9, 16, 0, 1))},
    )
    for chunks in (
        (gamma(45455),),
        (gamma(45455), srgb),
        (gamma(0),),
        (primaries(*[0] * 8),),
        (gamma(100000), is_srgb),
        (gamma(100000), adobe, iccp(SRGB)),
        (cicp[1, 13, 0, 1], gamma(100000)),
    ):
        assert np.array_equal(read(png_of(samples, *chunks), tmp_path), seen(samples))
    for chunks, reason in (
        ((gamma(100000),), "its gAMA chunk says gamma 1, far from sRGB's 0.455: convert it to sRGB first"),
        ((gamma(55556), srgb), "gamma 0.55556"),
        ((gamma(45455), adobe), "its cHRM chunk says primaries other than sRGB's"),
        ((cicp[9, 16, 0, 1],), r"its cICP chunk .*primaries 9, transfer 16.*convert it to sRGB first"),
        ((cicp[9, 16, 0, 1], iccp(SRGB), is_srgb), "cICP"),
        ((chunk(b"cICP", bytes((1, 13, 0, 0))),), "range 0"),
    ):
        with pytest.raises(ImageError, match=f"^.*{reason}"):
            read(png_of(samples, *chunks), tmp_path)
    grey = png_of(samples[:, :, 0], gamma(45455), adobe)  # which has no primaries
    assert np.array_equal(read(grey, tmp_path), seen(samples[:, :, 0]))


def test_white_is_zero(tmp_path: Path) -> None:
    for samples, packed, order, tile in product((EIGHT, SIXTEEN), PACKERS, ORDERS, (None, 16)):
        grey = samples[:, :, 0]
        stored = ~grey
        data = tiff_of(page_of(stored, {262: 0, 274: 6}, packed=packed, order=order, tile=tile), order=order)
        assert np.array_equal(read(data, tmp_path), seen(grey, 6)), (grey.dtype, packed, order, tile)


SIGNED, FLOAT = np.int16(-800), np.float32(0.5)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (page_of(np.full((4, 4), SIGNED), {339: 2}), "signed numbers of 16 bits"),
        (page_of(np.full((4, 4), SIGNED), {339: 2}, packed="deflate"), "signed numbers of 16 bits"),
        (page_of(np.full((4, 4), -1, np.int8), {339: 2}), "signed numbers of 8 bits"),
        (page_of(np.full((4, 4, 3), SIGNED), {339: (2, 2, 2)}), "signed numbers of 16 bits"),
        (page_of(np.full((4, 4), 7, np.int32), {339: 2}), "signed numbers of 32 bits"),
        (page_of(np.full((4, 4), 7, np.uint32)), "32 bits per sample are not supported"),
        (page_of(np.full((4, 4), FLOAT), {339: 3}), "floating-point numbers of 32 bits"),
        (page_of(np.full((4, 4, 3), np.float16(0.5)), {339: (3, 3, 3)}), "floating-point numbers of 16 bits"),
        (page_of(np.zeros((4, 6), np.uint8), {256: 4, 258: 12}), "12 bits per sample are not supported"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {258: (10, 10, 10)}), "10 bits per sample are not supported"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {258: (5, 6, 5)}), "bits per sample are not supported"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {258: (8, 8, 4)}), "its samples differ in their bits"),
        (page_of(np.zeros((4, 4, 4), np.uint16), {262: 5}), "^CMYK with 16 bits per sample is not supported"),
        (page_of(np.zeros((4, 4, 4), np.uint8), {262: 5}), "^CMYK without an ICC profile has no defined colours"),
        (page_of(np.zeros((12, 4), np.uint16), {257: 4, 258: (16,) * 3, 262: 2, 277: 3, 278: 4, 284: 2}, rows=4),
         "^16-bit colours in separate planes are not supported: save it with the channels together"),
        (page_of(np.zeros((4, 4, 2), np.uint16), {338: 2}), "^grey with alpha in 16 bits is not supported"),
        (page_of(np.zeros((4, 4, 3), np.uint16), {262: 6}), "^16 bits per sample are supported in grey and RGB only"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {262: 8}), "^Lab colours are not supported"),
        (page_of(np.zeros((4, 4), np.uint16), {262: 32803}), "raw data of a camera's sensor"),
        (page_of(np.zeros((4, 4, 3), np.uint16), {262: 34892}), "linear raw data of a camera"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {50706: (1, 4, 0, 0)}), "^is the raw file of a camera: develop it"),
        (page_of(np.zeros((4, 4, 3), np.uint8), {254: 1, 330: 8}), "^is the raw file of a camera: develop it"),
    ],
)  # fmt: skip
def test_samples_that_are_not_read_are_named(tmp_path: Path, page: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        read(tiff_of(page), tmp_path)
    assert not any(sign in str(refused.value) for sign in "[]{}")


def test_a_thumbnail_is_not_taken_for_the_photograph(tmp_path: Path) -> None:
    small = EIGHT[::4, ::4]
    full, photo = page_of(EIGHT, {274: 6}), seen(EIGHT, 6)
    for samples in (EIGHT, SIXTEEN):
        whole = page_of(samples, {274: 6}, packed="deflate")
        for thumbnail in (page_of(small), page_of(small, {254: 1}), page_of(EIGHT, {254: 1}), page_of(EIGHT, {254: 4})):
            for order in ((whole, thumbnail), (thumbnail, whole), (thumbnail, whole, thumbnail)):
                assert np.array_equal(read(tiff_of(*order), tmp_path), seen(samples, 6))
                header = read_header(tmp_path / "image")
                assert (sorted(header[:2]), header.more) == ([23, 37], True)
    for pages in ((full, full), (full, page_of(EIGHT)), (full, page_of(EIGHT.swapaxes(0, 1)), page_of(small))):
        with pytest.raises(ImageError, match=r"^2 frames; give one image per file$"):
            read(tiff_of(*pages), tmp_path)
    assert np.array_equal(read(tiff_of(full), tmp_path), photo)
    assert not read_header(tmp_path / "image").more


def test_of_a_jpeg_with_further_pictures_the_first_is_taken(tmp_path: Path) -> None:
    data = with_further_pictures()
    first = io.BytesIO(data)
    with Image.open(first) as image:
        assert image.format == "MPO"
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(data, tmp_path), expected)
    assert read_header(tmp_path / "image") == (256, 256, True)
    claim = claim_of(data)  # the decoder never sees the index of pictures
    assert claim.more
    assert b"MPF\0" not in claim.data
    for damaged in (data.replace(b"MPF\0II", b"MPF\0XX"), data[: data.rindex(b"\xff\xd8")], data[:-1000]):
        assert np.array_equal(read(damaged, tmp_path), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animations_stay_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (i * 50, 0, 0)) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"3 frames|GIF is not read: convert it to PNG first"):
        read(file.getvalue(), tmp_path)


def test_sixteen_bits_of_grey_are_read_wherever_they_stand(tmp_path: Path) -> None:
    grey = SIXTEEN[:, :, 0]
    plain = b"P5 23 37 65535\n" + grey.astype(">u2").tobytes()
    file = io.BytesIO()
    rows = np.stack([grey, grey | 65535], axis=2).reshape(37, -1).tolist()
    png.Writer(23, 37, greyscale=True, alpha=True, bitdepth=16, interlace=True).write(file, rows)
    for data in (plain, png_of(grey), tiff_of(page_of(grey, packed="lzw")), file.getvalue()):
        assert np.array_equal(read(data, tmp_path), seen(grey))


def test_adobe_rgb_by_exif_alone_is_refused(tmp_path: Path) -> None:
    def index(name: bytes) -> bytes:
        first = struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0)
        return (
            b"Exif\0\0II\x2a\0"
            + first
            + struct.pack("<HHHIII", 1, 0xA005, 4, 1, 44, 0)
            + struct.pack("<HHHI4sI", 1, 1, 2, 4, name, 0)
        )

    for name, profile, refused in ((b"R03\0", None, True), (b"R98\0", None, False), (b"R03\0", SRGB, False)):
        file = io.BytesIO()
        Image.fromarray(EIGHT).save(file, "JPEG", exif=index(name), icc_profile=profile)
        if refused:
            with pytest.raises(ImageError, match=r"^its EXIF says Adobe RGB, and it has no ICC profile"):
                read(file.getvalue(), tmp_path)
        else:
            assert read(file.getvalue(), tmp_path).shape == EIGHT.shape


@pytest.mark.parametrize(
    ("case", "shape", "colour"),
    [
        ("mpo-and-thumbnail/two.jpg", (256, 256, 3), (182, 178, 177)),
        ("mpo-and-thumbnail/thumb.tif", (256, 256, 3), (181, 177, 176)),
        ("png16-exif/e1.png", (256, 200, 3), (181, 177, 176)),
        ("png16-exif/e2.png", (256, 200, 3), (181, 177, 176)),
        ("png16-exif/e4.png", (256, 200, 3), (181, 177, 176)),
        ("tiff-orientation/or6_rgb16.tif", (256, 200, 3), (181, 177, 176)),
        ("tiff-miniswhite16/miw16.tif", (256, 256, 3), (177, 177, 177)),
        ("tiff-miniswhite16/miw8.tif", (256, 256, 3), (177, 177, 177)),
        ("reasons/la.png", (256, 256, 3), (179, 179, 179)),  # 178.502
        ("reasons/xmp.png", (256, 256, 3), (181, 177, 176)),
        ("png-trns/t16.png", None, "transparent pixels"),
        ("png-trns/t4.png", None, "transparent pixels"),
        ("png-gamma-cicp/gama.png", None, "gAMA"),
        ("png-gamma-cicp/gama16.png", None, "gAMA"),
        ("png-gamma-cicp/pq.png", None, "cICP"),
        ("tiff-int16/i16.tif", None, "signed numbers of 16 bits"),
        ("reasons/c16.tif", None, "CMYK with 16 bits"),
        ("reasons/pl16.tif", None, "separate planes"),
    ],
)
def test_files_that_were_read_wrongly(shared: Path, case: str, shape: Any, colour: Any) -> None:
    path = shared / "cases" / case
    if not path.is_file():
        pytest.skip(f"needs {path}")
    if shape is None:
        with pytest.raises(ImageError, match=colour):
            read_image(path)
    else:
        pixels = read_image(path)
        assert (pixels.shape, tuple(pixels[3, 5])) == (shape, colour)

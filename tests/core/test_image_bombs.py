"""Tiny files that ask for much: each is refused, or read, within little memory and time."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import LINEAR, chunk, iccp, page_of, profile_of, tiff_of
from PIL import Image, ImageCms

MEBIBYTE = 2**20
MOST_MEMORY = 450  # MiB, the interpreter and its libraries included
MOST_SECONDS = 10


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes, size: int | None = None) -> bytes:
    """A black PNG, of `size` bytes of pixels or as many as its header says."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    if size is None:
        size = height * (1 + width * channels * bits // 8)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    idat = chunk(b"IDAT", deflated(size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + idat + chunk(b"IEND", b"")


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory: tag, type, count, value or offset; `tail` stands behind it."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II\x2a\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + tail


def basic_tiff(width: int, height: int, compression: int, length: int, *more: tuple[int, int, int, int]) -> bytes:
    """A grey TIFF, whose single strip of `length` bytes stands behind its tags."""
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, 14 + 12 * (8 + len(more))),
        (278, 4, 1, height),
        (279, 4, 1, length),
        *more,
    ]
    return tiff(sorted(tags))


def flat(width: int, height: int, mode: str, kind: str, **options: object) -> bytes:
    """An image of one colour, as Pillow writes it."""
    file = io.BytesIO()
    Image.new(mode, (width, height), 7 if mode in ("L", "1") else (7, 9, 11, 13)[: len(mode)]).save(
        file, kind, **options
    )
    return file.getvalue()


def progressive(scans: int, side: int) -> bytes:
    """A JPEG whose last scan is there again and again."""
    data = flat(side, side, "RGB", "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def exif_bomb(tags: int, length: int) -> bytes:
    """EXIF whose tags all stand for the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + i, 7, length, 8) for i in range(tags))
    return b"II\x2a\0" + struct.pack("<IH", 8, tags) + entries + bytes(length)


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP whose canvas is larger than its picture."""
    inner = flat(8, 8, "RGB", "WEBP", lossless=True)[12:]
    canvas = b"\x10\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + canvas + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_skips(width: int) -> bytes:
    """A run-length coded BMP of one row that skips 255."""
    body = b"\0\2\xff\xff" * 4 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, 1, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + bytes(1024) + body


def jpeg_exif(segments: int) -> bytes:
    """A JPEG whose EXIF goes over many segments, with tags that stand for the same bytes."""
    data = flat(8, 8, "RGB", "JPEG")
    exif = exif_bomb(4000, segments * 60000)
    parts = [exif[i : i + 65000] for i in range(0, len(exif), 65000)]
    return data[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in parts) + data[2:]


def profile_of_texts(count: int) -> bytes:
    """A colour profile whose name is said to be there in as many languages."""
    head = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()[:128])
    name = b"mluc\0\0\0\0" + struct.pack(">II", count, 12) + bytes(100)
    body = struct.pack(">I4sII", 1, b"desc", 144, len(name)) + name
    return struct.pack(">I", 128 + len(body)) + bytes(head[4:]) + body


def profile_of_curves(entries: int) -> bytes:
    """A colour profile whose curves are the same long table."""
    return profile_of(b"curv\0\0\0\0" + struct.pack(">I", entries) + bytes(2000))


def directories(count: int, tags: int) -> bytes:
    """A TIFF of directories, each of which begins within the one before, in entries of the same bytes."""
    step = 12
    size = 2 + 12 * tags
    body = bytearray(8 + step * count + size + 4)
    body[:8] = b"II\x2a\0" + struct.pack("<I", 8)
    for i in range(count):
        place = 8 + step * i
        struct.pack_into("<H", body, place, tags)
        struct.pack_into("<I", body, place + size, place + step)
    return bytes(body)


def deflated(size: int) -> bytes:
    """Zeros, deflated to a thousandth."""
    deflate = zlib.compressobj(9)
    parts = [deflate.compress(bytes(MEBIBYTE)) for _ in range(size // MEBIBYTE)]
    return b"".join([*parts, deflate.compress(bytes(size % MEBIBYTE)), deflate.flush()])


def claiming(jpeg: bytes, side: int) -> bytes:
    """A JPEG whose header says another size."""
    frame = next(jpeg.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in jpeg)
    return jpeg[: frame + 5] + struct.pack(">HH", side, side) + jpeg[frame + 9 :]


def webp_claiming(side: int) -> bytes:
    """A lossless WebP whose header says another size."""
    data = bytearray(flat(8, 8, "RGB", "WEBP", lossless=True))
    data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14 | data[24] >> 4 << 28)
    return bytes(data)


BIG = 16000 * 16000
BOMBS: dict[str, Callable[[], bytes]] = {
    "png 16 bit, 8 x 8 pixels, 400 MB of data": lambda: png(8, 8, 16, 2, size=400 * MEBIBYTE),
    "png 16 bit, 5000 x 5000": lambda: png(5000, 5000, 16, 2),
    "png 16 bit that is not as large as it says": lambda: png(16000, 16000, 16, 2, size=1),
    "png 8 bit, 16000 x 16000": lambda: png(16000, 16000, 8, 0),
    "png 8 bit, 5700 x 5700 with alpha": lambda: png(5700, 5700, 8, 6),
    "png of texts": lambda: png(
        8,
        8,
        8,
        2,
        *[
            chunk(b"iTXt", b"%d\0\1\0\0\0" % i + zlib.compress(b"\xf0\x9f\x98\x80" + bytes(2**20 - 8)))
            for i in range(60)
        ],
    ),
    "png of empty chunks": lambda: png(8, 8, 8, 2, chunk(b"prVt", b"") * 80000),
    "png profile": lambda: png(8, 8, 8, 2, chunk(b"iCCP", b"p\0\0" + deflated(300 * MEBIBYTE))),
    "png profile of texts": lambda: flat(8, 8, "RGB", "PNG", icc_profile=profile_of_texts(2**25 - 1)),
    "png exif": lambda: png(8, 8, 8, 2, chunk(b"eXIf", exif_bomb(8000, 500_000))),
    "jpeg, 16000 x 16000": lambda: claiming(flat(8, 8, "L", "JPEG"), 16000) + bytes(300_000),
    "jpeg, progressive, 5700 x 5700": lambda: flat(5700, 5700, "RGB", "JPEG", progressive=True, quality=1),
    "jpeg of 2000 scans": lambda: progressive(2000, 5700),
    "jpeg of 60 scans": lambda: progressive(50, 5700),
    "jpeg exif": lambda: jpeg_exif(12),
    "jpeg of segments": lambda: b"\xff\xd8" + b"\xff\xe1\0\x0eExif\0\0123456" * 60000 + flat(8, 8, "RGB", "JPEG")[2:],
    "webp, 16000 x 16000": lambda: webp_claiming(16000),
    "webp, 5000 x 5000": lambda: webp_claiming(5000),
    "webp, flat, 4096 x 4096": lambda: flat(4096, 4096, "RGB", "WEBP", lossless=True, method=0),
    "jpeg, progressive, four inks": lambda: flat(5700, 5700, "CMYK", "JPEG", progressive=True, quality=1),
    "jpeg, claims all": lambda: claiming(flat(8, 8, "RGB", "JPEG", progressive=True), 5700),
    "jpeg of empty scans": lambda: claiming(progressive(8000, 8), 5700),
    "webp canvas": lambda: webp_canvas(16000, 16000),
    "webp canvas beyond 4 GB": lambda: webp_canvas(2**24, 2**24),
    "bmp run-length": lambda: bmp_skips(2**25),
    "bmp without pixels": lambda: (
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 16000, 16000, 1, 24, *[0] * 6)
    ),
    "ppm without pixels": lambda: b"P6 16000 16000 255 ",
    "ppm of comments": lambda: b"P3 100 100 255\n" + b"#\n" * 400_000,
    "ppm, plain, of numbers": lambda: b"P3 5000 5000 255\n" + b"1 " * 400_000,
    "tiff, deflated, 16000 x 16000": lambda: basic_tiff(16000, 16000, 8, 300_000) + deflated(BIG),
    "tiff, deflated, more than its strip": lambda: basic_tiff(8, 8, 8, 400_000) + deflated(400 * MEBIBYTE),
    "tiff of one tile": lambda: tiff(
        [
            (256, 4, 1, 8),
            (257, 4, 1, 8),
            (258, 3, 1, 8),
            (259, 3, 1, 8),
            (262, 3, 1, 1),
            (322, 4, 1, 16000),
            (323, 4, 1, 16000),
            (324, 4, 1, 14 + 108),
            (325, 4, 1, 250_000),
        ],
        deflated(BIG),
    ),
    "tiff of strips": lambda: tiff(
        [(256, 4, 1, 1), (257, 4, 1, 2**24), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 2**19, 8), (278, 4, 1, 1)],
        bytes(2**21),
    ),
    "tiff of tags": lambda: tiff([(1000 + i, 7, 10**6, 8) for i in range(4000)], bytes(10**6)),
    "tiff of directories": lambda: tiff([], bytes(6) * 10**5, 14),
    "tiff of directories upon each other": lambda: directories(1000, 4000),
    "tiff profile": lambda: basic_tiff(8, 8, 1, 64, (34675, 7, 2**25, 8)) + bytes(2**25),
    "png profile of curves": lambda: flat(8, 8, "RGB", "PNG", icc_profile=profile_of_curves(2**18)),
    "png 16 bit, 4000 x 4000, with a profile": lambda: png(4000, 4000, 16, 2, iccp(profile_of(LINEAR))),
    "png 16 bit, 4000 x 4000, with alpha and a profile": lambda: png(4000, 4000, 16, 6, iccp(profile_of(LINEAR))),
    "tiff 16 bit, 4000 x 4000, with a profile": lambda: tiff_of(
        page_of(np.zeros((4000, 4000, 3), np.uint16), {34675: profile_of(LINEAR), 274: 6}, packed="deflate")
    ),
    "png 8 bit, 5700 x 5700, with a transparent colour": lambda: png(5700, 5700, 8, 2, chunk(b"tRNS", b"\0\1" * 3)),
    "png of one long text": lambda: png(
        8, 8, 16, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + deflated(400 * MEBIBYTE))
    ),
    "png of one long raw profile": lambda: png(
        8, 8, 16, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + deflated(400 * MEBIBYTE))
    ),
}

# Why each is refused; what is not here is read.
REFUSED = {
    "png 16 bit, 8 x 8 pixels, 400 MB of data": "more pixels than its header says",
    "png 16 bit, 5000 x 5000": "decompression bomb",
    "png 16 bit that is not as large as it says": "decompression bomb",
    "png 8 bit, 16000 x 16000": "decompression bomb",
    "png 8 bit, 5700 x 5700 with alpha": "transparent",
    "png of empty chunks": "chunks",
    "png profile": "too large",
    "png profile of texts": "it is damaged",
    "jpeg, 16000 x 16000": "decompression bomb",
    "jpeg, progressive, four inks": "CMYK",
    "jpeg of 2000 scans": "scans",
    "jpeg of empty scans": "scans",
    "jpeg of segments": "segments",
    "webp, 16000 x 16000": "decompression bomb",
    "webp, 5000 x 5000": "decompression bomb",
    "webp canvas": "could not create decoder",
    "webp canvas beyond 4 GB": "megapixels",
    "bmp run-length": "megapixels",
    "bmp without pixels": "decompression bomb",
    "ppm without pixels": "decompression bomb",
    "ppm of comments": "comments",
    "ppm, plain, of numbers": "not enough image data",
    "tiff, deflated, 16000 x 16000": "decompression bomb",
    "tiff of one tile": "decompression bomb",
    "tiff of strips": "strips",
    "tiff of tags": "hold more than the file",
    "tiff of directories": "unknown format",
    "tiff of directories upon each other": "directory of its tags is damaged",
    "tiff profile": "its ICC profile has 33554432 bytes",
    "png profile of curves": "its ICC profile cannot be used",
    "png 16 bit, 4000 x 4000, with alpha and a profile": "transparent",
}
LITTLE = {"png of texts": 80}  # MiB, where it would cost less than the others at worst

MEASURE = """
import json, os, re, sys, time
from pathlib import Path
from ida_rd.core.images import ImageError, read_image

def measure(path):
    begun = time.monotonic()
    try:
        said = str(read_image(path).shape)
    except ImageError as error:
        said = f"refused: {error}"
    # Not `getrusage`: its maximum is that of the process that started this one, where that was larger.
    most = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    print(json.dumps({"said": said, "memory": most, "seconds": time.monotonic() - begun}), flush=True)

for line in sys.stdin:
    child = os.fork()
    if not child:
        measure(line[:-1])
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def measured() -> Iterator[Callable[[Path], dict[str, Any]]]:
    """Reads a file in a process of its own, a copy of one that has just begun; what became of it, MiB, and seconds."""
    begun = subprocess.Popen(
        [sys.executable, "-c", MEASURE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert begun.stdin is not None
    assert begun.stdout is not None
    asked, answers = begun.stdin, begun.stdout

    def measure(path: Path) -> dict[str, Any]:
        print(path, file=asked, flush=True)
        said = []
        while not (line := answers.readline()).startswith("ended "):
            assert line, "it has ended itself"
            said.append(line)
        assert line == "ended 0\n", said
        (found,) = said
        return json.loads(found)

    yield measure
    begun.communicate()


@pytest.mark.parametrize("name", BOMBS)
def test_a_tiny_file_costs_little(tmp_path: Path, name: str, measured: Callable[[Path], dict[str, Any]]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS[name]())
    found = measured(path)
    if name in REFUSED:
        assert found["said"].startswith("refused: "), found
        assert REFUSED[name] in found["said"]
    else:
        assert found["said"].startswith("("), found
    assert found["memory"] < LITTLE.get(name, MOST_MEMORY), found
    assert found["seconds"] < MOST_SECONDS, found

"""What an image file claims, read from its own structure before a library opens it.

A header of twenty bytes can ask for gigabytes. Each check here costs no more than a walk over the file's parts, and
refuses what no photograph has: a canvas, a tile, a number of tags, scans or frames for which the file is too small. The
decoder is then given the file's bytes, without those parts that say nothing about the pixels and may be large.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ida_rd.core.errors import UserError

__all__ = [
    "MAX_PIXELS",
    "Claim",
    "ImageError",
    "check_budget",
    "check_pixels",
    "check_profile",
    "claim_of",
    "without_exif",
]

MAX_PIXELS = 2**28  # 268 megapixels
FREE_PIXELS = 2**25  # what any file may hold: 34 megapixels, about 300 MB while they are decoded
PIXELS_PER_BYTE = 64  # beyond them; a plain grey JPEG has 85, a photograph less than 20
MAX_SCANS = 64  # of a progressive JPEG: each is a pass over all pixels; encoders write 10 to 20
MAX_SEGMENTS = 2**14  # of a JPEG before its first scan
MAX_CHUNKS = 2**12  # of a PNG besides its data and texts
MAX_TAGS = 2**12  # of a TIFF's directory
MAX_STRIPS = 2**17
MAX_FRAMES = 2**10
MAX_COMMENTS = 2**10  # of a plain PPM

PNG = b"\x89PNG\r\n\x1a\n"
# Texts that may say how the image is turned; all others are left out, since they may be compressed.
PNG_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SEQUENTIAL = (0xC0, 0xC1, 0xC3, 0xC9, 0xCB)
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
TIFF_STRIPS, TIFF_TILES = (273, 279), (324, 325)
TIFF_TILE_SIDES = (322, 323)
SIXTEEN = 16
MLUC_ENTRY = 12  # bytes


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
        How many images it holds, where only a walk over the file tells.
    tile : int
        Pixels of one tile: the decoder holds a whole one, however small the image is.
    sixteen : bool
        Whether it is a PNG of 16 bits per sample.
    """

    data: bytes
    frames: int | None = None
    tile: int = 0
    sixteen: bool = False


def claim_of(data: bytes) -> Claim:
    """Look at a file's structure; an unknown one is left to the decoder, which knows only a few formats.

    Raises
    ------
    ImageError
        It asks for more than the file can account for.
    """
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:4] in (b"II\x2a\0", b"MM\0\x2a", b"II\0\x2a", b"MM\x2a\0", b"II\x2b\0", b"MM\0\x2b"):
        return _tiff(data)
    if data[:2] in (b"P1", b"P2", b"P3") and data.count(b"#") > MAX_COMMENTS:
        raise ImageError(f"more than {MAX_COMMENTS} comments: save it again without")
    return Claim(data)


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
    """Refuse a colour profile that claims more translations of a text than it has room for: each is allocated."""
    for found in re.finditer(b"mluc", icc):
        count = int.from_bytes(icc[found.end() + 4 : found.end() + 8], "big")
        if count * MLUC_ENTRY > len(icc):
            raise ImageError("its ICC profile cannot be used (it is damaged): convert it to sRGB first")


def _png(data: bytes) -> Claim:
    """Leave out texts, count the chunks, and see that 16-bit data end where the header says."""
    kept, idat = [], []
    begin = others = texts = 0  # `begin` is that of the run of chunks that stay
    for place, kind, body, end in _png_chunks(data):
        if kind == b"IDAT":
            idat.append(body)
            continue
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            useful = bytes(body[:80]).split(b"\0")[0] in PNG_TEXTS
            texts += useful
            if not useful or texts > len(PNG_TEXTS):
                kept.append(data[begin:place])
                begin = end
            continue
        others += 1
        if others > MAX_CHUNKS:
            raise ImageError(f"more than {MAX_CHUNKS} chunks: save it again without metadata")
    sixteen = len(data) > 24 and data[24] == SIXTEEN
    if sixteen:
        _check_idat(data, idat)
    return Claim(b"".join([*kept, data[begin:]]) if kept else data, sixteen=sixteen)


def _png_chunks(data: bytes) -> Iterator[tuple[int, bytes, memoryview, int]]:
    """Chunks, up to the last whole one: where each begins, its kind, its content, where it ends."""
    view = memoryview(data)
    place = len(PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            return
        yield place, kind, view[place + 8 : end - 4], end
        if kind == b"IEND":
            return
        place = end


def _check_idat(data: bytes, chunks: list[memoryview]) -> None:
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    check_budget(width, height, len(data), weight=2)
    pixel = PNG_CHANNELS.get(colour, 4) * bits // 8
    passes = [(width, height)]
    if interlaced:
        passes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in ADAM7]
    left = 1 + sum(h * (1 + w * pixel) for w, h in passes if w > 0 and h > 0)
    inflate = zlib.decompressobj()
    for chunk in chunks:
        for start in range(0, len(chunk), 2**16):
            waiting: bytes | memoryview = chunk[start : start + 2**16]
            while waiting and left:
                left -= len(inflate.decompress(waiting, min(left, 2**20)))
                waiting = inflate.unconsumed_tail
    if not left:
        raise ImageError("cannot be decoded (its data hold more pixels than its header says)")


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _jpeg(data: bytes) -> Claim:
    """Count the segments before the first scan, and the scans."""
    channels = 0  # of a sequential image: all of them in the first scan means that there is no other
    for number, (kind, place) in enumerate(_jpeg_segments(data)):
        if number > MAX_SEGMENTS:
            raise ImageError(f"more than {MAX_SEGMENTS} segments: save it again without metadata")
        if kind in JPEG_FRAMES:
            channels = data[place + 9] if kind in JPEG_SEQUENTIAL and len(data) > place + 9 else -1
        if kind == 0xDA:
            single = len(data) > place + 4 and data[place + 4] == channels
            # What looks like the start of a scan may be something else, up to a film behind the photograph: only where
            # there are many is every marker looked at.
            if not single and data.count(b"\xff\xda", place) > MAX_SCANS and _scans(data, place) > MAX_SCANS:
                raise ImageError(f"more than {MAX_SCANS} scans looks like a decompression bomb: save it again")
    return Claim(data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers up to the first scan, and where each begins; what is no marker is skipped, as decoders do."""
    place = 2
    while (found := _MARKER.search(data, place)) is not None:
        place, kind = found.start(), data[found.start() + 1]
        yield kind, place
        if kind == 0xDA:
            return
        place = _behind(data, place)


def _behind(data: bytes, place: int) -> int:
    """Where the segment at `place` ends."""
    if data[place + 1] in (0x01, 0xD8, 0xD9):  # markers without content
        return place + 2
    return place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _scans(data: bytes, place: int) -> int:
    scans = 0
    while scans <= MAX_SCANS and (found := _MARKER.search(data, place)) is not None:
        kind = data[found.start() + 1]
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        place = _behind(data, found.start())
    return scans


def without_exif(data: bytes) -> bytes:
    """A JPEG without its application segment 1, EXIF and XMP; other files as they are."""
    if not data.startswith(b"\xff\xd8"):
        return data
    kept, begin = [], 0
    for kind, place in _jpeg_segments(data):
        if kind == 0xE1:
            kept.append(data[begin:place])
            begin = _behind(data, place)
    return b"".join([*kept, data[begin:]])


def _webp(data: bytes) -> Claim:
    """Check the canvas: the decoder makes three of them when the file is opened."""
    kind, place = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(place[i : i + 3], "little") for i in (4, 7))
    elif kind == b"VP8L":
        packed = int.from_bytes(place[1:5], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(place[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    check_pixels(width, height)
    return Claim(data)


def _tiff(data: bytes) -> Claim:
    """Count directories, tags and strips, and what the tags of the first directory hold."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    count, entry, following = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (place,) = struct.unpack_from(order + following, data.ljust(16, b"\0"), 8 if big else 4)
    seen: set[int] = set()
    tile = 0
    while place and place not in seen and len(seen) <= MAX_FRAMES:
        if place + struct.calcsize(order + count) > len(data):
            raise ImageError("cannot be decoded (a directory of its tags lies outside the file)")
        (tags,) = struct.unpack_from(order + count, data, place)
        begin = place + struct.calcsize(order + count)
        step = struct.calcsize(order + entry)
        if tags > MAX_TAGS or begin + tags * step > len(data):
            raise ImageError("cannot be decoded (a directory of its tags is damaged)")
        if not seen:
            entries = [struct.unpack_from(order + entry, data, begin + i * step) for i in range(tags)]
            tile = _tiff_tags(entries, order, len(data))
        seen.add(place)
        end = begin + tags * step
        (place,) = struct.unpack_from(order + following, data[end : end + 8].ljust(8, b"\0"))
    return Claim(data, frames=len(seen), tile=tile)


def _tiff_tags(entries: list[tuple[int, int, int, bytes]], order: str, size: int) -> int:
    """Check a directory; return the pixels of a tile, 0 if there are none."""
    inline = len(entries[0][3]) if entries else 4
    sides = {}
    held = 0
    for tag, kind, number, value in entries:
        length = number * TIFF_SIZES.get(kind, 1)
        held += length if inline < length <= size else 0  # one that reaches beyond the file is not read
        if tag in (*TIFF_STRIPS, *TIFF_TILES) and number > MAX_STRIPS:
            raise ImageError(f"{number} strips or tiles, more than {MAX_STRIPS}: save it again with larger ones")
        if tag in TIFF_TILE_SIDES:
            sides[tag] = struct.unpack_from(order + {3: "H", 4: "I"}.get(kind, "B"), value)[0]
    if held > 4 * size + 2**20:  # in a sound file, none lies upon another
        raise ImageError("cannot be decoded (its tags hold more than the file)")
    return sides.get(322, 0) * sides.get(323, 0)

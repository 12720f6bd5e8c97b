"""What an image file claims, read from its own structure before a library opens it.

A header of twenty bytes can ask for gigabytes. Each check here costs no more than a walk over the file's parts, and
refuses what no photograph has: a canvas, a tile, a number of tags, scans or frames for which the file is too small. The
decoder is then given the file's bytes, without those parts that say nothing about the pixels and may be large. Colours
and kinds of samples that a decoder would silently take for others are refused here too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from ida_rd.core.claim import Claim, ImageError, check_pixels
from ida_rd.core.png_chunks import PNG, png_claim
from ida_rd.core.tiff_tags import TIFF_PREFIXES, tiff_claim

__all__ = ["claim_of", "without_exif"]

MAX_SCANS = 64  # of a progressive JPEG: each is a pass over all pixels; encoders write 10 to 20
MAX_SEGMENTS = 2**14  # of a JPEG before its first scan
MAX_COMMENTS = 2**10  # of a plain PPM
BMP_HEADER, BMP_V5 = 14, 124  # where the second header begins, and the size of that which may have a profile
APP2 = 0xE2
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SEQUENTIAL = (0xC0, 0xC1, 0xC3, 0xC9, 0xCB)


def claim_of(data: bytes) -> Claim:
    """Look at a file's structure; an unknown one is left to the decoder, which knows only a few formats.

    Raises
    ------
    ImageError
        It asks for more than the file can account for.
    """
    if data.startswith(PNG):
        return png_claim(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:4] in TIFF_PREFIXES:
        return tiff_claim(data)
    if data[:2] == b"BM":
        return _bmp(data)
    if data[:2] in (b"P1", b"P2", b"P3") and data.count(b"#") > MAX_COMMENTS:
        raise ImageError(f"more than {MAX_COMMENTS} comments: save it again without")
    return Claim(data)


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _jpeg(data: bytes) -> Claim:
    """Count the segments before the first scan, and the scans; leave out the index of further pictures."""
    channels = 0  # of a sequential image: all of them in the first scan means that there is no other
    kept, begin, more = [], 0, False
    for number, (kind, place) in enumerate(_jpeg_segments(data)):
        if number > MAX_SEGMENTS:
            raise ImageError(f"more than {MAX_SEGMENTS} segments: save it again without metadata")
        if kind in JPEG_FRAMES:
            channels = data[place + 9] if kind in JPEG_SEQUENTIAL and len(data) > place + 9 else -1
        if kind == APP2 and data[place + 4 : place + 8] == b"MPF\0":
            kept.append(data[begin:place])
            begin, more = _behind(data, place), True
        if kind == 0xDA:
            single = len(data) > place + 4 and data[place + 4] == channels
            # What looks like the start of a scan may be something else, up to a film behind the photograph: only where
            # there are many is every marker looked at.
            if not single and data.count(b"\xff\xda", place) > MAX_SCANS and _scans(data, place) > MAX_SCANS:
                raise ImageError(f"more than {MAX_SCANS} scans looks like a decompression bomb: save it again")
    return Claim(b"".join([*kept, data[begin:]]) if kept else data, frames=1, more=more)


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


def _bmp(data: bytes) -> Claim:
    """Find the colour profile, which the decoder does not look for."""
    space = data[BMP_HEADER + 56 : BMP_HEADER + 60]
    if int.from_bytes(data[BMP_HEADER : BMP_HEADER + 4], "little") < BMP_V5 or space not in (b"DEBM", b"KNIL"):
        return Claim(data)
    begin, size = struct.unpack_from("<II", data.ljust(BMP_HEADER + BMP_V5, b"\0"), BMP_HEADER + 112)
    icc = data[BMP_HEADER + begin : BMP_HEADER + begin + size]
    if space == b"KNIL" or not icc:
        raise ImageError("its colour profile is in another file: convert it to sRGB first")
    return Claim(data, icc=icc)

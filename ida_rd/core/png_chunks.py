"""The chunks of a PNG: what they say about colours, transparency and orientation, before a decoder sees them.

Texts are never given to the decoder, since they may be large and compressed; those that may say how the image is
turned are read here, as far as they are not too long. What colours are is decided as the PNG specification orders it:
by cICP, else iCCP, else sRGB, else gAMA and cHRM.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ida_rd.core.claim import SIXTEEN, Claim, ImageError, check_budget

__all__ = ["PNG", "png_claim"]

MAX_CHUNKS = 2**12  # of a PNG besides its data and texts
LONGEST_TEXT = 2**22  # what stands behind it is not looked at
PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Keys of texts that may say how the image is turned, by how much they count.
EXIF_TEXTS = (b"exif", b"Raw profile type exif", b"Raw profile type APP1")
XMP_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type xmp", b"Raw profile type APP1")
GREY, COLOUR = 0, 2
SRGB_CICP = (1, 13, 0, 1)  # primaries, transfer, no matrix, full range
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05  # libpng takes no difference below 5 % for meant
SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
CHROMATICITY_TOLERANCE = 0.01
CONVERT = "convert it to sRGB first"


class _Header(NamedTuple):
    """IHDR."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlaced: int


def png_claim(data: bytes) -> Claim:
    """Leave out texts, count the chunks, see what the colours are, and that 16-bit data end where the header says.

    Raises
    ------
    ImageError
        Too many chunks, more data than pixels, or colours that are not sRGB and have no ICC profile.
    """
    kept: list[bytes] = []
    idat: list[memoryview] = []
    found: dict[bytes, bytes] = {}  # chunks by their kind, texts by their key
    begin = others = 0  # `begin` is that of the run of chunks that stay
    for place, kind, body, end in _chunks(data):
        if kind == b"IDAT":
            idat.append(body)
            continue
        if kind in TEXTS:
            key = bytes(body[:80]).split(b"\0")[0]
            if key in EXIF_TEXTS or key in XMP_TEXTS:
                found[key] = kind + bytes(body)
            kept.append(data[begin:place])
            begin = end
            continue
        if kind in (b"eXIf", b"tRNS") or (kind in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM") and not idat):
            found[kind] = bytes(body)
        others += 1
        if others > MAX_CHUNKS:
            raise ImageError(f"more than {MAX_CHUNKS} chunks: save it again without metadata")
    header = _Header._make(struct.unpack_from(">IIBBBBB", data.ljust(29, b"\0"), len(PNG) + 8))
    if header.bits == SIXTEEN:
        _check_idat(header, len(data), idat)
    _check_colours(header, found)
    exif = [found[b"eXIf"]] if b"eXIf" in found else []
    exif += [_text(found[key]) for key in EXIF_TEXTS if key in found]
    return Claim(
        b"".join([*kept, data[begin:]]) if kept else data,
        sixteen=header.bits == SIXTEEN,
        transparent=_transparent(header, found.get(b"tRNS")),
        srgb=tuple(found.get(b"cICP", b"")) == SRGB_CICP,
        turns=(tuple(exif), tuple(_text(found[key]) for key in XMP_TEXTS if key in found)),
    )


def _chunks(data: bytes) -> Iterator[tuple[int, bytes, memoryview, int]]:
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


def _check_idat(header: _Header, size: int, chunks: list[memoryview]) -> None:
    width, height = header.width, header.height
    check_budget(width, height, size, weight=2)
    pixel = CHANNELS.get(header.colour, 4) * header.bits // 8
    passes = [(width, height)]
    if header.interlaced:
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


def _check_colours(header: _Header, found: dict[bytes, bytes]) -> None:
    """Refuse colours that are not sRGB where no ICC profile says what they are."""
    cicp = found.get(b"cICP", b"")
    if len(cicp) == len(SRGB_CICP):
        if tuple(cicp) != SRGB_CICP:
            says = f"primaries {cicp[0]}, transfer {cicp[1]}, matrix {cicp[2]}, range {cicp[3]}"
            raise ImageError(f"its cICP chunk says colours other than sRGB ({says}): {CONVERT}")
        return
    if b"iCCP" in found or b"sRGB" in found:
        return
    gamma = int.from_bytes(found.get(b"gAMA", b"")[:4], "big") / 100000
    if gamma and abs(gamma / SRGB_GAMMA - 1) > GAMMA_TOLERANCE:
        raise ImageError(f"its gAMA chunk says gamma {gamma:g}, far from sRGB's {SRGB_GAMMA:.3g}: {CONVERT}")
    chromaticities = found.get(b"cHRM", b"")
    if len(chromaticities) == 32 and header.colour not in (GREY, 4):
        values = [value / 100000 for value in struct.unpack(">8I", chromaticities)]
        far = max(abs(value - right) for value, right in zip(values, SRGB_CHROMATICITIES, strict=True))
        if all(values) and far > CHROMATICITY_TOLERANCE:
            raise ImageError(f"its cHRM chunk says primaries other than sRGB's, and it has no ICC profile: {CONVERT}")


def _transparent(header: _Header, chunk: bytes | None) -> tuple[int, ...] | None:
    """The colour that stands for transparency, in the range that the samples have once they are decoded."""
    channels = {GREY: 1, COLOUR: 3}.get(header.colour)
    if chunk is None or channels is None or len(chunk) < 2 * channels or header.bits not in (1, 2, 4, 8, 16):
        return None
    most = 2**header.bits - 1  # by the specification, further bits do not count
    scale = 1 if header.bits == SIXTEEN else 255 // most
    return tuple((value & most) * scale for value in struct.unpack_from(f">{channels}H", chunk))


def _text(chunk: bytes) -> bytes:
    """Content of a text chunk, of which kind and body are given; empty if it is damaged."""
    kind, (_, _, rest) = chunk[:4], chunk[4:].partition(b"\0")
    packed = kind == b"zTXt"
    if packed:
        rest = rest[1:]
    elif kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, LONGEST_TEXT)
        except zlib.error:
            return b""
    return _raw_profile(rest[:LONGEST_TEXT]) if chunk[4:].startswith(b"Raw profile") else rest[:LONGEST_TEXT]


def _raw_profile(text: bytes) -> bytes:
    """ImageMagick's way to put a file's block into a text: a name, a length, hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""

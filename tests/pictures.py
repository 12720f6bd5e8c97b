"""Image files made byte by byte: chunks, tags and profiles that no library writes, or none writes together."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Array = NDArray[Any]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# How a stored image of each orientation becomes the one that is seen.
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def text_chunk(kind: bytes, key: bytes, text: bytes) -> bytes:
    """A text chunk: plain (``tEXt``), deflated (``zTXt``), or international and deflated (``iTXt``)."""
    body = {
        b"tEXt": key + b"\0" + text,
        b"zTXt": key + b"\0\0" + zlib.compress(text),
        b"iTXt": key + b"\0\1\0\0\0" + zlib.compress(text),
    }
    return chunk(kind, body[kind])


def raw_profile(kind: str, data: bytes) -> bytes:
    """A block as ImageMagick writes it into a text."""
    return f"\n{kind}\n{len(data):8}\n{data.hex()}\n".encode()


def exif_of(orientation: int) -> bytes:
    """EXIF data that say how the image is turned."""
    return b"MM\0\x2a\0\0\0\x08\0\1" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)


def xmp_of(orientation: int, quote: str = '"') -> bytes:
    """XMP that says how the image is turned."""
    return f"<x:xmpmeta><rdf:Description tiff:Orientation={quote}{orientation}{quote}/></x:xmpmeta>".encode()


def iccp(profile: bytes) -> bytes:
    """The chunk of a colour profile."""
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


def png_of(samples: Array, *before: bytes, bits: int | None = None, after: Sequence[bytes] = ()) -> bytes:
    """A PNG of (H, W) or (H, W, 1 to 4) samples, with chunks before and after its data."""
    bits = bits or samples.dtype.itemsize * 8
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if bits < 8:
        digits = (samples[:, :, None] >> np.arange(bits)[::-1]) & 1
        rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    else:
        rows = np.frombuffer(samples.astype(f">u{bits // 8}").tobytes(), np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    parts = (chunk(b"IHDR", header), *before, idat, *after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_further_pictures(count: int = 2) -> bytes:
    """A JPEG with a second picture behind it, and an index of both."""
    pictures = [Image.linear_gradient("L").rotate(90 * i).convert("RGB") for i in range(count)]
    file = io.BytesIO()
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:])
    return file.getvalue()


def lzw(data: bytes) -> bytes:
    """LZW as TIFF has it, in codes of nine bits, each for one byte."""
    codes = []
    for start in range(0, len(data), 250):
        codes += [256, *data[start : start + 250]]
    bits = (np.array([*codes, 257])[:, None] >> np.arange(9)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


PACKERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, bytes),
    "lzw": (5, lzw),
    "deflate": (8, zlib.compress),
}


def page_of(
    samples: Array,
    tags: Mapping[int, int | tuple[int, ...] | bytes] | None = None,
    *,
    packed: str = "none",
    tile: int | None = None,
    rows: int | None = None,
    order: str = "<",
) -> tuple[dict[int, Any], list[bytes]]:
    """Tags and segments of a page of a TIFF of (H, W) or (H, W, channels) samples; `tags` overrule."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    compression, pack = PACKERS[packed]
    rows = rows or height
    found: dict[int, Any] = {
        256: width,
        257: height,
        258: (samples.dtype.itemsize * 8,) * channels,
        259: compression,
        262: 2 if channels > 2 else 1,
        277: channels,
    }
    if tile is None:
        pieces = [samples[y : y + rows] for y in range(0, height, rows)]
        found[278] = rows
    else:
        margins = [(0, -height % tile), (0, -width % tile)] + [(0, 0)] * (samples.ndim - 2)
        whole = np.pad(samples, margins)
        steps = (range(0, whole.shape[0], tile), range(0, whole.shape[1], tile))
        pieces = [whole[y : y + tile, x : x + tile] for y in steps[0] for x in steps[1]]
        found |= {322: tile, 323: tile}
    stored = np.dtype(f"{order}{samples.dtype.str[1:]}")
    segments = [pack(np.ascontiguousarray(piece).astype(stored).tobytes()) for piece in pieces]
    return found | dict(tags or {}), segments


def tiff_of(*pages: tuple[dict[int, Any], list[bytes]], order: str = "<") -> bytes:
    """A TIFF of pages."""
    result = bytearray((b"II\x2a\0" if order == "<" else b"MM\0\x2a") + bytes(4))
    link = 4
    for tags, segments in pages:
        offsets = []
        for segment in segments:
            offsets.append(len(result))
            result += segment + bytes(len(segment) % 2)
        places = (324, 325) if 322 in tags else (273, 279)
        all_tags = tags | {places[0]: tuple(offsets), places[1]: tuple(map(len, segments))}
        entries = b""
        for tag in sorted(all_tags):
            value = all_tags[tag]
            if isinstance(value, bytes):
                kind, count, body = 7, len(value), value
            else:
                numbers = value if isinstance(value, tuple) else (value,)
                kind = 4 if tag in places else 3
                count, body = len(numbers), struct.pack(f"{order}{len(numbers)}{'HI'[kind - 3]}", *numbers)
            if len(body) > 4:
                at, body = len(result), body + bytes(len(body) % 2)
                result += body
                body = struct.pack(order + "I", at)
            entries += struct.pack(order + "HHI", tag, kind, count) + body.ljust(4, b"\0")
        struct.pack_into(order + "I", result, link, len(result))
        link = len(result) + 2 + len(entries)
        result += struct.pack(order + "H", len(all_tags)) + entries + bytes(4)
    return bytes(result)


def curve_of(function: Callable[[Array], Array], entries: int) -> bytes:
    """A sampled tone curve."""
    values = np.rint(65535 * function(np.linspace(0, 1, entries))).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", entries) + values.tobytes()


def gamma_curve(gamma: float) -> bytes:
    """A power."""
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


LINEAR = b"curv\0\0\0\0\0\0\0\0"
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
SRGB_FORMULA = b"para\0\0\0\0\0\3\0\0" + struct.pack(">5i", *(round(value * 65536) for value in SRGB_PARAMETERS))
# Of the primaries and D65, adapted to D50 by Bradford's matrix; columns are red, green and blue.
SRGB_PRIMARIES = ((0.4360, 0.3851, 0.1431), (0.2225, 0.7169, 0.0606), (0.0139, 0.0971, 0.7141))
P3_PRIMARIES = ((0.5151, 0.2920, 0.1571), (0.2412, 0.6922, 0.0666), (-0.0011, 0.0419, 0.7841))
ADOBE_PRIMARIES = ((0.6097, 0.2053, 0.1492), (0.3111, 0.6257, 0.0632), (0.0195, 0.0609, 0.7446))


def decoded(x: Array) -> Array:
    """What sRGB's samples in [0, 1] mean, in linear light."""
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def encoded(x: Array) -> Array:
    """The inverse of `decoded`; what is out of gamut is cut off."""
    x = np.clip(x, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def profile_of(
    curve: bytes,
    primaries: Sequence[Sequence[float]] | None = SRGB_PRIMARIES,
    *,
    name: str = "colours",
    version: int = 2,
) -> bytes:
    """A colour profile of one curve and three primaries, or, without primaries, one of grey."""

    def fixed(values: Sequence[float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = name.encode("utf-16-be")
    title = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + bytes(79)
    if version == 4:
        title = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": title, b"wtpt": fixed((0.9642, 1, 0.8249)), b"cprt": b"text\0\0\0\0none\0"}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for i, colour in enumerate((b"r", b"g", b"b")):
            tags |= {colour + b"XYZ": fixed([row[i] for row in primaries]), colour + b"TRC": curve}
    entries, body = b"", b""
    begin = 132 + 12 * len(tags)
    for key, value in tags.items():
        entries += struct.pack(">4sII", key, begin + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = bytearray(SRGB[:128])
    head[8:12] = bytes((version, 0x30 if version == 4 else 0x40, 0, 0))
    head[16:20] = b"GRAY" if primaries is None else b"RGB "
    whole = bytes(head) + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(whole)) + whole[4:]

"""The directories of a TIFF: which page is the photograph, and whether its samples are of a kind that is read.

A decoder names what it does not know by numbers, and takes some of it for something else: signed samples for unsigned
ones, white for black. What is not read is refused here, in words.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ida_rd.core.claim import SIXTEEN, Claim, ImageError

__all__ = ["TIFF_PREFIXES", "tiff_claim"]

TIFF_PREFIXES = (b"II\x2a\0", b"MM\0\x2a", b"II\0\x2a", b"MM\x2a\0", b"II\x2b\0", b"MM\0\x2b")
MAX_TAGS = 2**12  # of a directory
MAX_ALL_TAGS = 2**15
MAX_STRIPS = 2**17
MAX_FRAMES = 2**10
MAX_VALUES = 16  # of a tag that is looked at
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the numbers that are looked at
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
SAMPLES, PLANAR, TILE_WIDTH, TILE_HEIGHT, SUB_DIRECTORIES = 277, 284, 322, 323, 330
EXTRA, SAMPLE_FORMAT, DNG_VERSION = 338, 339, 50706
COUNTED = (273, 279, 324, 325)  # offsets and lengths of strips and tiles
REDUCED, MASK = 1, 4  # bits of `SUBFILE`
OLD_REDUCED = 2
READ_BITS = (1, 2, 4, 8, SIXTEEN)
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, YCBCR = 0, 1, 2, 5, 6
# Colours that are never read; those that the decoder knows are left to the policy.
COLOURS = {
    4: "a mask",
    9: "ICC Lab colours",
    10: "ITU Lab colours",
    32803: "the raw data of a camera's sensor",
    32844: "LogL samples",
    32845: "LogLuv colours",
    34892: "the linear raw data of a camera",
}
KINDS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex integers", 6: "complex numbers"}
CONVERT = "convert it to 8-bit or 16-bit RGB first"


@dataclass
class _Page:
    """A directory: where it lies, and those of its numbers that are asked for, with the place and type of the first."""

    place: int
    numbers: dict[int, tuple[int, ...]] = field(default_factory=dict)
    places: dict[int, tuple[int, str]] = field(default_factory=dict)

    def first(self, tag: int, otherwise: int = 0) -> int:
        return self.numbers.get(tag, (otherwise,))[0]

    @property
    def reduced(self) -> bool:
        return bool(self.first(SUBFILE) & (REDUCED | MASK)) or self.first(OLD_SUBFILE) == OLD_REDUCED

    def is_small_beside(self, other: _Page) -> bool:
        """Whether it is less wide and less high: a thumbnail, a level of a pyramid."""
        return all(self.first(side) < other.first(side) for side in (WIDTH, HEIGHT))


def tiff_claim(data: bytes) -> Claim:
    """Count directories, tags and strips, choose the photograph among the pages, and look at its kind.

    Raises
    ------
    ImageError
        It asks for more than the file can account for, or is of a kind that is not read.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    pages = _pages(data, order, big=big)
    sized = [page for page in pages if page.first(WIDTH) and page.first(HEIGHT)]
    if not sized:
        return Claim(data, frames=1)  # the decoder will say what it lacks
    candidates = [page for page in sized if not page.reduced] or sized
    largest = max(candidates, key=lambda page: page.first(WIDTH) * page.first(HEIGHT))
    candidates = [page for page in candidates if not page.is_small_beside(largest)]
    chosen = candidates[0]
    if len(candidates) > 1:
        return Claim(data, frames=len(candidates))
    _check_kind(chosen)
    head = bytearray(data[: 16 if big else 8])
    struct.pack_into(order + ("Q" if big else "I"), head, 8 if big else 4, chosen.place)
    sixteen = max(chosen.numbers.get(BITS, (1,))) == SIXTEEN
    inverted = sixteen and chosen.first(PHOTOMETRIC, BLACK_IS_ZERO) == WHITE_IS_ZERO
    if chosen is not pages[0]:
        data = bytes(head) + data[len(head) :]
    if inverted:  # of which the decoder knows only half
        place, code = chosen.places[PHOTOMETRIC]
        black = struct.pack(order + code, BLACK_IS_ZERO)
        data = data[:place] + black + data[place + len(black) :]
    return Claim(
        data,
        frames=1,
        more=len(pages) > 1,
        tile=chosen.first(TILE_WIDTH) * chosen.first(TILE_HEIGHT),
        sixteen=sixteen,
        inverted=inverted,
    )


def _pages(data: bytes, order: str, *, big: bool) -> list[_Page]:
    count, entry, following = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (place,) = struct.unpack_from(order + following, data.ljust(16, b"\0"), 8 if big else 4)
    seen: set[int] = set()
    pages: list[_Page] = []
    held = looked = 0
    while place and place not in seen and len(seen) <= MAX_FRAMES:
        if place + struct.calcsize(order + count) > len(data):
            raise ImageError("cannot be decoded (a directory of its tags lies outside the file)")
        (tags,) = struct.unpack_from(order + count, data, place)
        begin = place + struct.calcsize(order + count)
        step = struct.calcsize(order + entry)
        looked += tags
        if tags > MAX_TAGS or begin + tags * step > len(data) or looked > MAX_ALL_TAGS:
            raise ImageError("cannot be decoded (a directory of its tags is damaged)")
        page = _Page(place)
        for i in range(tags):
            held += _tag(page, data, begin + i * step, order, entry)
        if held > 4 * len(data) + 2**20:  # in a sound file, none lies upon another
            raise ImageError("cannot be decoded (its tags hold more than the file)")
        pages.append(page)
        seen.add(place)
        end = begin + tags * step
        (place,) = struct.unpack_from(order + following, data[end : end + 8].ljust(8, b"\0"))
    return pages


def _tag(page: _Page, data: bytes, place: int, order: str, entry: str) -> int:
    """Take a tag's numbers into the page if they are asked for; return how many bytes it holds elsewhere."""
    tag, kind, number, value = struct.unpack_from(order + entry, data, place)
    length = number * SIZES.get(kind, 1)
    inline = len(value)
    if tag in COUNTED and number > MAX_STRIPS:
        raise ImageError(f"{number} strips or tiles, more than {MAX_STRIPS}: save it again with larger ones")
    if tag <= SAMPLE_FORMAT or tag == DNG_VERSION:
        where = place + struct.calcsize(order + entry) - inline
        if length > inline:
            where = int.from_bytes(value, "little" if order == "<" else "big")
        code, some = FORMATS.get(kind, "B"), min(number, MAX_VALUES)
        if some and where + struct.calcsize(code) * some <= len(data):
            page.numbers[tag] = struct.unpack_from(f"{order}{some}{code}", data, where)
            page.places[tag] = (where, code)
    return length if inline < length <= len(data) else 0  # one that reaches beyond the file is not read


def _check_kind(page: _Page) -> None:
    """Refuse what is not read, or would be read as something else."""
    if DNG_VERSION in page.numbers or (page.first(SUBFILE) & REDUCED and SUB_DIRECTORIES in page.numbers):
        raise ImageError("is the raw file of a camera: develop it, and save it as 8-bit or 16-bit RGB")
    bits, samples = page.numbers.get(BITS, (1,)), page.first(SAMPLES, 1)
    colours = page.first(PHOTOMETRIC, -1)
    if colours in COLOURS:
        raise ImageError(f"holds {COLOURS[colours]}, which are not supported: {CONVERT}")
    kinds = [kind for kind in page.numbers.get(SAMPLE_FORMAT, ()) if kind in KINDS]
    if kinds:
        raise ImageError(f"its samples are {KINDS[kinds[0]]} of {bits[0]} bits, which are not supported: {CONVERT}")
    if unknown := [b for b in bits if b not in READ_BITS]:
        raise ImageError(f"{unknown[0]} bits per sample are not supported: {CONVERT}")
    if len(set(bits)) > 1:
        raise ImageError(f"its samples differ in their bits ({', '.join(map(str, bits))}), not supported: {CONVERT}")
    if bits[0] == SIXTEEN:
        _check_sixteen(page, colours, samples)


def _check_sixteen(page: _Page, colours: int, samples: int) -> None:
    extra = len(page.numbers.get(EXTRA, ()))
    if colours == -1:
        raise ImageError(f"does not say whether its 16-bit samples are grey, colours, or negative: {CONVERT}")
    if colours == CMYK:
        raise ImageError("CMYK with 16 bits per sample is not supported: convert it to sRGB first")
    if colours not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ImageError(f"16 bits per sample are supported in grey and RGB only: {CONVERT}")
    if colours == RGB and page.first(PLANAR, 1) == 2 and samples > 1:
        raise ImageError("16-bit colours in separate planes are not supported: save it with the channels together")
    if colours != RGB and samples > 1:
        what = "grey with alpha" if samples == 2 else f"{samples} grey channels"
        raise ImageError(f"{what} in 16 bits is not supported in a TIFF: {CONVERT}")
    if colours == RGB and (samples not in (3, 4) or extra > 1):
        raise ImageError(f"16-bit RGB with {samples} channels is not supported: save it with three")

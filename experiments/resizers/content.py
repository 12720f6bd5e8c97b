"""The HR images of this experiment: ``python content.py [--photos DIR] [--first N] [--faces DIR]`` writes ``images/``.

Photographs (the sample photographs, or a folder of your own), faces (a folder of your own, or none; portraits that are
larger are reduced, so that a face is in the tile that is cut from each), and images that
are made here by Pillow with its own font, always the same by one seed and one version of Pillow: screenshots with text,
line art, and a flat image. What a file's name begins with is its group: ``photo-``, ``face-``, ``text-``, ``art-`` or
``flat-``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from lineart import KINDS, draw  # type: ignore[import-not-found]
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from ida_rd.core.candidates import candidate_files, read_candidate_file
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_bytes
from ida_rd.core.images import ImageError, png_bytes
from ida_rd.core.seeds import generator

SIDE = 256
COUNT = 12  # of screenshots
SEED = 0
TEXT = (
    "the of and to in is for on with as by at from this that are not or be was one all image pixel filter window file "
    "kernel value table sample function return error width height level colour light search result open save edit view "
    "tools help settings example version network score photograph"
)
WORDS = TEXT.split()
THEMES = (  # paper, ink, panel, accent
    ("#ffffff", "#1a1a1a", "#f0f0f0", "#0a5fd8"),
    ("#1e1e1e", "#d4d4d4", "#2b2b2b", "#3fa36b"),
    ("#fdf6e3", "#43585f", "#eee8d5", "#b58900"),
    ("#0b2545", "#e8eef7", "#13315c", "#ffb703"),
)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UserError("Pillow was built without FreeType, and has no font of any size: reinstall it from PyPI")
    return font


def screenshot(number: int) -> Image.Image:
    """A window with a title, a side bar and lines of text; theme, sizes and words by its number."""
    rng = generator("resizers", SEED, "text", number)
    paper, ink, panel, accent = THEMES[number % len(THEMES)]
    size = (9, 11, 14, 18)[int(rng.integers(4))]
    image = Image.new("RGB", (SIDE, SIDE), paper)
    draw = ImageDraw.Draw(image)
    bar = 22
    draw.rectangle((0, 0, SIDE, bar), fill=panel)
    for k, colour in enumerate(("#e05d4f", "#e3b341", "#4caf50")):
        draw.ellipse((6 + 14 * k, 6, 15 + 14 * k, 15), fill=colour)
    draw.text((56, 4), " ".join(rng.choice(WORDS, 3)), font=_font(11), fill=ink)
    left = int(rng.integers(0, 3)) * 36
    if left:
        draw.rectangle((0, bar, left, SIDE), fill=panel)
        for y in range(bar + 6, SIDE - 12, 16):
            draw.text((4, y), str(rng.choice(WORDS)), font=_font(9), fill=accent if rng.random() < 0.2 else ink)
    y, step = bar + 6, size + 5
    while y < SIDE - step:
        x = left + 6
        while x < SIDE - 8:
            word = str(rng.choice(WORDS))
            draw.text((x, y), word, font=_font(size), fill=accent if rng.random() < 0.08 else ink)
            x += int(draw.textlength(word + " ", font=_font(size)))
        y += step
    width = int(rng.integers(50, 90))
    corner = (SIDE - width - 8, SIDE - 28)
    draw.rectangle((*corner, SIDE - 8, SIDE - 8), fill=accent, outline=ink)
    draw.text((corner[0] + 10, corner[1] + 3), str(rng.choice(WORDS)), font=_font(11), fill=paper)
    return image


def drawing(number: int) -> Image.Image:
    """Line art, every one of another kind; theme and fineness by its number, and no theme goes with a kind."""
    rng = generator("resizers", SEED, "art", number)
    paper, ink, _, accent = THEMES[int(rng.integers(len(THEMES)))]
    return draw(number, SIDE, (paper, ink, accent), rng)


def made() -> Iterator[tuple[str, Image.Image]]:
    """Name and image of all that is made here."""
    for number in range(COUNT):
        yield f"text-{number:02d}", screenshot(number)
    for number in range(len(KINDS)):
        yield f"art-{number:02d}", drawing(number)
    yield "flat-00", Image.new("RGB", (SIDE, SIDE), THEMES[2][0])


def given(group: str, folder: Path | None, first: int | None = None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Name and pixels of the first images of a folder, by name, or of all; None: the sample photographs.

    Faces are reduced by the mean of so many pixels a side as leave `SIDE` of the shorter one.
    """
    source = "sample-photos" if folder is None else "folder"
    path = None if folder is None else str(folder)
    for name, file in sorted(candidate_files(source, path).items())[:first]:
        try:
            pixels = read_candidate_file(file, path)
        except ImageError as error:
            raise UserError(f"{file}: {error}; mend it, or take it out of the folder") from None
        if group == "face" and (times := min(pixels.shape[:2]) // SIDE) > 1:
            pixels = np.asarray(Image.fromarray(pixels).reduce(times))
        yield f"{group}-{name}", pixels


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the HR images of this experiment into images/.")
    parser.add_argument("--photos", type=Path, help="folder of photographs; without it, the sample photographs")
    parser.add_argument("--faces", type=Path, help="folder of faces; without it, there are none")
    parser.add_argument("--first", type=int, metavar="N", help="so many photographs, by name; without it, all")
    arguments = parser.parse_args()
    if arguments.first is not None and arguments.first < 1:
        raise UserError(f"--first {arguments.first}: give 1 or more")
    if not features.check("freetype2"):
        raise UserError("Pillow was built without FreeType, and has no font of any size: reinstall it from PyPI")
    counts: dict[str, int] = {}
    with atomic_folder(Path("images")) as folder:
        for name, image in made():
            write_bytes(folder / f"{name}.png", png_bytes(np.asarray(image)))
            counts[name.split("-")[0]] = counts.get(name.split("-")[0], 0) + 1
        faces = given("face", arguments.faces) if arguments.faces else ()
        for name, pixels in chain(given("photo", arguments.photos, arguments.first), faces):
            write_bytes(folder / f"{name}.png", png_bytes(pixels))
            counts[name.split("-")[0]] = counts.get(name.split("-")[0], 0) + 1
    print(f"images: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    print(f"balance.size in params.yaml: {sum(counts.values())} takes one tile of each")


if __name__ == "__main__":
    exit_with_line(main)

"""Training photographs: which there are, which are taken, and that none of them is a test image."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ida_rd.adapt.contract import Adaptation, parts_of
from ida_rd.core.errors import UserError, printable
from ida_rd.core.hashes import file_hashes
from ida_rd.core.images import ImageError, image_files, read_header, read_image
from ida_rd.training.patches import training_files

__all__ = [
    "Listed",
    "TestImage",
    "check_disjoint",
    "choose",
    "credit_rows",
    "listed",
    "note_small",
    "read_photograph",
    "with_lr",
]

Pixels = NDArray[np.uint8]
MOST_NAMES = 3


Listed = Mapping[str, tuple[int, str]]  # file name to smallest side, in pixels, and SHA-256


def listed(adaptation: Adaptation, *, where: str) -> Listed:
    """The photographs of a folder, sorted by name; `where` is the key in ``params.yaml``, for messages."""
    folder = Path(adaptation.images).expanduser()
    try:
        paths = [path for path, _ in training_files(folder, adaptation.exclude_licence or "")]
    except UserError as error:
        raise UserError(f"{where}.images: {str(error).removeprefix('training images: ')}") from None
    if not paths:
        raise UserError(f"{where}.images: exclude_licence leaves no photograph of {folder}: change it")
    found = zip(paths, file_hashes(paths), strict=True)
    return dict(sorted((path.name, (_side(path, where), sha256)) for path, sha256 in found))


def choose(found: Listed, adaptation: Adaptation, least: int, *, where: str) -> tuple[dict[str, str], int]:
    """Choose the training photographs.

    Parameters
    ----------
    found : mapping
        From `listed`.
    adaptation : Adaptation
    least : int
        Smallest side that a photograph must have, in pixels; smaller ones are left out.
    where : str
        Key in ``params.yaml``, for messages.

    Returns
    -------
    files : dict
        File name to SHA-256, of those that are taken.
    small : int
        How many were left out as too small.
    """
    hashes = {name: sha256 for name, (side, sha256) in found.items() if side >= least}
    small = len(found) - len(hashes)
    if not hashes:
        raise UserError(
            f"{where}.images: none of the {small} photographs in {adaptation.images} has {least} x {least} pixels,"
            " which patches with their margins take: give larger ones, or a smaller patch"
        )
    if adaptation.fold is not None:
        part, count = parts_of(adaptation.fold)
        # By content, so that it does not go by how files are called.
        ordered = sorted(hashes, key=lambda name: (hashes[name], name))
        left_out = {name for i, name in enumerate(ordered) if i % count == part - 1}
        if len(left_out) == len(ordered):
            raise UserError(f"{where}.fold: {adaptation.fold} of {len(ordered)} photographs leaves none: give more")
        hashes = {name: sha256 for name, sha256 in hashes.items() if name not in left_out}
    return hashes, small


def _side(path: Path, where: str) -> int:
    try:
        width, height, _ = read_header(path)
    except ImageError as error:
        raise UserError(f"{where}.images: {path}: {error}; or remove it") from None
    return min(width, height)


def with_lr(files: Mapping[str, str], folder: Path, images: Path, factor: int, *, where: str) -> dict[str, str]:
    """Pair training photographs with LR images that were made elsewhere; return the files' SHA-256 by file name.

    Raises
    ------
    UserError
        One is missing, or its size times the factor is not that of its photograph.
    """
    found = image_files(folder, what=f"{where}.lr")
    stems = {Path(name).stem: name for name in files}
    if missing := sorted(stems.keys() - found.keys()):
        raise UserError(
            f"{where}.lr: {folder} has no LR image of {len(missing)} training photographs ({_some(missing)}): each"
            " needs one of the same name"
        )
    for stem, name in stems.items():
        try:
            width, height, _ = read_header(found[stem])
            big = read_header(images / name)[:2]
        except ImageError as error:
            raise UserError(f"{where}.lr: {found[stem]}: {error}") from None
        if (width * factor, height * factor) != big:
            raise UserError(
                f"{where}.lr: {found[stem]} is {width} x {height} pixels, and its photograph {big[0]} x {big[1]} is not"
                f" {factor} times that: crop the photographs to multiples of {factor} first"
            )
    paths = [found[stem] for stem in stems]
    return dict(zip([path.name for path in paths], file_hashes(paths), strict=True))


def _some(names: list[str]) -> str:
    return printable(", ".join(names[:MOST_NAMES])) + (", ..." if len(names) > MOST_NAMES else "")


@dataclass(frozen=True)
class TestImage:
    """A test image, and where in its photograph it lies.

    Attributes
    ----------
    name : str
    pixels : ndarray
        (H, W, 3), uint8.
    x, y : int
        Its place in the photograph.
    sha256 : str
        Of the photograph's file; empty if not known.
    """

    __test__ = False  # no test of pytest's

    name: str
    pixels: Pixels
    x: int = 0
    y: int = 0
    sha256: str = ""

    def in_photograph(self, photograph: Pixels) -> bool:
        """Whether a photograph is this image, or has these very pixels where this image was cut out."""
        places = {(self.y, self.x)} | ({(0, 0)} if photograph.shape == self.pixels.shape else set())
        height, width = self.pixels.shape[:2]
        for y, x in places:
            part = photograph[y : y + height, x : x + width]
            # The first row tells nearly always, and spares the others.
            same = part.shape == self.pixels.shape and np.array_equal(part[0], self.pixels[0])
            if same and np.array_equal(part, self.pixels):
                return True
        return False


def check_disjoint(files: Mapping[str, str], folder: Path, test: Iterable[TestImage], *, where: str) -> None:
    """Refuse training photographs that are test images, by their files and by their pixels.

    Parameters
    ----------
    files : mapping
        Training photographs: file name to SHA-256.
    folder : Path
        Where they are.
    test : iterable of TestImage
    where : str
        For messages.

    Raises
    ------
    UserError
        Names the first of them.
    """
    test = list(test)
    by_file = {one.sha256: one.name for one in test if one.sha256}
    found = {name: by_file[sha] for name, sha in files.items() if sha in by_file}
    for name in files.keys() - found.keys():
        pixels = read_photograph(folder / name, files[name])
        same = next((one.name for one in test if one.in_photograph(pixels)), None)
        if same is not None:
            found[name] = same
    if found:
        first = min(found)
        more = f" (and {len(found) - 1} more are)" if len(found) > 1 else ""
        raise UserError(
            f"{where}: the training photograph {folder / first} is the test image {found[first]}{more}: a decoder that"
            " has seen the answer proves nothing; take them out of one of the two"
        )


def read_photograph(path: Path, sha256: str | None) -> Pixels:
    """Read a training photograph, which must be the one that the recipe names."""
    try:
        return read_image(path, sha256=sha256)
    except ImageError as error:
        raise UserError(f"training photograph {path}: {error}; mend it or take it out, then run again") from None


def note_small(recipe: Mapping[str, Any], where: str) -> None:
    """Say on standard error that photographs are too small, by the recipe of an adaptation."""
    if count := recipe["small"]:
        text = "1 training photograph is" if count == 1 else f"{count} training photographs are"
        print(f"note: {where}: {text} too small for the patches and left out", file=sys.stderr, flush=True)


def credit_rows(folder: Path, files: Iterable[str], exclude_licence: str | None) -> list[dict[str, Any]]:
    """Licence, author and so on of each photograph, as far as ``LICENSES.csv`` says."""
    rows = {path.name: row for path, row in training_files(folder, exclude_licence or "")}
    return [{"file": name, **rows.get(name, {})} for name in files]

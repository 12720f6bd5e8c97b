"""HR candidates: the images that a run may choose its test set from.

Nothing is copied: a candidate is a file, its hash, and a rectangle in it. Two sources exist:
``sample-photos``, everyday photographs inside the packages scikit-image, scikit-learn and matplotlib, and
``folder``, any folder of images. Candidates of one photograph are no independent observations: every one
knows its photograph.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError, printable
from ida_rd.core.hashes import file_hashes
from ida_rd.core.images import EXTENSIONS, ImageError, image_files, read_header, read_image
from ida_rd.core.leftovers import left_out
from ida_rd.core.names import check_ids

__all__ = [
    "SAMPLE_PHOTOS",
    "Candidate",
    "candidate_files",
    "check_sizes",
    "cut",
    "fingerprint",
    "listing",
    "photograph_of",
    "photographs",
    "read_candidate_file",
    "rectangles",
    "source_path",
    "whole_sizes",
]

# Package and path in it. Everyday photographs, the last five of scikit-image's grey; the terms of each are in
# docs/data.md.
SAMPLE_PHOTOS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/coins.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)

MOST_NAMES = 5  # of files in a note
MAX_PARTS = 16  # of a pattern
MAX_RECURSIVE = 1  # each more takes as long again for every folder


@dataclass(frozen=True)
class Candidate:
    """A rectangle of an image file.

    Attributes
    ----------
    image_id : str
        Name of the candidate; the names of all later files are made from it.
    file : str
        ``package:path`` or a file name in the source folder.
    x, y, width, height : int
        The rectangle, in pixels.
    sha256 : str
        Of the file's bytes.
    """

    image_id: str
    file: str
    x: int
    y: int
    width: int
    height: int
    sha256: str


def candidate_files(source: str, folder: str | None, pattern: str | None = None) -> dict[str, str]:
    """Map the source's image ids to its files (``package:path``, or names in `folder`), in order of id."""
    if source == "sample-photos":
        files = {Path(path).stem: f"{package}:{path}" for package, path in SAMPLE_PHOTOS}
        return dict(sorted(files.items()))
    assert folder is not None
    root = Path(folder).expanduser()
    if pattern is not None:
        _check_pattern(pattern)
    if pattern is not None and "/" in pattern:
        return _nested_files(root, pattern)
    return {image_id: path.name for image_id, path in image_files(root, what="images.path", pattern=pattern).items()}


def photograph_of(file: str, before: str | None) -> str:
    """Name of the photograph that a `Candidate.file` is of, or is a tile of.

    It is the file's name without folder and suffix, and without all from the last `before` on, if that is in it. A
    name that begins with `before` is not cut.
    """
    stem = unicodedata.normalize("NFC", PurePosixPath(file).stem)
    end = stem.rfind(before) if before else -1
    return stem[:end] if end > 0 else stem


def photographs(files: Iterable[str], before: str | None) -> dict[str, list[str]]:
    """Map every photograph to its files.

    Raises
    ------
    UserError
        No name has `before` in it, or what is left of one cannot be a name.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(photograph_of(file, before), []).append(file)
    if before is not None:
        check_ids(found, "images.photograph_before")
        if all(photograph_of(file, None) == name for name, of in found.items() for file in of):
            raise UserError(
                f"images.photograph_before: no file's name has {before!r} after its first character: correct it, or"
                " leave it out if each file is a photograph of its own"
            )
    return found


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that leaves the folder, or that takes time without end."""
    parts = pattern.replace(os.sep, "/").split("/")
    if os.path.isabs(pattern) or os.path.splitdrive(pattern)[0] or not parts[0] or ".." in parts:
        raise UserError(f"images.pattern: {pattern} leaves the folder images.path: give one below it, without ..")
    if "\0" in pattern:
        raise UserError("images.pattern: holds a character that no file name has")
    if parts.count("**") > MAX_RECURSIVE or len(parts) > MAX_PARTS:
        raise UserError(f"images.pattern: {pattern[:80]} is too deep: one ** and {MAX_PARTS} parts at most")


def _nested_files(root: Path, pattern: str) -> dict[str, str]:
    """Images in sub-folders, such as FFHQ's, by a pattern such as ``*/*.png``; each name may be there only once."""
    if not root.is_dir():
        raise UserError(f"images.path: {root} is not a folder; give the path of a folder of images")
    found: dict[str, str] = {}
    for file in glob.glob(pattern, root_dir=root, recursive=True):  # strings: Paths would take longer than all the rest
        name = os.path.basename(file)
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in EXTENSIONS or name.startswith(".") or not os.path.isfile(f"{root}/{file}"):
            continue
        image_id = unicodedata.normalize("NFC", stem)
        if image_id in found:
            raise UserError(
                f"images.path: {root / found[image_id]} and {root / file} have the same name: rename one of them"
            )
        found[image_id] = file.replace(os.sep, "/")
    if not found:
        others = left_out(root, EXTENSIONS, pattern)
        raise UserError(f"images.path: {root} holds no image named {pattern}" + (f"; {others}" if others else ""))
    return dict(sorted(found.items()))


def source_path(file: str, folder: str | None) -> Path:
    """Path on this machine of a `Candidate.file`."""
    if folder is not None:
        return Path(folder).expanduser() / file
    package, _, inside = file.partition(":")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {package}, which holds the sample photographs, is not installed: run `make env`")
    return Path(next(iter(spec.submodule_search_locations))) / inside


def listing(source: str, folder: str | None, pattern: str | None = None) -> dict[str, str]:
    """Size of every file of the source, by file name: for sets so large that only what is chosen is opened."""
    files = candidate_files(source, folder, pattern).values()
    if folder is None:
        return {file: f"{source_path(file, folder).stat().st_size} bytes" for file in files}
    root = Path(folder).expanduser()
    return {file: f"{os.stat(f'{root}/{file}').st_size} bytes" for file in files}


def fingerprint(source: str, folder: str | None, pattern: str | None = None) -> dict[str, str]:
    """SHA-256 of every file of the source, by file name; unchanged files are not read again."""
    files = candidate_files(source, folder, pattern).values()
    paths = [source_path(file, folder) for file in files]
    for path in paths if folder is None else []:
        if not path.is_file():
            raise UserError(f"{path}: the sample photograph is missing from its package; reinstall the environment")
    return dict(zip(files, file_hashes(paths), strict=True))


def check_sizes(
    source: str,
    folder: str | None,
    pattern: str | None,
    crop: int | None,
    multiple: int,
    *,
    all_files: bool = True,
    resize: int | None = None,
) -> int | None:
    """Refuse images too small for `crop`, `resize` or `multiple` by their headers; see `rectangles`.

    What is left out, of the folder or of files with more than one image, is said on standard error. Without `all_files`
    the first image stands for all. A header that cannot be read is left to the stage that reads the whole file and
    reports all that is wrong.

    Returns
    -------
    int or None
        The smallest side of all HR images, in pixels; None if no header can be read.
    """
    small, sides, more = [], [], []
    if folder is not None and (others := left_out(Path(folder).expanduser(), EXTENSIONS, pattern)):
        print(f"note: {printable(others)}", file=sys.stderr)
    files = list(candidate_files(source, folder, pattern).items())
    for image_id, file in files if all_files else files[:1]:
        try:
            width, height, further = read_header(source_path(file, folder))
        except ImageError:
            continue
        if further:
            more.append(file)
        try:
            places = rectangles(image_id, width, height, crop, multiple, resize)
            sides += [resize or min(w, h) for _, _, _, w, h in places]
        except ImageError as error:
            small.append(f"{file}: {error}")
    if more:
        count = "1 file holds" if len(more) == 1 else f"{len(more)} files hold"
        some = printable(", ".join(more[:MOST_NAMES])) + (", ..." if len(more) > MOST_NAMES else "")
        print(f"note: {count} more than one image: the first is taken ({some})", file=sys.stderr)
    if small:
        rest = f"; and {len(small) - 5} more" if len(small) > 5 else ""
        raise UserError(f"{'; '.join(small[:5])}{rest}: remove them, or choose a smaller crop or factor")
    return min(sides, default=None)


def whole_sizes(
    source: str, folder: str | None, pattern: str | None, multiple: int, *, all_files: bool = True
) -> dict[tuple[int, int], str]:
    """Height and width of whole images as candidates, by their headers, each with the first file that has it."""
    found: dict[tuple[int, int], str] = {}
    files = list(candidate_files(source, folder, pattern).items())
    for image_id, file in files if all_files else files[:1]:
        with suppress(ImageError):
            width, height, _ = read_header(source_path(file, folder))
            for _, _, _, w, h in rectangles(image_id, width, height, None, multiple):
                found.setdefault((h, w), file)
    return found


def rectangles(
    image_id: str, width: int, height: int, crop: int | None, multiple: int, resize: int | None = None
) -> list[tuple[str, int, int, int, int]]:
    """Cut an image into candidates: ``(image_id, x, y, width, height)``.

    Parameters
    ----------
    crop : int or None
        Side of the non-overlapping square tiles, in pixels; the grid is centred. None: the whole
        image, centre-cropped to a multiple of `multiple` pixels.
    multiple : int
        Least common multiple of the scale factors.
    resize : int or None
        Side that the candidates are reduced to afterwards: without `crop`, the candidate is the largest centred square.

    Raises
    ------
    ImageError
        The image is too small.
    """
    if crop is None and resize is not None:
        side = min(width, height)
        if side < resize:
            raise ImageError(f"{width} x {height} pixels, smaller than images.resize = {resize}, and none is enlarged")
        return [(image_id, (width - side) // 2, (height - side) // 2, side, side)]
    if crop is None:
        w, h = width - width % multiple, height - height % multiple
        if not w or not h:
            raise ImageError(f"{width} x {height} pixels, smaller than the scale factor {multiple}")
        return [(image_id, (width - w) // 2, (height - h) // 2, w, h)]
    columns, rows = width // crop, height // crop
    if not columns or not rows:
        raise ImageError(f"{width} x {height} pixels, smaller than images.crop = {crop}")
    x0, y0 = (width - columns * crop) // 2, (height - rows * crop) // 2
    if columns == rows == 1:
        return [(image_id, x0, y0, crop, crop)]
    return [
        (f"{image_id}-r{r:02d}c{c:02d}", x0 + c * crop, y0 + r * crop, crop, crop)
        for r in range(rows)
        for c in range(columns)
    ]


def cut(image: NDArray[np.uint8], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return the rectangle of `image` as a contiguous array."""
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def read_candidate_file(file: str, folder: str | None, *, sha256: str | None = None) -> NDArray[np.uint8]:
    """Read a candidate's whole image; see `ida_rd.core.images.read_image` for the policy and `sha256`."""
    return read_image(source_path(file, folder), sha256=sha256)

"""Age and gender of FFHQ's 70,000 faces, from the DCGM data set's JSON files (Microsoft Face API, CC BY-NC-SA 4.0).

One file per image, ``00000.json``: a list with one entry per face, of which the largest counts. An image in which no
face was found has an empty list, and no attributes. The labels are a classifier's opinions.

References
----------
.. [1] github.com/DCGM/ffhq-features-dataset
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, decoding
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.readers import parse_json, read_content

__all__ = ["NAMES", "TERMS", "Parameters", "files", "lookup", "names"]

HARMLESS = ()
TERMS = "CC BY-NC-SA 4.0, non-commercial"
FILE_LIMIT = MEBIBYTE  # the largest of the 70,000 has 50 kB
TOTAL_LIMIT = 2048 * MEBIBYTE
RATIO = 100  # such text shrinks to a tenth
MEMBERS = 1_000_000
HINT = "get the archive again"
NAMES = ("age", "gender", "smile", "glasses", "yaw", "pitch", "roll", "faces")


class Parameters(Base):
    """Parameters of `lookup`."""

    path: str = Field(
        min_length=1, max_length=4096, description="folder of the JSON files, or zip archive that holds them"
    )


def names(parameters: Parameters) -> tuple[str, ...]:
    """What this source provides; ``faces`` is how many were found."""
    return NAMES


def files(parameters: Parameters) -> list[Path]:
    """The archive, or all files of the folder: their content is part of the recipe."""
    path = Path(parameters.path).expanduser()
    if path.is_dir():
        found = sorted(path.rglob("*.json"))
        if not found:
            raise UserError(f"{path}: holds no .json file")
        return found
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the folder of JSON files or the zip archive")
    return [path]


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every JSON file."""
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield str(file), read_content(file, hint="remove it", limit=FILE_LIMIT)
        return
    with decoding(f"{path}: not a complete zip archive", HINT):
        archive = zipfile.ZipFile(path)
    with archive:
        members = sorted(
            (member for member in archive.infolist() if member.filename.endswith(".json")),
            key=lambda member: member.filename,
        )
        if not members:
            raise UserError(f"{path}: holds no .json file")
        _check_members(path, archive, members)
        for member in members:
            with decoding(f"{path}: {member.filename} cannot be extracted", HINT):
                content = archive.read(member)
            yield member.filename, content


def _check_members(path: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Refuse, before anything is extracted, what would take more than labels do."""
    if len(archive.infolist()) > MEMBERS:
        raise UserError(f"{path}: holds more than {MEMBERS:,} files: {HINT}")
    for member in members:
        if member.file_size > FILE_LIMIT:
            raise UserError(
                f"{path}: {member.filename} has {member.file_size:,} bytes, more than the {FILE_LIMIT:,} of a file of"
                f" labels: {HINT}"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{path}: {member.filename} is neither stored nor deflated: pack the archive again")
    size = path.stat().st_size
    if sum(member.compress_size for member in archive.infolist()) > size:
        raise UserError(f"{path}: its files overlap: {HINT}")
    total = sum(member.file_size for member in members)
    if total > min(TOTAL_LIMIT, max(32 * MEBIBYTE, RATIO * size)):
        raise UserError(f"{path}: would have {total:,} bytes when extracted, too many for files of labels: {HINT}")


def lookup(parameters: Parameters) -> pd.DataFrame:
    """Read all files, indexed by image id (the file's name); what is not known is missing.

    Returns
    -------
    DataFrame
        ``age`` (years), ``gender`` (female, male), ``smile`` [0, 1], ``glasses`` (label), ``yaw``, ``pitch``, ``roll``
        (degrees), ``faces`` (count).

    Raises
    ------
    UserError
        A file that is not of this form, or an image with two files.
    """
    rows: dict[str, dict[str, object]] = {}
    for name, content in _contents(Path(parameters.path).expanduser()):
        image_id = PurePosixPath(name).stem
        if image_id in rows:
            raise UserError(f"{parameters.path}: {image_id} has two files; keep one")
        faces = parse_json(content, f"{name}: is not a file of ffhq-features: it")
        with decoding(f"{name}: is not a file of ffhq-features"):
            rows[image_id] = _row(faces)
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(NAMES)).rename_axis("image_id")


def _row(faces: list[dict]) -> dict[str, object]:
    if not isinstance(faces, list):
        raise TypeError("it is not a list of faces")
    if not faces:
        return {"faces": 0}
    try:
        return _described(faces)
    except KeyError as error:
        raise ValueError(f"has no {error}") from None


def _described(faces: list[dict]) -> dict[str, object]:
    largest = max(faces, key=lambda face: face["faceRectangle"]["width"] * face["faceRectangle"]["height"])
    found = largest["faceAttributes"]
    pose = found["headPose"]
    return {
        "age": _number(found["age"]),
        "gender": str(found["gender"]),
        "smile": _number(found["smile"]),
        "glasses": str(found["glasses"]),
        "yaw": _number(pose["yaw"]),
        "pitch": _number(pose["pitch"]),
        "roll": _number(pose["roll"]),
        "faces": len(faces),
    }


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number

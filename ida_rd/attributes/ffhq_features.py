"""Age and gender of FFHQ's 70,000 faces, from the DCGM data set's JSON files (Microsoft Face API, CC BY-NC-SA 4.0).

One file per image, ``00000.json``: a list with one entry per face, of which the largest counts. An image in which no
face was found has an empty list, and no attributes. The labels are a classifier's opinions.

References
----------
.. [1] github.com/DCGM/ffhq-features-dataset
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base

__all__ = ["NAMES", "TERMS", "Parameters", "files", "lookup", "names"]

HARMLESS = ()
TERMS = "CC BY-NC-SA 4.0, non-commercial"
NAMES = ("age", "gender", "smile", "glasses", "yaw", "pitch", "roll", "faces")


class Parameters(Base):
    """Parameters of `lookup`."""

    path: str = Field(description="folder of the JSON files, or zip archive that holds them")


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
            yield str(file), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(name for name in archive.namelist() if name.endswith(".json"))
            if not members:
                raise UserError(f"{path}: holds no .json file")
            for name in members:
                yield name, archive.read(name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: not a complete zip archive ({error})") from None


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
        try:
            faces = json.loads(content)
            rows[image_id] = _row(faces)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise UserError(f"{name}: is not a file of ffhq-features ({reason})") from None
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(NAMES)).rename_axis("image_id")


def _row(faces: list[dict]) -> dict[str, object]:
    if not isinstance(faces, list):
        raise TypeError("it is not a list of faces")
    if not faces:
        return {"faces": 0}
    largest = max(faces, key=lambda face: face["faceRectangle"]["width"] * face["faceRectangle"]["height"])
    found = largest["faceAttributes"]
    pose = found["headPose"]
    return {
        "age": float(found["age"]),
        "gender": str(found["gender"]),
        "smile": float(found["smile"]),
        "glasses": str(found["glasses"]),
        "yaw": float(pose["yaw"]),
        "pitch": float(pose["pitch"]),
        "roll": float(pose["roll"]),
        "faces": len(faces),
    }

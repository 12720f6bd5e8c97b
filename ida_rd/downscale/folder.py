"""LR images that were made elsewhere: a folder, paired with the HR images by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, image_files, read_image
from ida_rd.core.methods import Parameters as Base

__all__ = ["REACH", "Parameters", "check_inputs", "downscale", "files"]

HARMLESS = ()
REACH = None  # unknown


class Parameters(Base):
    """Where the LR images are."""

    path: str = Field(
        description="folder of the LR images, named like those in data/hr; {factor} in it becomes the scale factor"
    )

    @field_validator("path")
    @classmethod
    def _not_empty(cls, path: str) -> str:
        if not path.strip():
            raise ValueError("give a folder")
        return path


def _folder(path: str, factor: int) -> Path:
    return Path(path.replace("{factor}", str(factor))).expanduser()


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The LR files: their content is part of the recipe."""
    return list(image_files(_folder(parameters.path, factor), what="downscaler folder").values())


def check_inputs(sizes: Mapping[str, tuple[int, int]], factor: int, path: str) -> None:
    """Check names and sizes of all LR images before anything is written.

    Parameters
    ----------
    sizes : mapping
        image id to the (h, w) that its LR image must have.
    """
    folder = _folder(path, factor)
    found = image_files(folder, what="downscaler folder")
    problems = []
    if missing := sorted(sizes.keys() - found.keys()):
        problems.append(f"{len(missing)} LR images are missing ({_some(missing)})")
    if extra := sorted(found.keys() - sizes.keys()):
        problems.append(f"{len(extra)} have no HR image ({_some(extra)})")
    for image_id in sorted(sizes.keys() & found.keys()):
        try:
            shape = read_image(found[image_id]).shape[:2]
        except ImageError as error:
            problems.append(f"{found[image_id].name}: {error}")
            continue
        if shape != tuple(sizes[image_id]):
            h, w = sizes[image_id]
            problems.append(f"{found[image_id].name} is {shape[1]} x {shape[0]}, expected {w} x {h} (HR / {factor})")
    if problems:
        raise UserError(f"{folder}: {'; '.join(problems)}. Each image of data/hr needs one LR image of the same name")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    image_id: str,
    files: Mapping[str, str],
    path: str,
) -> NDArray[np.uint8]:
    """Return the LR image (h, w, 3), uint8, that the folder holds for `image_id`; `files` says what its content is."""
    factor = hr.shape[0] // size[0]
    file = image_files(_folder(path, factor), what="downscaler folder").get(image_id)
    if file is None:
        raise UserError(f"{path} holds no LR image of it any more; run `make repro` again")
    try:
        return read_image(file, sha256=files.get(file.name))
    except ImageError as error:
        raise UserError(f"{file}: {error}; run `make repro` again") from None

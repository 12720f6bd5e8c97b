"""The sample photographs as images: the default corpus of ``ida-rd assert``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ida_rd.core.candidates import candidate_files, source_path
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder
from ida_rd.core.images import read_image, write_png

__all__ = ["SIDE", "sample_photographs", "write_photographs"]

SIDE = 256


def sample_photographs() -> dict[str, NDArray[np.uint8]]:
    """The middle `SIDE` x `SIDE` pixels of each sample photograph, by name."""
    found = {}
    for name, file in candidate_files("sample-photos", None).items():
        image = read_image(source_path(file, None))
        y, x = ((side - SIDE) // 2 for side in image.shape[:2])
        found[name] = np.ascontiguousarray(image[y : y + SIDE, x : x + SIDE])
    return found


def write_photographs(folder: Path, *, ppm: bool = False) -> int:
    """Write them as PNG or PPM into a new folder, all or none; return how many."""
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already: give a new folder")
    images = sample_photographs()
    with atomic_folder(folder) as made:
        for name, image in images.items():
            if ppm:
                Image.fromarray(image).save(made / f"{name}.ppm")
            else:
                write_png(made / f"{name}.png", image)
    return len(images)

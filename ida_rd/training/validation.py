"""Images of validation: read, cropped at their centre, and none of them a training photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.images import ImageError, read_image
from ida_rd.training.patches import Pixels, photo_files

__all__ = ["centre_crop", "check_held_out", "validation_files", "validation_images"]


def validation_files(folder: Path) -> list[Path]:
    """The JPEG and PNG files of a folder, by name."""
    if not folder.is_dir():
        raise UserError(f"validation images: {folder} is not a folder; give --validation a folder of images")
    files = photo_files(folder)
    if not files:
        raise UserError(f"validation images: {folder} holds no .jpg or .png file")
    return files


def validation_images(folder: Path, count: int) -> Iterator[tuple[Path, Pixels]]:
    """The first `count` images of a folder, (H, W, 3), uint8, with their files."""
    for path in validation_files(folder)[:count]:
        try:
            image = read_image(path)
        except ImageError as error:
            raise UserError(f"validation images: {path}: {error}; or remove it") from None
        yield path, image


def centre_crop(image: Pixels, height: int, width: int) -> Pixels:
    """The middle of an image (H, W, 3)."""
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def check_held_out(photographs: Sequence[Path], validation: Path, sha256: Callable[[Path], str] = sha256_file) -> None:
    """Refuse validation images that are training photographs, whatever they are called: by their content.

    `sha256` hashes a photograph.
    """
    held_out = {sha256_file(path): path for path in (photo_files(validation) if validation.is_dir() else ())}
    sizes = {path.stat().st_size for path in held_out.values()}
    for path in photographs:  # few others share a size: these alone are read
        if path.stat().st_size in sizes and (same := held_out.get(sha256(path))):
            raise UserError(
                f"validation images: {same} is the training photograph {path}: take it out of one of the two"
            )

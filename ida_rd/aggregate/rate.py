"""The rate of the rate-distortion plane: how many bits an LR image needs.

IDA-RD compares downscalers at a bound on the information that passes (Liang et al., CVPR 2024, eq. 1). All LR
images of a factor have as many pixels; their lossless code still differs in length: smooth ones need fewer bits.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.engine.local import run_units

__all__ = ["bits_per_hr_pixel", "rates"]


def bits_per_hr_pixel(path: Path, factor: int) -> float:
    """Bits of an LR image as lossless WebP (method 4, quality 75), per pixel of its HR image.

    An upper bound on the image's information: another code may need fewer bits.
    """
    try:
        image = read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro downscale`") from None
    coded = io.BytesIO()
    # Without the container's header (20 bytes of RIFF and chunk), which says nothing of the image.
    Image.fromarray(image).save(coded, format="WEBP", lossless=True, quality=75, method=4)
    height, width = image.shape[:2]
    return 8 * (len(coded.getvalue()) - 20) / (height * width * factor**2)


Unit = tuple[str, int, str, Path]


def _worker() -> Callable[[Unit], float]:
    return _one


def _one(unit: Unit) -> float:
    return bits_per_hr_pixel(unit[3], unit[1])


def rates(folder: Path, branches: list[tuple[str, int]], images: list[str]) -> dict[tuple[str, int, str], float]:
    """Rate of every LR image: (downscaler, factor, image id) to bits per HR pixel.

    Parameters
    ----------
    folder : Path
        ``data/lr``.
    branches : list of (downscaler, factor)
    images : list of str
        Image ids.
    """
    units = [(name, factor, i, folder / f"x{factor}" / name / f"{i}.png") for name, factor in branches for i in images]
    for *_, path in units:
        if not path.is_file():
            raise UserError(f"{path} does not exist: run `dvc repro downscale`")
    found = {unit[:3]: rate for unit, rate in run_units(_worker, units, label="rate")}
    return {unit[:3]: found[unit[:3]] for unit in units}

"""Any external program as a downscaler: it reads ``{input}`` and writes ``{output}``, both PNG.

    {method: command, command: [magick, "{input}", -resize, "{width}x{height}!", "{output}"],
     version: [magick, --version]}

With ``input: jpeg`` it is given a JPEG file instead. Programs that shrink while they decode (libvips' thumbnail, sharp,
``djpeg -scale``) do so for such files alone. The coding takes something away too: compare with a program that is given
the same file and decodes it whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, ValidationInfo, field_validator

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image, write_png
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.programs import argument_files, check_arguments, program_folder, run_program

__all__ = ["REACH", "Parameters", "downscale", "files", "packages", "programs"]

REACH = None  # unknown
HARMLESS = ("timeout_s", "input", "quality", "subsampling")
QUALITY, SUBSAMPLING = 90, "4:2:0"  # what photographs on the web have


class Parameters(Base):
    """The program."""

    command: list[str] = Field(
        description="program and arguments, with {input} and {output}, and {width} and {height} of the LR image"
    )
    version: list[str] | None = Field(
        default=None,
        min_length=1,
        description="program and arguments that print its version; the first line is part of the recipe",
    )
    input: Literal["png", "jpeg"] = Field(default="png", description="what file {input} is")
    quality: int | None = Field(
        default=None, ge=1, le=100, description=f"of the JPEG file, as Pillow counts it; null: {QUALITY}"
    )
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] | None = Field(
        default=None, description=f"of the JPEG file's colours; null: {SUBSAMPLING}"
    )
    timeout_s: float = Field(default=60, gt=0, le=604_800, description="seconds that one image may take")

    @field_validator("command")
    @classmethod
    def _placeholders(cls, command: list[str]) -> list[str]:
        return check_arguments(command, {"input", "output", "width", "height"}, {"input", "output"})

    @field_validator("quality", "subsampling")
    @classmethod
    def _of_jpeg(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        if value is not None and info.data.get("input") == "png":
            raise ValueError("a PNG file has none; leave the key out, or set `input: jpeg`")
        return value


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The files among the arguments: their content is part of the recipe."""
    return argument_files(parameters.command)


def packages(parameters: Parameters) -> dict[str, str]:
    """Whoever codes the JPEG file is part of the recipe."""
    return {"PIL": "pip install pillow"} if parameters.input == "jpeg" else {}


def programs(parameters: Parameters) -> dict[str, list[str]]:
    """The program, and what prints its version."""
    return {Path(parameters.command[0]).name: parameters.version} if parameters.version else {}


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    command: list[str],
    version: list[str] | None = None,
    input: str = "png",
    quality: int | None = None,
    subsampling: str | None = None,
    timeout_s: float = 60,
) -> NDArray[np.uint8]:
    """Run the program on one image.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB; given to the program as a PNG or JPEG file.
    size : tuple of int
        (h, w); ``{height}`` and ``{width}`` of the command.

    Returns
    -------
    ndarray
        (h, w, 3), uint8.

    Raises
    ------
    UserError
        The program fails, hangs, writes nothing, or writes no image of that size.
    """
    with program_folder() as folder:
        source, target = folder / ("input.jpg" if input == "jpeg" else "input.png"), folder / "output.png"
        if input == "jpeg":
            settings = {"quality": quality or QUALITY, "subsampling": subsampling or SUBSAMPLING}
            Image.fromarray(hr).save(source, "JPEG", **settings)
        else:
            write_png(source, hr)
        values = {"input": source, "output": target, "width": size[1], "height": size[0]}
        run_program(command, values, target, timeout_s)
        try:
            lr = read_image(target)
        except ImageError as error:
            raise UserError(f"the output of {command[0]!r} cannot be used: {error}") from None
    if lr.shape[:2] != tuple(size):
        raise UserError(
            f"{command[0]!r} wrote {lr.shape[1]} x {lr.shape[0]} pixels, expected {size[1]} x {size[0]}"
            " (use {width} and {height})"
        )
    return lr

"""Any external program as a downscaler: it reads ``{input}`` and writes ``{output}``, both PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image, write_png
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.programs import argument_files, check_arguments, program_folder, run_program

__all__ = ["REACH", "Parameters", "downscale", "files"]

REACH = None  # unknown
HARMLESS = ("timeout_s",)


class Parameters(Base):
    """The program."""

    command: list[str] = Field(
        description="program and arguments, with {input} and {output}, and {width} and {height} of the LR image"
    )
    timeout_s: float = Field(default=60, gt=0, le=604_800, description="seconds that one image may take")

    @field_validator("command")
    @classmethod
    def _placeholders(cls, command: list[str]) -> list[str]:
        return check_arguments(command, {"input", "output", "width", "height"}, {"input", "output"})


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The files among the arguments: their content is part of the recipe."""
    return argument_files(parameters.command)


def downscale(
    hr: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    rng: np.random.Generator,
    command: list[str],
    timeout_s: float = 60,
) -> NDArray[np.uint8]:
    """Run the program on one image.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB; given to the program as a PNG file.
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
        source, target = folder / "input.png", folder / "output.png"
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

"""Any external program as an upscaler: it reads ``{input}`` and writes ``{output}``, both PNG.

It is run once per sample. ``{seed}`` is a number that differs between samples and images, but not
between downscalers; ``{factor}`` and ``{sample}`` are available too. Declare honestly what it is: IDA-RD
asks for a *blind* and *stochastic* upscaler.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image, write_png
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.programs import argument_files, check_arguments, program_folder, run_program
from ida_rd.core.progress import advance
from ida_rd.core.seeds import Draw
from ida_rd.upscale.contract import Descriptor, Problem, Samples

__all__ = ["CommandUpscaler", "Parameters", "describe", "files", "load"]

HARMLESS = ("factors", "stochastic", "blind", "licence", "timeout_s")


class Parameters(Base):
    """The program, and what it is."""

    command: list[str] = Field(
        description="program and arguments, with {input} and {output}, and, as needed, {factor}, {sample} and {seed}"
    )
    factors: list[Annotated[int, Field(ge=2, le=64)]] = Field(
        min_length=1, max_length=63, description="scale factors that it supports"
    )
    stochastic: bool = Field(description="whether samples of one LR image differ; if not, one is taken")
    blind: bool = Field(default=True, description="whether it is unaware of how the LR image was made")
    licence: str = Field(default="as the program's", description="its terms, as the results will state them")
    timeout_s: float = Field(default=600, gt=0, le=604_800, description="seconds that one sample may take")

    @field_validator("command")
    @classmethod
    def _placeholders(cls, command: list[str]) -> list[str]:
        return check_arguments(command, {"input", "output", "factor", "sample", "seed"}, {"input", "output"})


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The files among the arguments: their content is part of the recipe."""
    return argument_files(parameters.command)


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the program for a factor."""
    if factor not in parameters.factors:
        raise UserError(f"factor {factor} is not among its factors {parameters.factors}")
    return Descriptor(
        factor=factor,
        stochastic=parameters.stochastic,
        blind=parameters.blind,
        licence=parameters.licence,
        weights={},
        kind="program",
        precision="as the program's",
    )


def load(parameters: Parameters, problem: Problem, device: str) -> CommandUpscaler:
    """Return the program as an upscaler; it chooses its device itself."""
    return CommandUpscaler(parameters, problem.factor)


class CommandUpscaler:
    """Runs the program once per sample; see `ida_rd.upscale.contract.Upscaler`."""

    def __init__(self, parameters: Parameters, factor: int) -> None:
        self.parameters, self.factor = parameters, factor

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw."""
        program = self.parameters.command[0]
        shape = (lr.shape[1] * self.factor, lr.shape[2] * self.factor, 3)
        results = []
        with program_folder() as folder:
            source, target = folder / "input.png", folder / "output.png"
            write_png(source, np.ascontiguousarray(lr.transpose(1, 2, 0)))
            for i, draw in enumerate(draws):
                advance(i / len(draws))
                target.unlink(missing_ok=True)
                values = {"input": source, "output": target, "factor": self.factor}
                values |= {"sample": draw.sample, "seed": draw.integer()}
                run_program(self.parameters.command, values, target, self.parameters.timeout_s)
                try:
                    sr = read_image(target)
                except ImageError as error:
                    raise UserError(f"the output of {program!r} cannot be used: {error}") from None
                if sr.shape != shape:
                    raise UserError(
                        f"{program!r} wrote {sr.shape[1]} x {sr.shape[0]} pixels, expected {shape[1]} x {shape[0]}"
                    )
                results.append(sr.transpose(2, 0, 1))
        count = len(draws)
        return Samples(np.stack(results), np.ones(count, dtype=bool), np.zeros(count))

"""A Python function as a downscaler: ``function: package.module.name``.

The function is called as ``function(hr, size, rng=rng, **arguments)`` with hr (H, W, 3) uint8 and
size (h, w), and returns (h, w, 3) uint8. Its module is found like any import, and from the
folder in which the pipeline runs; the module's source is part of the recipe.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.engine.memory import out_of_memory

__all__ = ["RANDOM", "REACH", "Parameters", "downscale", "files"]

RANDOM = True  # the function may use its generator
REACH = None  # unknown


class Parameters(Base):
    """The function and its arguments."""

    function: str = Field(description="dotted path of the function, such as my_methods.halve")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")

    @field_validator("function")
    @classmethod
    def _dotted(cls, function: str) -> str:
        parts = function.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError("give a dotted path to a function, such as my_methods.halve")
        return function


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The function's source file, found without importing it."""
    module = parameters.function.rpartition(".")[0]
    search: list[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    for i in range(1, module.count(".") + 2):
        spec = PathFinder.find_spec(".".join(module.split(".")[:i]), search)
        search = list(spec.submodule_search_locations or []) if spec else []
        if spec is None:
            raise UserError(
                f"function {parameters.function!r}: there is no module {module!r} here or in the environment"
            )
    return [Path(spec.origin)] if spec and spec.origin and Path(spec.origin).is_file() else []


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, function: str, arguments: dict[str, Any]
) -> NDArray[np.uint8]:
    """Call the user's function; see the module's docstring. Raises UserError with what went wrong."""
    module, _, name = function.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        call = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"function {function!r} cannot be imported: {error}") from None
    try:
        return call(hr, size, rng=rng, **arguments)
    except Exception as error:
        if out_of_memory(error):
            raise  # whoever does the work says on which image, and what to do
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        line = f" ({where.tb_frame.f_code.co_filename}:{where.tb_lineno})" if where else ""
        raise UserError(f"function {function!r} raised {type(error).__name__}: {error}{line}") from error

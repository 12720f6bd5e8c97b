"""An upscaler that is an object of the caller's process: for `ida_rd.score` in a notebook.

It becomes the module of a method for as long as it is used, and is run in that process alone: nobody can say what code
and weights it rests on, so its samples are kept for one call only.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters
from ida_rd.upscale.contract import Descriptor, Problem, Upscaler

__all__ = ["as_method"]

_numbers = itertools.count()


@contextmanager
def as_method(upscaler: Any, factor: int) -> Iterator[str]:
    """Yield the name of a method that is `upscaler`.

    Parameters
    ----------
    upscaler : Upscaler
        With ``sample(lr, draws)``; and, if it is not what IDA-RD asks for, a `Descriptor` as attribute
        ``descriptor``. Without one, it is taken to be stochastic and blind.
    factor : int
        Scale factor.

    Raises
    ------
    UserError
        It has no ``sample``, or is for another factor.
    """
    if not callable(getattr(upscaler, "sample", None)):
        raise UserError(
            f"upscaler: {type(upscaler).__name__} has no method sample(lr, draws); give such an object, the name of a"
            " method, or a mapping as in params.yaml"
        )
    known = getattr(upscaler, "descriptor", None) or Descriptor(
        factor=factor, stochastic=True, blind=True, licence="the caller's", weights={}
    )
    if known.factor != factor:
        raise UserError(f"upscaler: its descriptor is for factor {known.factor}, not {factor}")

    def describe(parameters: Parameters, wanted: int) -> Descriptor:
        return known

    def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
        return upscaler

    name = f"ida_rd_given_{next(_numbers)}.upscaler"
    module = ModuleType(name, "An object of the caller's.")
    vars(module).update(Parameters=Parameters, describe=describe, load=load, IN_THIS_PROCESS=True, __file__=__file__)
    sys.modules[name] = module
    try:
        yield name
    finally:
        del sys.modules[name]

"""An upscaler made of upscalers: each enlarges the 8-bit result of the one before.

    srflow-x32:
      method: cascade
      steps:
        - {method: srflow, factor: 8, heat: 1.0}
        - {method: srflow, factor: 4, heat: 0.1}

The factors multiply. Sample k goes its own way through all steps, with random numbers of its own at
each; at the first it has those that the first upscaler would have alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.methods import find_method, validate
from ida_rd.core.seeds import Draw
from ida_rd.upscale.contract import Descriptor, Samples, Upscaler

__all__ = ["Cascade", "Parameters", "combine", "describe", "files", "load"]


class Parameters(Base):
    """``steps``: upscalers from LR to HR; each with its ``method``, its ``factor`` and its own parameters."""

    steps: list[dict[str, Any]] = Field(min_length=2)


def _steps(parameters: Parameters) -> list[tuple[ModuleType, Any, int]]:
    """Method, checked parameters and factor of each step."""
    steps = []
    for i, step in enumerate(parameters.steps):
        where = f"steps.{i}"
        factor = step.get("factor")
        if not isinstance(factor, int) or factor < 2:
            raise UserError(f"{where}.factor: give the factor of this step, a whole number from 2 up")
        if not isinstance(step.get("method"), str):
            raise UserError(f"{where}.method: is missing: name the method of this step")
        module = find_method("upscale", step["method"], where=where)
        given = {key: value for key, value in step.items() if key not in ("method", "factor")}
        steps.append((module, validate(module.Parameters, given, where=where), factor))
    return steps


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The sources of the steps' methods, and the files that these name."""
    found = []
    for module, values, step_factor in _steps(parameters):
        assert module.__file__ is not None
        found.append(Path(module.__file__))
        if hasattr(module, "files"):
            found += module.files(values, step_factor)
    return found


def combine(descriptors: Sequence[Descriptor]) -> Descriptor:
    """Describe a chain of upscalers."""

    def joined(texts: list[str]) -> str:
        return ", then ".join(dict.fromkeys(texts))

    weights: dict[str, str | None] = {}
    for descriptor in descriptors:
        for key, path in descriptor.weights.items():
            if weights.setdefault(key, path) != path:
                raise UserError(f"weights {key} have two paths, {weights[key]} and {path}: give them one")
    return Descriptor(
        factor=math.prod(d.factor for d in descriptors),
        stochastic=any(d.stochastic for d in descriptors),
        blind=all(d.blind for d in descriptors),
        licence=joined([d.licence for d in descriptors]),
        weights=weights,
        precision=joined([d.precision for d in descriptors]),
        tiling=joined([d.tiling for d in descriptors]),
    )


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the chain; raises UserError where its factors do not multiply to `factor`."""
    steps = _steps(parameters)
    total = math.prod(step_factor for *_, step_factor in steps)
    if total != factor:
        raise UserError(f"factor {factor}: the steps multiply to {total}")
    return combine([module.describe(values, step_factor) for module, values, step_factor in steps])


def load(parameters: Parameters, factor: int, device: str) -> Cascade:
    """Load all steps onto a device."""
    return Cascade([module.load(values, step, device) for module, values, step in _steps(parameters)])


class Cascade:
    """Upscalers one after the other; see `ida_rd.upscale.contract.Upscaler`.

    Parameters
    ----------
    upscalers : list of Upscaler
        From LR to HR.
    """

    def __init__(self, upscalers: Sequence[Upscaler]) -> None:
        self.upscalers = list(upscalers)

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw.

        A sample is finite if it was at every step; its clipped share is the largest of the steps'.
        """
        sr, finite, clipped = self.upscalers[0].sample(lr, [draw.at_step(0) for draw in draws])
        for step, upscaler in enumerate(self.upscalers[1:], start=1):
            # Each sample is another LR image now, so each is reconstructed by itself.
            parts = [upscaler.sample(sr[k], [draw.at_step(step)]) for k, draw in enumerate(draws)]
            sr = np.concatenate([part.sr for part in parts])
            finite = finite & np.concatenate([part.finite for part in parts])
            clipped = np.maximum(clipped, np.concatenate([part.clipped for part in parts]))
        return Samples(sr, finite, clipped)

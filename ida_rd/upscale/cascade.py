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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import OpenedMethod, method_recipe, open_method
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.progress import share
from ida_rd.core.seeds import Draw
from ida_rd.upscale.columns import Column, columns_of
from ida_rd.upscale.contract import Descriptor, Problem, Samples, SizeRule, Upscaler, memory_of

__all__ = ["Cascade", "Parameters", "chain_memory", "columns", "combine", "describe", "files", "load", "memory"]

EIGHT_BIT_COPIES = 3  # of all samples: of the step before, of this one, and while they are put together

HARMLESS = ("steps",)  # each of them is asked in turn


class Parameters(Base):
    """The upscalers that it is made of."""

    steps: list[dict[str, Any]] = Field(
        min_length=2,
        max_length=6,  # six times 2 are 64, the largest factor
        description="upscalers from LR to HR, each with its method, its factor and its own parameters",
    )


def _steps(parameters: Parameters) -> list[tuple[OpenedMethod, int]]:
    """Method and factor of each step."""
    steps = []
    for i, step in enumerate(parameters.steps):
        where = f"steps.{i}"
        factor = step.get("factor")
        if not isinstance(factor, int) or factor < 2:
            raise UserError(f"{where}.factor: give the factor of this step, a whole number of at least 2")
        if not isinstance(step.get("method"), str):
            raise UserError(f"{where}.method: is missing: name the method of this step")
        entry = {key: value for key, value in step.items() if key != "factor"}
        steps.append((open_method(method_recipe("upscale", where, entry), where=where), factor))
    return steps


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The sources of the steps' methods, and the files that these name."""
    found = []
    for method, step_factor in _steps(parameters):
        found.append(method.file)
        if hasattr(method.module, "files"):
            found += method.module.files(method.parameters, step_factor)
    return found


def combine(descriptors: Sequence[Descriptor]) -> Descriptor:
    """Describe a chain of upscalers."""

    def joined(texts: list[str]) -> str:
        return ", then ".join(dict.fromkeys(texts))

    weights: dict[str, str | None] = {}
    for descriptor in descriptors:
        for key, path in descriptor.weights.items():
            if weights.setdefault(key, path) != path:
                raise UserError(f"weights {key} have two paths, {weights[key]} and {path}: give only one")
    return Descriptor(
        factor=math.prod(d.factor for d in descriptors),
        stochastic=any(d.stochastic for d in descriptors),
        blind=all(d.blind for d in descriptors),
        licence=joined([d.licence for d in descriptors]),
        weights=weights,
        kind=descriptors[0].kind if len(descriptors) == 1 else "chain",
        matched=any(d.matched for d in descriptors),
        size=_size_of(descriptors),
        settings=descriptors[0].settings if len(descriptors) == 1 else {"steps": [d.settings for d in descriptors]},
        precision=joined([d.precision for d in descriptors]),
    )


def _size_of(descriptors: Sequence[Descriptor]) -> SizeRule:
    """The rule for the LR image of a chain: at every step, its image is one that the step takes."""
    rules, total = [], 1  # each with how much larger than the LR image its own is, and what it makes
    for descriptor in descriptors:
        rules.append((descriptor.size, total, total * descriptor.factor))
        total *= descriptor.factor
    sides = {rule.hr * (total // made) for rule, _, made in rules if rule.hr is not None}
    if len(sides) > 1:
        raise UserError(
            f"steps: they make HR images of {' and of '.join(map(str, sorted(sides)))} alone: give only one"
        )
    return SizeRule(
        least=max(-(-rule.least // enlarged) for rule, enlarged, _ in rules),
        multiple=math.lcm(*(rule.multiple // math.gcd(rule.multiple, enlarged) for rule, enlarged, _ in rules)),
        square=any(rule.square for rule, _, _ in rules),
        hr=next(iter(sides), None),
    )


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the chain; raises UserError where its factors do not multiply to `factor`."""
    steps = _steps(parameters)
    total = math.prod(step_factor for _, step_factor in steps)
    if total != factor:
        raise UserError(f"factor {factor}: the steps multiply to {total}")
    found = [method.module.describe(method.parameters, step_factor) for method, step_factor in steps]
    if asking := [i for i, descriptor in enumerate(found) if descriptor.asks]:
        raise UserError(
            f"steps.{asking[0]}: asks for {' and '.join(found[asking[0]].asks)}, which no step of a chain is given"
        )
    return combine(found)


def columns(parameters: Parameters) -> dict[str, Column]:
    """Those of the last step."""
    return columns_of(_steps(parameters)[-1][0])


def memory(parameters: Parameters, factor: int, samples: int) -> float | None:
    """Bytes per HR pixel: those of the step that takes most, beside the 8-bit samples."""
    steps = _steps(parameters)
    return chain_memory([(memory_of(m, f, samples if i == 0 else 1), f) for i, (m, f) in enumerate(steps)], samples)


def chain_memory(steps: Sequence[tuple[float | None, int]], samples: int) -> float | None:
    """Bytes per HR pixel of a chain, of those of its steps with their factors; None if one is not known.

    From the second step on the samples are enlarged one by one.
    """
    known = [need for need, _ in steps if need is not None]
    if len(known) < len(steps):
        return None
    later = [math.prod(f for _, f in steps[i + 1 :]) ** 2 for i in range(len(steps))]
    return max(need / pixels for need, pixels in zip(known, later, strict=True)) + 3 * EIGHT_BIT_COPIES * samples


def load(parameters: Parameters, problem: Problem, device: str) -> Cascade:
    """Load all steps onto a device."""
    steps = _steps(parameters)
    return Cascade([method.module.load(method.parameters, Problem(factor), device) for method, factor in steps])


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
        count = len(self.upscalers)
        with share(0, count):
            made = self.upscalers[0].sample(lr, [draw.at_step(0) for draw in draws])
        for step, upscaler in enumerate(self.upscalers[1:], start=1):
            # Each sample is another LR image now, so each is reconstructed by itself.
            parts = []
            for k, draw in enumerate(draws):
                with share(step * len(draws) + k, count * len(draws)):
                    parts.append(upscaler.sample(made.sr[k], [draw.at_step(step)]))
            last = Samples.joined(parts)
            made = Samples(last.sr, made.finite & last.finite, np.maximum(made.clipped, last.clipped), last.columns)
        return made

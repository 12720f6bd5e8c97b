"""``flow``: this project's compact conditional normalizing flow (embedded, no download).

Stochastic and blind; trained on photographs downscaled by Pillow's bicubic filter. See the model
card beside the weights for its data, their terms, and how well it does. Factors that no network has
but two networks multiply to (16 is 4 times 4, 32 is 8 times 4) are a cascade of these, both at the same heat.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.headers import read_header
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.readers import read_json
from ida_rd.core.weights import catalogue
from ida_rd.upscale.cascade import Cascade, chain_memory, combine
from ida_rd.upscale.contract import Descriptor, Problem

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = ["Parameters", "describe", "load", "memory", "preset_heat"]

HARMLESS = ("weights", "heat")
WEIGHTS = Path(__file__).with_name("weights")
HOTTEST = 2.0
# Per HR pixel: features and conditioning; the latent and image of a sample. At x2 all of it is at half of HR's side.
TAKEN = {2: (310.0, 100.0), 4: (270.0, 20.0), 8: (270.0, 20.0)}


class Parameters(Base):
    """Which network, and how it is sampled."""

    weights: str = Field(default="flow-compact", description="name of the weights")
    heat: float | None = Field(
        default=None, ge=0, le=HOTTEST, description="standard deviation of the latent; null: the preset of the factor"
    )
    path: str | None = Field(default=None, description="your own file of these weights; null: the embedded one")

    def heat_of(self, factor: int) -> float:
        """The heat of the network for `factor`."""
        return preset_heat(self, factor) if self.heat is None else self.heat


def preset_heat(parameters: Parameters, factor: int) -> float:
    """The heat that the figures beside the weights name; ``experiments/train-flow-compact`` writes them.

    A file of the user's own may have its figures beside it, a ``.json`` of the same name; without them, it has the
    preset of the weights that ship.

    Raises
    ------
    UserError
        The figures name no preset.
    """
    figures = WEIGHTS / f"{parameters.weights}_x{factor}.json"
    if parameters.path is not None:
        beside = Path(parameters.path).expanduser().with_suffix(".json")
        figures = beside if beside.is_file() else figures
    read = read_json(figures, hint="restore it with git checkout, or set heat")
    preset = read.get("preset_heat") if isinstance(read, dict) else None
    if isinstance(preset, bool) or not isinstance(preset, int | float) or not 0 <= preset <= HOTTEST:
        raise UserError(f"{figures}: preset_heat is not a number from 0 to {HOTTEST:g}; correct it, or set heat")
    return float(preset)


def _steps(parameters: Parameters, factor: int) -> list[int]:
    """Factors of the networks to apply one after the other."""
    prefix = parameters.weights + ".x"
    known = sorted(int(key.removeprefix(prefix)) for key in catalogue() if key.startswith(prefix))
    if not known:
        raise UserError(f"weights: no flow weights are called {parameters.weights!r}; use 'flow-compact'")
    if factor in known:
        return [factor]
    # Factors as alike as can be; the first network has most to invent, so it is the one of the larger factor.
    chains = [
        [first, factor // first]
        for first in known
        if factor % first == 0 and factor // first in known and first >= factor // first
    ]
    if not chains:
        possible = sorted({*known, *(a * b for a in known for b in known)})
        raise UserError(f"factor {factor}: {parameters.weights} supports factors {', '.join(map(str, possible))}")
    return chains[0]


def _check_own(path: Path, factor: int) -> None:
    """Before anything is computed; where there is no such file, what looks for weights says so."""
    if not path.is_file():
        return
    header = read_header(path)
    with decoding(f"{path}: its metadata are no flow configuration", "give a file of a flow"):
        found = int(json.loads(header.metadata["config"])["factor"])
    if found != factor:
        raise UserError(f"factor {factor}: {path} is for factor {found} alone: give a file for {factor}")


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the flow for a factor; raises UserError where no weights are for it, or the own file is for another."""
    steps = _steps(parameters, factor)
    if parameters.path is not None:
        if len(steps) > 1:
            raise UserError(
                f"path: factor {factor} takes several networks; use `method: cascade` with a path in each step"
            )
        _check_own(Path(parameters.path).expanduser(), factor)
    known = catalogue()
    return combine(
        [
            Descriptor(
                factor=step,
                stochastic=parameters.heat_of(step) > 0,
                blind=True,
                licence=known[f"{parameters.weights}.x{step}"].licence if parameters.path is None else "the file's",
                weights={f"{parameters.weights}.x{step}": parameters.path},
                kind="flow",
                settings={"heat": parameters.heat_of(step)},
            )
            for step in steps
        ]
    )


def memory(parameters: Parameters, factor: int, samples: int) -> float | None:
    """Bytes per HR pixel; ``benchmarks/memory.py`` measures them."""
    steps = _steps(parameters, factor)
    if len(steps) == 1:
        fixed, sample = TAKEN[steps[0]]
        return fixed + sample * samples
    each = [(memory(parameters, f, samples if i == 0 else 1), f) for i, f in enumerate(steps)]
    return chain_memory(each, samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the network, or the two of a cascade, onto a torch device."""
    from ida_rd.upscale.flow.sampler import FlowUpscaler

    steps: list[Upscaler] = [FlowUpscaler(parameters, step, device) for step in _steps(parameters, problem.factor)]
    return steps[0] if len(steps) == 1 else Cascade(steps)

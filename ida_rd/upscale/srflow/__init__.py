"""``srflow``: the official SRFlow networks, with the settings of the official IDA-RD as presets.

You must obtain the files yourself (licence CC BY-NC-SA 4.0: non-commercial). With no parameters:
factor 4 is ``df2k_x4`` at heat 1.1; 8 is ``celeba_x8`` at heat 1.0; 32 is ``celeba_x8`` at 1.0, then
``df2k_x4`` at 0.1 on its 8-bit result. ``df2k_x8`` is there too (heat 0.9, as in SRFlow's own script).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import catalogue
from ida_rd.models.srflow.config import CELEBA_X8, DF2K_X4, DF2K_X8
from ida_rd.upscale.cascade import Cascade, chain_memory, combine
from ida_rd.upscale.contract import Descriptor, Problem

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = ["Parameters", "describe", "load", "memory"]

HARMLESS = ("weights", "heat", "compat")

Network = Literal["df2k_x4", "celeba_x8", "df2k_x8"]
NETWORKS = {"df2k_x4": DF2K_X4, "celeba_x8": CELEBA_X8, "df2k_x8": DF2K_X8}
PRESETS: dict[int, list[tuple[Network, float]]] = {
    4: [("df2k_x4", 1.1)],
    8: [("celeba_x8", 1.0)],
    32: [("celeba_x8", 1.0), ("df2k_x4", 0.1)],
}
FIXED_BYTES, SAMPLE_BYTES = 500.0, 60.0  # per HR pixel
SRFLOW_HEAT = 0.9  # of a network for which IDA-RD has no preset


class Parameters(Base):
    """Which network, and how it is sampled."""

    weights: Network | None = Field(default=None, description="network; null: the official IDA-RD's for the factor")
    heat: float | None = Field(
        default=None, ge=0, le=2, description="standard deviation of the latent; null: the preset of the network"
    )
    paths: dict[Network, str] = Field(
        default_factory=dict,
        description="your files of the networks, by name; the others are looked for in torch's cache",
    )
    compat: Literal["none", "official"] = Field(
        default="none", description="official: turn the result into 8 bits as the official scripts do"
    )


def _steps(parameters: Parameters, factor: int) -> list[tuple[Network, float]]:
    """Network and heat of each step from LR to HR."""
    if parameters.weights is None:
        if factor not in PRESETS:
            raise UserError(f"factor {factor}: SRFlow has presets for factors {', '.join(map(str, PRESETS))}")
        steps = PRESETS[factor]
        if parameters.heat is not None and len(steps) > 1:
            raise UserError(f"heat: factor {factor} has a heat per step; use `method: cascade` to choose them")
    else:
        if NETWORKS[parameters.weights].factor != factor:
            raise UserError(
                f"weights: {parameters.weights} is for factor {NETWORKS[parameters.weights].factor}, not {factor}"
            )
        preset = dict(PRESETS.get(factor, []))
        steps = [(parameters.weights, preset.get(parameters.weights, SRFLOW_HEAT))]
    return [(name, heat if parameters.heat is None else parameters.heat) for name, heat in steps]


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe SRFlow for a factor; raises UserError where there is no network for it."""
    known = catalogue()
    return combine(
        [
            Descriptor(
                factor=NETWORKS[name].factor,
                stochastic=heat > 0,
                blind=True,
                licence=known[f"srflow.{name}"].licence,
                weights={f"srflow.{name}": parameters.paths.get(name)},
                kind="flow",
                settings={"weights": name, "heat": heat},
            )
            for name, heat in _steps(parameters, factor)
        ]
    )


def memory(parameters: Parameters, factor: int, samples: int) -> float | None:
    """Bytes per HR pixel, as measured."""
    steps = _steps(parameters, factor)
    each = [
        (FIXED_BYTES + SAMPLE_BYTES * (samples if i == 0 else 1), NETWORKS[name].factor)
        for i, (name, _) in enumerate(steps)
    ]
    return each[0][0] if len(each) == 1 else chain_memory(each, samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the network, or the two of a cascade, onto a torch device."""
    from ida_rd.upscale.srflow.sampler import SRFlowUpscaler

    official = parameters.compat == "official"
    steps: list[Upscaler] = [
        SRFlowUpscaler(NETWORKS[name], f"srflow.{name}", parameters.paths.get(name), heat, device, official=official)
        for name, heat in _steps(parameters, problem.factor)
    ]
    return steps[0] if len(steps) == 1 else Cascade(steps)

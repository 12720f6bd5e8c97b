"""``irn``: invertible image rescaling, the decoder of the downscaler `irn`.

It upscales the LR images of its own network; what it makes of others' shows why IDA-RD asks for decoders that are
blind. `sigma` is the latent's standard deviation: of a network trained jointly (IRN_sigma), 0 gives the least
distortion and 1 the best perception; others were trained at 1 alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ida_rd.models.irn.files import Network, check_file, weight_of
from ida_rd.upscale.contract import Descriptor, Problem

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = ["Matched", "Parameters", "describe", "files", "load", "memory"]

HARMLESS = ("weights", "sigma", "licence")
BYTES = 450.0  # per HR pixel, whatever the number of samples: they are decoded one after the other


@dataclass(frozen=True)
class Matched(Descriptor):
    """A decoder that was trained with an encoder, and says with which.

    Attributes
    ----------
    expects : str
        The downscaler whose LR images it was made for. On those of others it runs, and is marked all the same.
    """

    expects: str = "irn"

    def marks(self) -> list[str]:
        """As of every upscaler, and what it expects."""
        return [*super().marks(), f"expects {self.expects}"]


class Parameters(Network):
    """Which network, and how it is sampled."""

    sigma: float = Field(default=1.0, ge=0, le=2, description="standard deviation of the latent; 0: deterministic")


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the decoder for a factor; raises UserError where there is no network for it.

    Not blind whatever it is run on: it knows the encoder of its own network, and no recipe has to be asked whether
    that made the LR images.
    """
    return Matched(
        factor=factor,
        stochastic=parameters.sigma > 0,
        blind=False,
        licence=parameters.terms(),
        weights=weight_of(parameters, factor),
        kind="flow",
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's own network, whose content is part of the recipe; a published one is among the weights."""
    found = check_file(parameters, factor)
    return [found] if found is not None and parameters.name() is None else []


def memory(parameters: Parameters, factor: int, samples: int) -> float | None:
    """Bytes per HR pixel, as measured."""
    return BYTES


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the network onto a torch device."""
    from ida_rd.upscale.irn.sampler import IRNUpscaler

    return IRNUpscaler(parameters, problem.factor, device)

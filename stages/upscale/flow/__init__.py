"""``flow``: this project's compact conditional normalizing flow (embedded, no download).

Stochastic and blind; trained on photographs downscaled by Pillow's bicubic filter. See the model
card beside the weights for its data, their terms, and what it reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from stages.core.errors import UserError
from stages.core.methods import Parameters as Base
from stages.core.weights import catalogue
from stages.upscale.contract import Descriptor

if TYPE_CHECKING:
    from stages.upscale.contract import Upscaler

__all__ = ["Parameters", "describe", "load"]


class Parameters(Base):
    """``weights``: name of the weights; ``heat``: standard deviation of the latent; ``path``: your own file."""

    weights: str = "flow-compact"
    heat: float = Field(default=0.9, ge=0, le=2)
    path: str | None = None


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the flow for a factor; raises UserError where no weights exist for it."""
    weight_id = f"{parameters.weights}.x{factor}"
    known = catalogue()
    if weight_id not in known:
        prefix = parameters.weights + ".x"
        factors = [key.removeprefix(prefix) for key in known if key.startswith(prefix)]
        if not factors:
            raise UserError(f"weights: no flow weights are called {parameters.weights!r}; use 'flow-compact'")
        raise UserError(f"factor {factor}: {parameters.weights} exists for factor {', '.join(factors)} only")
    return Descriptor(
        factor=factor,
        stochastic=parameters.heat > 0,
        blind=True,
        licence=known[weight_id].licence,
        weights={weight_id: parameters.path},
    )


def load(parameters: Parameters, factor: int, device: str) -> Upscaler:
    """Load the network onto a torch device."""
    from stages.upscale.flow.sampler import FlowUpscaler

    return FlowUpscaler(parameters, factor, device)

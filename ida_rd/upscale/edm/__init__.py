"""``edm``: this project's compact diffusion decoder, `diffusion-compact`; it has no knob.

    {method: edm}                                  # what ships
    {method: edm, path: mine.safetensors}          # from `python -m ida_rd.training.edm`

Stochastic and blind. It draws the residual of the enlarged LR image by DPM-Solver++(2M), in a space where a network
has whitened it, on features of the flow's encoder. Every estimate on the way is clamped to pixels in [0, 1], so that no
sample can run away. See the model card beside the weights for their data, and how well it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ida_rd.core.adapted import adapted_to
from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.models.edm.checkpoint import check_header
from ida_rd.upscale.contract import Descriptor, Problem

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = ["Parameters", "describe", "files", "load", "memory", "own_file", "weights_of"]

HARMLESS = ("weights", "steps", "batch", "precision", "licence")
SHIPPED = (
    "diffusion-compact"  # trained in experiments/train-diffusion-compact, whose ship.py puts it into the catalogue
)
FIXED_BYTES, SAMPLE_BYTES = 700.0, 400.0  # per HR pixel: conditioning and encoder; a sample that is computed


class Parameters(Base):
    """Which network, and how it is sampled."""

    weights: str = Field(default=SHIPPED, description="name of the weights that ship")
    path: str | None = Field(
        default=None,
        description="your own file of a network, which says itself what it is; {factor} in it becomes the scale factor;"
        " null: the embedded one",
    )
    steps: int = Field(default=12, ge=1, le=1000, description="steps from noise to image, each one call of the network")
    batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="samples that are computed together; null: one on a CPU, so that a sample is the same whichever"
        " others there are; on a GPU as many as fit",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of the denoiser's convolutions; all else is float32. bfloat16 takes less time where the machine"
        " has it in hardware, and computes one sample after another, whatever batch is",
    )
    licence: str = Field(default="the file's", description="terms of your own file, as the results will state them")


def weights_of(parameters: Parameters, factor: int) -> dict[str, str | None]:
    """The catalogue's id of weights that ship; nothing for the user's own.

    Raises
    ------
    UserError
        None of that name ship, or none for this factor.
    """
    if parameters.path is not None:
        return {}
    prefix = f"{parameters.weights}.x"
    known = sorted(int(key.removeprefix(prefix)) for key in catalogue() if key.startswith(prefix))
    if not known and parameters.weights != SHIPPED:
        raise UserError(f"weights: no diffusion weights are called {parameters.weights!r}; use {SHIPPED!r}")
    if not known:
        raise UserError(
            f"path: is missing: {SHIPPED} is not part of this version: experiments/train-diffusion-compact trains it"
        )
    if factor not in known:
        raise UserError(f"factor {factor}: {parameters.weights} supports factors {', '.join(map(str, known))}")
    return {f"{prefix}{factor}": None}


def own_file(parameters: Parameters, factor: int) -> Path:
    """The user's own file for a factor."""
    path = Path(str(parameters.path).replace("{factor}", str(factor))).expanduser()
    if not path.is_file():
        raise UserError(f"path: {path} does not exist: give the file of a network")
    return path


def _checked(path: Path, factor: int) -> Path:
    if (found := check_header(path).factor) != factor:
        raise UserError(f"factor {factor}: {path} is for factor {found} alone: give a file for {factor}")
    return path


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the decoder for a factor; raises UserError where no weights exist for it."""
    weights, adapted = weights_of(parameters, factor), None
    if not weights:
        adapted = adapted_to(_checked(own_file(parameters, factor), factor))
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=adapted is None,
        matched=adapted is not None,
        licence=catalogue()[next(iter(weights))].licence if weights else parameters.licence,
        weights=weights,
        kind="diffusion",
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's own network, whose content is part of the recipe; one that ships is among the weights."""
    weights = weights_of(parameters, factor)
    try:
        for key in weights:
            _checked(locate(key, download=False).path, factor)
    except MissingWeights:
        return []
    return [] if weights else [_checked(own_file(parameters, factor), factor)]


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel, as measured: of the samples that are computed together."""
    return FIXED_BYTES + SAMPLE_BYTES * min(parameters.batch or 1 if parameters.precision == "float32" else 1, samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the network onto a torch device."""
    from ida_rd.upscale.edm.sampler import EDMUpscaler

    return EDMUpscaler(parameters, problem.factor, device)

"""``sr3``: SR3 [1]_, a diffusion model that refines noise step by step into an HR image.

    {method: sr3, network: ffhq_16_128}                      # faces, factor 8; put its file into torch's cache
    {method: sr3, path: mine.safetensors, steps: 50}         # from `python -m ida_rd.training.sr3`, any factor

Neither code nor weights of the publication are public: the two networks named here are of the public re-implementation,
whose layout this is. They were trained on faces that one filter downscaled, and are not blind. A network is told the
noise level and not the step, so that any schedule may be used: fewer steps add the same noise in larger portions.

References
----------
.. [1] Saharia et al., "Image super-resolution via iterative refinement", TPAMI 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.models.sr3.checkpoint import check_header
from ida_rd.models.sr3.config import NETWORKS, SR3Config, Trained
from ida_rd.models.sr3.schedule import betas_of, kept_of, scaled_ends
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "Parameters",
    "bytes_per_pixel",
    "check_factor",
    "describe",
    "files",
    "load",
    "memory",
    "own_file",
    "weights_of",
]

HARMLESS = ("network", "steps", "schedule", "beta_start", "beta_end", "batch", "licence")
PUBLISHED = ("ffhq_16_128", "ffhq_64_512")
BYTES = 45.0  # per HR pixel, channel at full size, and block of a level on its way up
MOST_LEFT = 0.1  # of the image's variance after the last step: a chain begins from noise alone


class Parameters(DiffusionParameters):
    """Which network, and how it is sampled."""

    network: Literal["ffhq_16_128", "ffhq_64_512", "x4_64_256"] | None = Field(
        default=None,
        description="the published networks, of factor 8, or the layout of your own for factor 4; null: your own, in"
        " `path`, which says itself which it is, as those of this project's training do",
    )
    path: str | None = Field(
        default=None, description="your file of the network; null: a published one is looked for in torch's cache"
    )
    steps: int = Field(default=100, ge=1, le=4000, description="steps from noise to image; published: 2000")
    schedule: Literal["linear", "quad", "warmup10", "warmup50", "const", "cosine"] = Field(
        default="linear",
        description="how the variance that a step adds grows from the first to the last; published: linear",
    )
    beta_start: float | None = Field(
        default=None, gt=0, lt=1, description="that of the first step; null: 1e-6 times 2000 / steps; not of cosine"
    )
    beta_end: float | None = Field(
        default=None, gt=0, lt=1, description="that of the last step; null: 1e-2 times 2000 / steps; not of cosine"
    )

    @model_validator(mode="after")
    def _ends_in_noise(self) -> Parameters:
        if self.schedule == "cosine" and (self.beta_start, self.beta_end) != (None, None):
            raise ValueError("beta_start, beta_end: the cosine schedule has ends of its own: remove them")
        start, end = self.ends()
        if self.schedule != "cosine" and not start <= end < 1:
            raise ValueError(
                f"steps: the variances of {self.steps} steps would grow from {start:.3g} to {end:.3g}: more steps,"
                " or other beta_start and beta_end, the first not above the second and both below 1"
            )
        left = float(kept_of(self.betas())[-1])
        if not 0 < left <= MOST_LEFT:
            raise ValueError(
                f"steps: after the last of them {left:.3g} of the image would be left, and sampling begins from noise"
                " alone: more steps, or a larger beta_end"
            )
        return self

    def ends(self) -> tuple[float, float]:
        """Variances of the first and last step."""
        first, last = scaled_ends(self.steps)
        return (
            first if self.beta_start is None else self.beta_start,
            last if self.beta_end is None else self.beta_end,
        )

    def betas(self) -> NDArray[np.float64]:
        """Variances of all steps."""
        return betas_of(self.schedule, self.steps, *self.ends())


def weights_of(parameters: Parameters) -> dict[str, str | None]:
    """The catalogue's id of a published network, with the user's path to it; nothing for their own."""
    if parameters.network not in PUBLISHED:
        return {}
    return {f"sr3.{parameters.network}": parameters.path}


def own_file(parameters: Parameters) -> Path:
    """The user's own file."""
    path = Path(str(parameters.path)).expanduser()
    if not path.is_file():
        raise UserError(f"path: {path} does not exist: give the file of a network")
    return path


def _trained(parameters: Parameters) -> Trained:
    if parameters.network not in PUBLISHED and parameters.path is None:
        names = " or ".join(PUBLISHED)
        raise UserError(f"path: is missing: give the file of a network, or network: {names}, which are published")
    if parameters.network is not None:
        return NETWORKS[parameters.network]
    return check_header(own_file(parameters), None)


def check_factor(parameters: Parameters, factor: int) -> Trained:
    """What the network was trained on; raises UserError if that was another factor."""
    known = _trained(parameters)
    if known.factor != factor:
        which = parameters.network or parameters.path
        raise UserError(
            f"factor {factor}: the network {which} was trained for {known.factor} alone: give one for {factor}"
        )
    return known


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the network for a factor; raises UserError where it was trained for another."""
    known, weights = check_factor(parameters, factor), weights_of(parameters)
    terms = catalogue()[next(iter(weights))].licence if weights else "the file's"
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=len(known.filters) > 1,
        licence=parameters.licence or terms,
        weights=weights,
        kind="diffusion",
        size=SizeRule(least=-(-known.config.multiple // factor)),
        settings={} if parameters.schedule == "cosine" else {"betas": list(parameters.ends())},
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's own network; of a published one, which is among the weights, the header is compared, if it is here."""
    weights = weights_of(parameters)
    try:
        found = [locate(key, path, download=False).path for key, path in weights.items()] or [own_file(parameters)]
    except MissingWeights:
        return []
    check_header(found[0], parameters.network)
    return [] if weights else found


def bytes_per_pixel(config: SR3Config) -> float:
    """Bytes that a step takes per HR pixel of a sample, as measured: what the way down keeps decides."""
    return BYTES * config.base * (config.blocks + 1)


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel: of the samples that are computed together."""
    return bytes_per_pixel(check_factor(parameters, factor).config) * parameters.together(samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the network onto a torch device."""
    from ida_rd.upscale.sr3.sampler import SR3Upscaler

    return SR3Upscaler(parameters, problem.factor, device)

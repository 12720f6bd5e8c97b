"""Exact samples of the posterior of a Gaussian field: an upscaler for images whose truth is known.

    {method: gaussian}                       # knows the downscaler, by its arguments filter and noise: matched
    {method: gaussian, filter: bicubic}      # believes that all LR images come from that filter: blind

It is for `experiments/exact`, where its score is known in closed form, and tests the instrument. For photographs, which
are no Gaussian field, it is the best linear decoder of that spectrum with noise of the right power. Images are
periodic. See `ida_rd.models.gaussian_field` for the mathematics.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.seeds import Draw
from ida_rd.upscale.contract import Descriptor, Problem, Samples

if TYPE_CHECKING:
    from ida_rd.models.gaussian_field import World

__all__ = ["Gaussian", "Parameters", "describe", "load", "memory", "world_of"]

HARMLESS = ("filter", "noise", "sigma", "cutoff", "floor", "correlation", "mean")
BYTES = 400.0  # per HR pixel: complex transforms of three channels
Filter = Literal["box", "bilinear", "hamming", "bicubic", "lanczos", "gaussian", "nearest"]


class Parameters(Base):
    """What it believes of the images and of the downscaler."""

    filter: Filter | None = Field(
        default=None, description="filter of the downscaler; null: what the downscaler's own recipe says"
    )
    noise: float | None = Field(
        default=None,
        ge=0,
        le=255,
        description="standard deviation of the noise of LR images, in grey levels, beside their rounding; null: what"
        " the downscaler's own recipe says, or with a filter 0",
    )
    sigma: float = Field(default=30.0, gt=0, le=255, description="standard deviation of HR pixels, in grey levels")
    cutoff: float = Field(
        default=1 / 128, gt=0, le=1, description="frequency below which the spectrum is flat, in cycles per HR pixel"
    )
    floor: float = Field(default=0.001, ge=0, le=1, description="share of the variance that is white")
    correlation: float = Field(default=0.8, ge=0, lt=1, description="correlation of every two channels")
    mean: float = Field(default=127.5, ge=0, le=255, description="mean of HR pixels, in grey levels")


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe it: any factor, no weights. Without a filter, it asks for the downscaler."""
    told = parameters.filter is None
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=not told,
        licence="Apache-2.0",
        weights={},
        matched=told and parameters.noise is None,
        asks=("downscaler",) if told else (),
        precision="float64",
    )


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel."""
    return BYTES + 3.0 * samples


def world_of(parameters: Parameters, problem: Problem) -> World:
    """What an upscaler with these parameters believes.

    Raises
    ------
    UserError
        The downscaler does not say which of the known linear filters it is.
    """
    from ida_rd.models.gaussian_field import ROUNDING, Field, World
    from ida_rd.models.linear_filters import FILTERS, kernel_of

    name, noise = parameters.filter, parameters.noise
    if name is None:
        given: Any = ((problem.downscaler or {}).get("parameters") or {}).get("arguments") or {}
        name = given.get("filter")
        if name not in FILTERS:
            raise UserError(
                "filter: null takes it from a downscaler with `method: python` that has `arguments: {filter: ...}`, one"
                f" of {', '.join(FILTERS)}; this one has none: name the filter"
            )
        noise = given.get("noise", 0) if noise is None else noise
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise <= 255:
            raise UserError(f"noise: the downscaler's argument noise must be from 0 to 255, not {noise!r}")
    variance = (noise or 0.0) ** 2
    if name != "nearest" or variance > 0:
        variance += ROUNDING  # what nearest gives is whole already
    field = Field(parameters.sigma, parameters.cutoff, parameters.floor, parameters.correlation, parameters.mean)
    return World(field, kernel_of(name, problem.factor), problem.factor, variance)


def load(parameters: Parameters, problem: Problem, device: str) -> Gaussian:
    """Return the upscaler; it computes on the CPU."""
    return Gaussian(world_of(parameters, problem))


class Gaussian:
    """See `ida_rd.upscale.contract.Upscaler`.

    Parameters
    ----------
    world : World
        What it believes.
    """

    def __init__(self, world: World) -> None:
        from ida_rd.models.gaussian_field import Posterior

        self.factor = world.factor
        self.posterior = lru_cache(maxsize=2)(lambda height, width: Posterior(world, height, width))

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct (3, h, w) uint8 once per draw, by equation 3 of `ida_rd.models.gaussian_field`."""
        size = (3, lr.shape[1] * self.factor, lr.shape[2] * self.factor)
        posterior = self.posterior(*size[1:])
        given = lr.astype(np.float64)
        sr, clipped = np.empty((len(draws), *size), np.uint8), np.empty(len(draws))
        for i, draw in enumerate(draws):
            white, white_lr = draw.normal(size), draw.normal(lr.shape, "latent of LR")
            levels = posterior.sample(given, white.astype(np.float64), white_lr.astype(np.float64))
            sr[i] = np.clip(np.rint(levels), 0, 255)
            clipped[i] = ((levels < -0.5) | (levels > 255.5)).mean()
        return Samples(sr, np.ones(len(draws), dtype=bool), clipped)

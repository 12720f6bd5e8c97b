"""``diffbir``: DiffBIR v1 [1]_ for factor 4, on the packages diffusers, transformers and spandrel.

    {method: diffbir}                                # put its two files into torch's cache
    {method: diffbir, path: general_full_v1.ckpt, swinir: general_swinir_v1.ckpt}

A network that is not random (SwinIR) makes a clean and smooth image; its latent controls Stable Diffusion 2.1, whose
latent begins as noise; what an autoencoder makes of that gets the low frequencies of the smooth image. The prompt is
empty. An image whose short side is below 512 pixels is made at 512 and reduced, as published.

References
----------
.. [1] Lin et al., "DiffBIR: toward blind image restoration with generative diffusion prior", ECCV 2024.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule
from ida_rd.upscale.diffbir.layout import check_complete, check_swinir
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = ["FACTOR", "Parameters", "describe", "files", "load", "memory", "own", "packages", "weights_of"]

HARMLESS = ("stage1", "sampler", "steps", "colour", "compat", "batch", "licence")
FACTOR = 4
FULL, SWINIR = "diffbir.general_full_v1", "diffbir.general_swinir_v1"
BYTES = 5200.0  # per HR pixel of 512 x 512 and more, as measured of an autoencoder of the same widths
STEP_BYTES = 900.0  # and of each sample that goes through a step


class Parameters(DiffusionParameters):
    """Where the networks are, and how they are sampled."""

    path: str | None = Field(
        default=None, description="your file of general_full_v1.ckpt; null: it is looked for in torch's cache"
    )
    stage1: Literal["published", "inside"] = Field(
        default="published",
        description="the network that makes the smooth image; published: general_swinir_v1.ckpt, with which its authors"
        " run it; inside: that in the other file",
    )
    swinir: str | None = Field(
        default=None, description="your file of general_swinir_v1.ckpt; null: it is looked for in torch's cache"
    )
    sampler: Literal["spaced", "ddim", "euler_a", "dpm++_2m", "dpm++_3m_sde", "dpm_solver"] = Field(
        default="spaced", description="how the steps are taken; published: spaced, which adds noise at each"
    )
    steps: int = Field(default=50, ge=2, le=999, description="steps from noise to latent; published: 50")
    colour: Literal["wavelet", "adain", "none"] = Field(
        default="wavelet",
        description="what is taken from the smooth image: low frequencies (as published), means and deviations of"
        " channels, or nothing",
    )
    compat: Literal["none", "official"] = Field(
        default="none", description="official: truncate to 8 bits as the official program does, and do not round"
    )

    @model_validator(mode="after")
    def _one_network(self) -> Parameters:
        if self.stage1 == "inside" and self.swinir is not None:
            raise ValueError("swinir: stage1: inside does not use it: remove one of them")
        return self


def _wanted(parameters: Parameters) -> dict[str, str | None]:
    return {FULL: parameters.path} | ({} if parameters.stage1 == "inside" else {SWINIR: parameters.swinir})


def weights_of(parameters: Parameters) -> dict[str, str | None]:
    """The catalogue's ids of the files that are not the user's own: these may be copies of other bytes."""
    return {key: None for key, path in _wanted(parameters).items() if path is None}


def own(parameters: Parameters) -> dict[str, Path]:
    """The user's files, by id."""
    found = {key: Path(path).expanduser() for key, path in _wanted(parameters).items() if path is not None}
    for key, path in found.items():
        if not path.is_file():
            known = catalogue()[key]
            name = "swinir" if key == SWINIR else "path"
            raise UserError(f"{name}: {path} does not exist: give {known.name}, of {known.archive} ({known.licence})")
    return found


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them."""
    install = "pip install 'ida-rd[diffusion,spandrel]'"
    return {"diffusers": install, "transformers": install, "spandrel": install}


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the networks; raises UserError for another factor than 4."""
    if factor != FACTOR:
        raise UserError(f"factor {factor}: DiffBIR enlarges by {FACTOR} alone")
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=True,
        licence=parameters.licence or catalogue()[FULL].licence,
        weights=weights_of(parameters),
        kind="diffusion",
        size=SizeRule(),
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's files; the headers of all that are here are compared."""
    found = own(parameters)
    for key in _wanted(parameters):
        try:
            path = found.get(key) or locate(key, download=False).path
        except MissingWeights:
            continue
        if key == FULL:
            check_complete(path, swinir=parameters.stage1 == "inside")
        else:
            check_swinir(path)
    return list(found.values())


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel: of one sample that is decoded, and of those that are computed together."""
    return BYTES + STEP_BYTES * parameters.together(samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the networks onto a torch device."""
    from ida_rd.upscale.diffbir.sampler import DiffBIRUpscaler

    return DiffBIRUpscaler(parameters, device)

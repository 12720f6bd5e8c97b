"""``resshift``: ResShift [1]_, a diffusion model of few steps that begins from the enlarged LR image; factor 4.

    {method: resshift}                                        # v3, 4 steps; put its two files into torch's cache
    {method: resshift, variant: v1, tile: 256}                # 15 steps, as at the conference
    {method: resshift, paths: {unet: a.pth, autoencoder: b.pth}}

You must obtain the files yourself, and their licence is S-Lab License 1.0: non-commercial. v1, v2 and v3 were trained
on LR images of many blurs, noises and codecs and are blind; bicsr, on those of one bicubic filter, is not. A network is
sampled with the steps that it was trained with, and no others. Normalisations are of whole images, so that a sample
depends on the tiles that a large image is computed in: `tile`, `stride` and `chop` are a part of what the upscaler is.

References
----------
.. [1] Yue, Wang, Loy, "ResShift: efficient diffusion model for image super-resolution by residual shifting",
   NeurIPS 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.models.resshift.checkpoint import check_autoencoder, check_unet
from ida_rd.models.resshift.config import FACTOR, VARIANTS, UNetConfig, Variant
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "AUTOENCODER",
    "BYTES",
    "Parameters",
    "check_tile",
    "describe",
    "files",
    "load",
    "made_at",
    "memory",
    "unet_id",
    "variant_of",
]

HARMLESS = ("variant", "tile", "stride", "chop", "batch", "licence")
AUTOENCODER = "resshift.autoencoder"
BYTES = 6000.0  # per HR pixel of a tile, as measured: what the decoder takes at full size decides
LEAST_OVERLAP = 16
File = Literal["unet", "autoencoder"]


class Parameters(DiffusionParameters):
    """Which network, and how large images are cut into tiles; the defaults are those of the published program."""

    variant: Literal["v1", "v2", "v3", "bicsr"] = Field(
        default="v3",
        description="the published networks: v1 and v2 of 15 steps, v3 of 4; bicsr, of 4, for LR images of Matlab's"
        " bicubic filter",
    )
    paths: dict[File, str] = Field(
        default_factory=dict,
        description="your files of the networks, by name; the others are looked for in torch's cache",
    )
    tile: int = Field(
        default=512,
        ge=16,
        le=8192,
        description="longest side of what is computed at once, in LR pixels, a multiple of 64; published: 512, 256, 64",
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="from one tile to the next; null: as published, an eighth less than `tile`, and at least 16 pixels",
    )
    chop: Literal["field", "official"] = Field(
        default="field",
        description="field: the noise of tiles is cut from one field, so that they agree where they overlap; official:"
        " every tile has noise of its own, so that means of different samples are taken there, which vary less; and LR"
        " images of 32 pixels per side or fewer are refused",
    )

    @model_validator(mode="after")
    def _tiles_cover(self) -> Parameters:
        if self.stride is not None and self.stride > self.tile:
            raise ValueError(
                f"stride: tiles of {self.tile} pixels, {self.stride} apart, leave gaps: give one of at most tile"
            )
        return self

    def apart(self) -> int:
        """LR pixels from one tile to the next."""
        return self.tile - max(self.tile // 8, LEAST_OVERLAP) if self.stride is None else self.stride


def variant_of(parameters: Parameters) -> Variant:
    """How its U-Net is sampled."""
    return VARIANTS[parameters.variant]


def unet_id(parameters: Parameters) -> str:
    """The catalogue's id of its U-Net."""
    return f"resshift.{parameters.variant}"


def check_tile(parameters: Parameters, config: UNetConfig) -> None:
    """Raise UserError if whole windows of the U-Net do not fill a tile."""
    if parameters.tile % config.multiple:
        raise UserError(f"tile: {parameters.tile} is not a multiple of {config.multiple}, as this network needs it")


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe a variant; raises UserError for a factor other than 4."""
    if factor != FACTOR:
        raise UserError(f"factor {factor}: ResShift is published for {FACTOR} alone")
    known, weight = variant_of(parameters), unet_id(parameters)
    # Reflection as the published program does it needs more pixels than it adds, and one pixel reflects nothing.
    least = UNetConfig().multiple // 2 + 1 if parameters.chop == "official" else 2
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=known.blind,
        licence=parameters.licence or catalogue()[weight].licence,
        weights={weight: parameters.paths.get("unet"), AUTOENCODER: parameters.paths.get("autoencoder")},
        kind="diffusion",
        size=SizeRule(least=least),
        settings={"steps": known.steps, "least": known.least, "kappa": known.kappa, "stride": parameters.apart()},
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """None of its own: both networks are among the weights. Their headers are compared here.

    Raises
    ------
    UserError
        A file that is not the network that it stands for, or, as MissingWeights, that is not here: nothing is
        downloaded.
    """
    found: dict[str, Path] = {}
    missing: list[str] = []
    for key, path in describe(parameters, factor).weights.items():
        try:
            found[key] = locate(key, path, download=False).path
        except MissingWeights as error:
            missing.append(f"{error} ({catalogue()[key].licence})")
    if unet_id(parameters) in found:
        unet = found[unet_id(parameters)]
        _check_name(parameters.variant, unet)
        check_tile(parameters, check_unet(unet))
    if AUTOENCODER in found:
        check_autoencoder(found[AUTOENCODER])
    if missing:
        raise MissingWeights("; ".join(missing))
    return []


def _check_name(variant: str, path: Path) -> None:
    """The published U-Nets differ in nothing but numbers, and a wrong number of steps gives images that look wrong."""
    known = {str(catalogue()[f"resshift.{name}"].url).rsplit("/", 1)[1]: name for name in VARIANTS}
    named = known.get(path.name, variant)
    if VARIANTS[named] != VARIANTS[variant]:
        raise UserError(f"{path} is the file of the variant {named}: set variant: {named}, or give that of {variant}")


def made_at(parameters: Parameters, height: int, width: int) -> tuple[int, int]:
    """Height and width of an HR image whose LR image is padded as the U-Net needs it."""
    multiple = FACTOR * UNetConfig().multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel, with padding: of the samples that are computed together."""
    return BYTES * parameters.together(samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the networks onto a torch device."""
    from ida_rd.upscale.resshift.sampler import ResShiftUpscaler

    return ResShiftUpscaler(parameters, device)

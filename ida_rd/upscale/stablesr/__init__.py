"""``stablesr``: StableSR [1]_ for factor 4, on the packages diffusers and transformers.

    {method: stablesr}                               # put its two files into torch's cache
    {method: stablesr, path: stablesr_000117.ckpt, cfw: vqgan_cfw_00011.ckpt}
    {method: stablesr, variant: turbo, path: stablesr_turbo.ckpt}

You must obtain the files yourself, and their licence is S-Lab License 1.0: non-commercial. Stable Diffusion 2.1 begins
at noise, and its blocks are modulated by maps that an encoder makes of the LR image's latent at every step; features of
the LR image are mixed into what decodes the last latent. The prompt is empty. An image whose short side is below that
of a tile is made at that and reduced, as published.

References
----------
.. [1] Wang et al., "Exploiting diffusion prior for real-world image super-resolution", IJCV 2024.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule
from ida_rd.upscale.diffusion.parameters import DiffusionParameters
from ida_rd.upscale.stablesr.layout import CFW, check_file

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "FACTOR",
    "VARIANTS",
    "Parameters",
    "Variant",
    "describe",
    "files",
    "load",
    "made_at",
    "main_of",
    "memory",
    "own",
    "packages",
    "published",
    "sides_of",
]

HARMLESS = (
    "variant", "steps", "start", "latent", "guidance", "negative", "fidelity", "colour", "tile", "stride", "compat",
    "batch", "licence",
)  # fmt: skip
FACTOR = 4
BYTES = 5600.0  # per HR pixel of a decoded sample: an autoencoder's, and the features that are mixed in
STEP_BYTES = 1000.0  # and of each sample that goes through a step
MULTIPLE = 32  # of the sides of an image that is made, padded
TILES = 64  # pixels of an image that become one at the deepest level of the U-Net
WORDS = 49406  # different ones of a prompt, without its ends
MOST_WORDS = 75


class Variant(NamedTuple):
    """How a published network is sampled: what it gives, its steps, and the side of an image that it was made for."""

    predicts: Literal["eps", "v"]
    steps: int
    tile: int


VARIANTS = {"base": Variant("eps", 200, 512), "768v": Variant("v", 200, 768), "turbo": Variant("eps", 4, 512)}


class Parameters(DiffusionParameters):
    """Where the networks are, and how they are sampled."""

    variant: Literal["base", "768v", "turbo"] = Field(
        default="base",
        description="the published networks: base, of the publication; 768v, for larger tiles; turbo, of 4 steps",
    )
    path: str | None = Field(
        default=None,
        description="your file of stablesr_000117.ckpt, or of that of the variant: as published, or a .safetensors that"
        " `ida-rd weights convert` made; null: it is looked for in torch's cache",
    )
    cfw: str | None = Field(
        default=None,
        description="your file of vqgan_cfw_00011.ckpt, likewise; null: it is looked for in torch's cache",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="steps from noise to latent; null: as published, 200, and 4 of turbo",
    )
    start: Literal["lr", "noise"] = Field(
        default="lr",
        description="what the first step is given: lr: noise, and what is left of the LR image's latent at the last"
        " time, as the published program for images of any size does; noise: that alone, as in the publication",
    )
    latent: Literal["drawn", "mean"] = Field(
        default="drawn",
        description="the LR image's latent: drawn anew for each sample, as published, or its mean",
    )
    guidance: float = Field(
        default=1.0,
        ge=1,
        le=100,
        description="how far the empty prompt is moved away from `negative`; published: 1, which is not at all; else a"
        " step takes almost twice as long",
    )
    negative: list[Annotated[int, Field(ge=0, lt=WORDS)]] = Field(
        default_factory=list,
        max_length=MOST_WORDS,
        description="the other prompt, as numbers of its words in the network's vocabulary, without those of its begin"
        " and end",
    )
    fidelity: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="how much of the LR image's features is mixed into the decoder; published: 0.5",
    )
    colour: Literal["adain", "wavelet", "none"] = Field(
        default="adain",
        description="what is taken from the enlarged LR image: means and deviations of channels (as published), low"
        " frequencies, or nothing",
    )
    tile: int | None = Field(
        default=None,
        ge=TILES,
        le=8192,
        description="side of what the network sees at once, in pixels of the image that is made, a multiple of 64, and"
        " the least side at which one is made; null: as published, 512, and 768 of 768v",
    )
    stride: int | None = Field(
        default=None,
        ge=8,
        le=8192,
        description="from one tile to the next, likewise, a multiple of 8; null: as published, half a tile",
    )
    compat: Literal["none", "official"] = Field(
        default="none", description="official: truncate to 8 bits as the official program does, and do not round"
    )

    @model_validator(mode="after")
    def _agree(self) -> Parameters:
        tile, stride = self.tiles()
        if tile % TILES:
            raise ValueError(f"tile: {tile} is not a multiple of {TILES}: give {tile // TILES * TILES}")
        if stride > tile:
            raise ValueError(f"stride: tiles of {tile} pixels, {stride} apart, leave gaps: give one of at most tile")
        if stride % 8:
            raise ValueError(f"stride: {stride} is not a multiple of 8: give {stride // 8 * 8}")
        if (self.guidance == 1) != (not self.negative):
            raise ValueError("guidance: it is away from a prompt: give `negative` and a guidance above 1, or neither")
        return self

    def tiles(self) -> tuple[int, int]:
        """Side of tiles, and from one to the next, in pixels."""
        tile = self.tile or VARIANTS[self.variant].tile
        return tile, self.stride or tile // 2

    def taken(self) -> int:
        """How many steps there are."""
        return self.steps or VARIANTS[self.variant].steps


def main_of(parameters: Parameters) -> str:
    """The catalogue's id of the file with the networks."""
    return f"stablesr.{parameters.variant}"


def _wanted(parameters: Parameters) -> dict[str, Path | None]:
    wanted = {main_of(parameters): parameters.path, CFW: parameters.cfw}
    return {key: None if path is None else Path(path).expanduser() for key, path in wanted.items()}


def _converted(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() == ".safetensors"


def published(parameters: Parameters) -> dict[str, str | None]:
    """The files that must be the published ones, byte by byte: those in torch's cache, and the user's checkpoints."""
    wanted = _wanted(parameters)
    return {key: None if path is None else str(path) for key, path in wanted.items() if not _converted(path)}


def own(parameters: Parameters) -> dict[str, Path]:
    """The user's other files, by id: what was converted, or trained."""
    return {key: path for key, path in _wanted(parameters).items() if path is not None and _converted(path)}


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them."""
    install = "pip install 'ida-rd[diffusion]'"
    return {"diffusers": install, "transformers": install}


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the networks; raises UserError for another factor than 4."""
    if factor != FACTOR:
        raise UserError(f"factor {factor}: StableSR enlarges by {FACTOR} alone")
    tile, stride = parameters.tiles()
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=True,
        licence=parameters.licence or catalogue()[main_of(parameters)].licence,
        weights=published(parameters),
        kind="diffusion",
        size=SizeRule(),  # the smallest image is made at the side of a tile
        settings={"steps": parameters.taken(), "tile": tile, "stride": stride},
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's files that are not the published ones; the headers of all that are here are compared.

    Raises
    ------
    UserError
        A file that does not hold what it should, or, as MissingWeights, that is not here.
    """
    missing: list[str] = []
    for key, path in _wanted(parameters).items():
        known = catalogue()[key]
        if path is not None and not path.is_file():
            name = "cfw" if key == CFW else "path"
            raise UserError(f"{name}: {path} does not exist: give {known.name}, of {known.archive} ({known.licence})")
        try:
            check_file(path or locate(key, download=False).path, key)
        except MissingWeights as error:
            missing.append(f"{error} ({known.licence})")
    if missing:
        raise MissingWeights("; ".join(missing))
    return list(own(parameters).values())


def sides_of(height: int, width: int, least: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width at which an HR image is made, and the rows and columns that are added to that.

    Its short side is at least `least`. If one side needs some padding, a side that does not gets 32 too, as published.
    """
    short = min(height, width)
    up, down = (least, short) if short < least else (1, 1)
    size = height * up // down, width * up // down
    uneven = any(side % MULTIPLE for side in size)
    bottom, right = (MULTIPLE - side % MULTIPLE if uneven else 0 for side in size)
    return size, (bottom, right)


def made_at(parameters: Parameters, height: int, width: int) -> tuple[int, int]:
    """Height and width at which an HR image is made, with what is cropped."""
    size, padding = sides_of(height, width, parameters.tiles()[0])
    return size[0] + padding[0], size[1] + padding[1]


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per pixel at which an image is made: of one sample that is decoded, and of those computed together."""
    return BYTES + STEP_BYTES * parameters.together(samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the networks onto a torch device."""
    from ida_rd.upscale.stablesr.sampler import StableSRUpscaler

    return StableSRUpscaler(parameters, device)

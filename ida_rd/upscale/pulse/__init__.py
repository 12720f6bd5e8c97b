"""``pulse``: PULSE [1]_, a search of StyleGAN's latents for faces whose downscaled image is the LR image.

    {method: pulse}                                        # the published generator, 1024 x 1024, and settings
    {method: pulse, resolution: 64, paths: {mapping: map.pth, synthesis: net.pth}}

You must obtain the generator's two files yourself (licence CC BY-NC 4.0: non-commercial). HR images have the side of
the generator, and any factor that divides it will do. Each sample is the end of a search of its own from a random
start; one that never came within ``eps`` of the LR image is returned all the same, and counted: columns ``converged``
and ``residual``, the mean squared difference of the downscaled sample and the LR image, of values in [0, 1]; 1 for a
sample that is not finite.

References
----------
.. [1] Menon et al., "PULSE: self-supervised photo upsampling via latent space exploration of generative models",
   CVPR 2020.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.methods import Parameters as Base
from ida_rd.core.weights import catalogue, read_file, read_weights
from ida_rd.models.stylegan.config import official_channels
from ida_rd.upscale.columns import Column
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "FIT_LATENTS",
    "FIT_SEED",
    "MAPPING",
    "SYNTHESIS",
    "Parameters",
    "Term",
    "columns",
    "describe",
    "files",
    "load",
    "memory",
]

MAPPING, SYNTHESIS = "stylegan.mapping", "stylegan.synthesis"
FIT_LATENTS, FIT_SEED = 1_000_000, 0  # with which the distribution of styles is found
BYTES = 64.0  # per channel of a block and pixel of it: what a step keeps for its gradient
TERMS = ("L2", "L1", "GEOCROSS")
MOST_LAYERS = 18

HARMLESS = (
    "resolution", "loss", "eps", "noise", "trained_noise", "zero_noise", "optimiser", "rate", "steps", "schedule",
    "tile_latent", "operator", "return", "batch", "licence",
)  # fmt: skip
File = Literal["mapping", "synthesis", "gaussian_fit"]


class Term(NamedTuple):
    """A term of the loss."""

    weight: float
    name: str


def _terms(text: str) -> tuple[Term, ...]:
    """Terms of a loss such as ``100*L2+0.05*GEOCROSS``; ValueError says what is wrong."""
    found: list[Term] = []
    for part in text.split("+"):
        number, star, name = (piece.strip() for piece in part.partition("*"))
        if not star:
            raise ValueError(f"{part.strip()!r} is no term such as 100*L2")
        if name not in TERMS:
            raise ValueError(f"no term is called {name!r}; {did_you_mean(name, TERMS)}")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise ValueError(f"the weight {number!r} of {name} is not a number of 0 or more")
        if name in [term.name for term in found]:
            raise ValueError(f"the term {name} is there twice: add its weights")
        found.append(Term(weight, name))
    return tuple(found)


def _layers(resolution: int) -> int:
    return 2 * (resolution.bit_length() - 2)


class Parameters(Base):
    """The generator, and how it is searched; the defaults are those of the publication's program."""

    resolution: Literal[8, 16, 32, 64, 128, 256, 512, 1024] = Field(
        default=1024, description="side of the generator's images, and so of the HR images"
    )
    paths: dict[File, str] = Field(
        default_factory=dict,
        description="your files of the generator's networks, by name; the others are looked for in torch's cache, and"
        " gaussian_fit, mean and std of the styles before their activation, is computed from the mapping network",
    )
    licence: str | None = Field(
        default=None, description="terms of your own files, as the results will state them; null: StyleGAN's"
    )
    loss: str = Field(
        default="100*L2+0.05*GEOCROSS",
        description="terms with their weights: L2 and L1 of the downscaled image, GEOCROSS, how far styles are apart",
    )
    eps: float = Field(
        default=2e-3, ge=0, le=1000, description="value of L2, or of L1 / 10, from which that term pulls no more"
    )
    noise: Literal["zero", "fixed", "trainable"] = Field(
        default="trainable", description="zero: no noise maps; fixed: random ones; trainable: the search changes some"
    )
    trained_noise: int = Field(
        default=5, ge=0, le=MOST_LAYERS, description="how many of the noise maps, coarsest first, trainable changes"
    )
    zero_noise: list[Annotated[int, Field(ge=0, le=MOST_LAYERS)]] | None = Field(
        default=None, description="noise maps that are zero in any case, from 0; null: the last one, 17 at 1024"
    )
    tile_latent: bool = Field(default=False, description="whether all layers share one style")
    optimiser: Literal["adam", "sgd", "sgdm", "adamax"] = Field(
        default="adam", description="how the search steps; sgdm: gradient descent with momentum 0.9"
    )
    rate: float = Field(default=0.4, gt=0, le=1000, description="learning rate, which the schedule multiplies")
    steps: int = Field(default=100, ge=1, le=100_000, description="steps of the search")
    schedule: Literal["fixed", "linear1cycle", "linear1cycledrop"] = Field(
        default="linear1cycledrop",
        description="learning rate over the steps: fixed; up and down; up, down, and a last tenth that falls to a"
        " hundredth of that",
    )
    operator: Literal["blind", "own"] = Field(
        default="blind",
        description="how the search downscales: blind: PULSE's bicubic filter; own: the filter of the downscaler, of"
        " method resample with Pillow, which makes it not blind",
    )
    keep: Literal["last", "best"] = Field(
        default="last",
        alias="return",
        description="which image of the search is the sample: the last, or that of least L2",
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="samples that are searched for together; null: one on a CPU, so that a sample is the same whichever"
        " others there are; on a GPU as many as fit",
    )

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, text: str) -> str:
        _terms(text)
        return text

    @field_validator("zero_noise")
    @classmethod
    def _maps_exist(cls, maps: list[int] | None, info: ValidationInfo) -> list[int] | None:
        side = info.data.get("resolution")  # it has been checked, or is wrong itself
        if side and (odd := [i for i in maps or [] if not 0 <= i < _layers(side)]):
            raise ValueError(f"there is no noise map {odd[0]}: {side} x {side} has 0 to {_layers(side) - 1}")
        return maps

    @property
    def layers(self) -> int:
        """Number of styles and of noise maps."""
        return _layers(self.resolution)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of the loss."""
        return _terms(self.loss)

    def zero_layers(self) -> list[int]:
        """Noise maps that are zero, none of which is drawn or trained."""
        if self.noise == "zero":
            return list(range(self.layers))
        return [self.layers - 1] if self.zero_noise is None else sorted(set(self.zero_noise))

    def trained_layers(self) -> list[int]:
        """Noise maps that the search changes."""
        zero = self.zero_layers()
        return [i for i in range(min(self.trained_noise, self.layers)) if i not in zero and self.noise == "trainable"]


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the search for a factor, which must divide the side of the generator's images."""
    side, paths = parameters.resolution, parameters.paths
    if side % factor or not _reflects(side, factor):
        possible = ", ".join(str(2**i) for i in range(1, side.bit_length()) if _reflects(side, 2**i))
        raise UserError(f"factor {factor}: a generator of {side} x {side} supports factors {possible}")
    told = parameters.operator == "own"
    settings: dict[str, object] = {"zero_noise": parameters.zero_layers()}
    weights = {SYNTHESIS: paths.get("synthesis")}
    if "gaussian_fit" not in paths:
        weights[MAPPING] = paths.get("mapping")
        settings["gaussian_fit"] = {"latents": FIT_LATENTS, "seed": FIT_SEED}
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=not told,
        licence=parameters.licence or catalogue()[SYNTHESIS].licence,
        weights=weights,
        kind="search",
        matched=told,
        size=SizeRule(square=True, hr=side),
        settings=settings,
        asks=("downscaler",) if told else (),
    )


def columns(parameters: Parameters) -> dict[str, Column]:
    """What the samples say of themselves: whether, and how closely, they fit the LR image."""
    return {
        "converged": Column(
            "share",
            "reached eps",
            "samples whose downscaled image came within eps of the LR image at some step of the search",
        ),
        "residual": Column(
            "mean",
            "residual",
            "mean squared difference of the downscaled sample and the LR image, of values in [0, 1]; 1 for a sample"
            " that is not finite",
        ),
    }


def _reflects(side: int, factor: int) -> bool:
    """Whether an image is larger than what PULSE's bicubic filter mirrors at each border."""
    return math.ceil(3 * factor / 2) < side


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's own fit, if there is one.

    The networks' files are looked into as well, so that a wrong one is found by ``plan``; that is a comparison of names
    and shapes, and nothing is computed.
    """
    from ida_rd.models.stylegan.checkpoint import check_mapping, check_synthesis
    from ida_rd.upscale.pulse.fit import read_fit

    paths = parameters.paths
    config = check_synthesis(read_weights(SYNTHESIS, paths.get("synthesis")), parameters.resolution)
    if "gaussian_fit" in paths:
        fit = Path(paths["gaussian_fit"]).expanduser()
        read_fit(read_file(fit), config.latent)
        return [fit]
    check_mapping(read_weights(MAPPING, paths.get("mapping")), config.latent)
    return []


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel: of the samples that are searched for together, with the published widths."""
    channels = official_channels(parameters.resolution)
    kept = sum(count / 4**i for i, count in enumerate(reversed(channels)))
    return BYTES * kept * min(parameters.batch or 1, samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the generator onto a torch device."""
    from ida_rd.upscale.pulse.sampler import PulseUpscaler

    return PulseUpscaler(parameters, problem, device)

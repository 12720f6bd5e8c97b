"""``ldm``: latent diffusion for super-resolution by factor 4 [1]_, on the package diffusers.

    {method: ldm}                                       # put its two files into torch's cache
    {method: ldm, path: ldm-super-resolution-4x-openimages, eta: 1}   # or the folder as it is published

A U-Net removes the noise from a latent, beside which it sees the LR image, whose size a latent has; an autoencoder
makes the image of it. It takes no prompt. The networks are the package's; the loop is ours, since the package's own
takes the noise of steps from a global generator.

References
----------
.. [1] Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ida_rd.core.errors import UserError
from ida_rd.core.weights import MissingWeights, catalogue, locate
from ida_rd.models.latent.checkpoint import check_header
from ida_rd.models.latent.config import AutoencoderConfig, UNetConfig
from ida_rd.models.latent.folder import autoencoder_config, check_schedule, configurations, unet_config, weights_in
from ida_rd.models.latent.layout import autoencoder_shapes, unet_shapes
from ida_rd.upscale.contract import Descriptor, Problem, SizeRule
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "Parameters",
    "bytes_of_decoding",
    "bytes_of_step",
    "configs",
    "describe",
    "files",
    "load",
    "memory",
    "packages",
    "weights_of",
]

HARMLESS = ("steps", "eta", "batch", "licence")
PARTS = ("unet", "vqvae")
WHAT = {"unet": "this U-Net of latent diffusion", "vqvae": "this autoencoder of latent diffusion"}
STEP_BYTES = 30.0  # per pixel of a latent, channel at full size, and block of a level on its way up
DECODING_BYTES = 40.0  # per HR pixel and channel at full size


class Parameters(DiffusionParameters):
    """Where the networks are, and how they are sampled."""

    path: str | None = Field(
        default=None,
        description="folder of the networks as diffusers saves it, with unet and vqvae in it; null: their files are"
        " looked for in torch's cache",
    )
    steps: int = Field(default=100, ge=1, le=999, description="steps from noise to latent; published: 100")
    eta: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="how much noise a step adds, as a share of that of an ancestral one; 0: a sample is decided by the"
        " noise that it begins from",
    )

    def folder(self) -> Path | None:
        """The user's folder."""
        if self.path is None:
            return None
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise UserError(f"path: {folder} is no folder: give that of the networks, with unet and vqvae in it")
        return folder


def weights_of(parameters: Parameters) -> dict[str, str | None]:
    """The catalogue's ids of the two networks, with the user's paths to them."""
    folder, found = parameters.folder(), {}
    for part in PARTS:
        path = None if folder is None else weights_in(folder, part)
        if path is not None and not path.is_file():
            known = catalogue()[f"ldm.{part}"]
            raise UserError(
                f"path: {folder} has no {part}/{path.name}, nor .bin: give the whole folder, such as {known.archive}"
                f" ({known.licence})"
            )
        found[f"ldm.{part}"] = None if path is None else str(path)
    return found


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them."""
    return {"diffusers": "pip install 'ida-rd[diffusion]'"}


def configs(parameters: Parameters) -> tuple[UNetConfig, AutoencoderConfig]:
    """What the networks are; raises UserError if they do not go together."""
    folder = parameters.folder()
    unet, autoencoder = unet_config(folder), autoencoder_config(folder)
    check_schedule(folder)
    if (unet.inside, unet.outside) != (autoencoder.latent + 3, autoencoder.latent):
        raise UserError(
            f"path: {folder}: its U-Net makes {unet.outside} channels of {unet.inside}, and latents of"
            f" {autoencoder.latent} channels beside an image ask for {autoencoder.latent} of {autoencoder.latent + 3}"
        )
    return unet, autoencoder


def _check_factor(parameters: Parameters, factor: int) -> tuple[UNetConfig, AutoencoderConfig]:
    unet, autoencoder = configs(parameters)
    if factor != autoencoder.factor:
        raise UserError(f"factor {factor}: these networks enlarge by {autoencoder.factor} alone")
    return unet, autoencoder


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the networks for a factor; raises UserError for one that is not theirs."""
    unet, _ = _check_factor(parameters, factor)
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=True,
        licence=parameters.licence or catalogue()["ldm.unet"].licence,
        weights=weights_of(parameters),
        kind="diffusion",
        size=SizeRule(least=unet.multiple),
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """Configurations of the user's folder; the headers of the weights are compared, if they are here."""
    configured = configs(parameters)
    shapes = dict(zip(PARTS, (unet_shapes(configured[0]), autoencoder_shapes(configured[1])), strict=True))
    for part, (key, path) in zip(PARTS, weights_of(parameters).items(), strict=True):
        try:
            found = locate(key, path, download=False).path
        except MissingWeights:
            continue
        check_header(found, WHAT[part], shapes[part])
    folder = parameters.folder()
    return [] if folder is None else configurations(folder)


def bytes_of_step(config: UNetConfig) -> float:
    """Bytes that a step takes per pixel of a sample's latent, as measured."""
    return STEP_BYTES * config.widths[0] * (config.blocks + 1)


def bytes_of_decoding(config: AutoencoderConfig) -> float:
    """Bytes that decoding takes per HR pixel, as measured; one sample is decoded at a time."""
    return DECODING_BYTES * config.widths[0]


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per HR pixel: of the samples that are computed together, or of one that is decoded."""
    unet, autoencoder = _check_factor(parameters, factor)
    return max(bytes_of_step(unet) / factor**2 * parameters.together(samples), bytes_of_decoding(autoencoder))


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the networks onto a torch device."""
    from ida_rd.upscale.ldm.sampler import LDMUpscaler

    return LDMUpscaler(parameters, problem.factor, device)

"""``diffbir``: DiffBIR [1]_ for factor 4, on the packages diffusers, transformers and spandrel.

    {method: diffbir}                                # v1: put its two files into torch's cache
    {method: diffbir, path: general_full_v1.ckpt, swinir: general_swinir_v1.ckpt}
    {method: diffbir, version: v2}                   # three files: Stable Diffusion, its control, BSRNet
    {method: diffbir, version: v2, path: stable-diffusion-2-1-base}   # the first as a folder of diffusers
    {method: diffbir, version: v2.1, cfg: 8, tile: 512}

A network that is not random (SwinIR, or BSRNet) makes a clean and smooth image; its latent controls Stable Diffusion
2.1, whose latent begins as noise; what an autoencoder makes of that gets the low frequencies of the smooth image. v1
has no prompt; v2 and v2.1 are guided away from the prompts that they are published with. An image whose short side is
below 512 pixels is made at 512 and reduced, as published. Restoration guidance, which the published program has but
does not use, is left out.

The whole of v1 and of v2, their networks, samplers, guidance, tiles and colours agree with golden vectors; of v2.1 its
parts do, but how it pads the image before stage 1 and crops it after is by description alone.

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
from ida_rd.upscale.diffbir.layout import check_file, files_in
from ida_rd.upscale.diffbir.versions import FACTOR, LEAST, MULTIPLE, VERSIONS, Name, Role, Version, Way
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

if TYPE_CHECKING:
    from ida_rd.upscale.contract import Upscaler

__all__ = [
    "Parameters",
    "describe",
    "files",
    "load",
    "made_at",
    "memory",
    "own",
    "packages",
    "wanted",
    "weights_of",
]

HARMLESS = (
    "version", "stage1", "sampler", "steps", "cfg", "start", "tile", "stride", "colour", "compat", "batch", "licence",
)  # fmt: skip
BYTES = 5200.0  # per pixel at which an image is made, as measured of an autoencoder of the same widths
STEP_BYTES = 900.0  # and of each sample that goes through a step


class Parameters(DiffusionParameters):
    """Which version, where its networks are, and how they are sampled."""

    version: Name = Field(default="v1", description="v1 of August 2023, v2 of April 2024, or v2.1 of November 2024")
    path: str | None = Field(
        default=None,
        description="your file of general_full_v1.ckpt, or of the Stable Diffusion 2.1 that v2 or v2.1 use, or a folder"
        " of that as diffusers saves it, with unet, vae, text_encoder and scheduler in it; null: it is looked for in"
        " torch's cache",
    )
    control: str | None = Field(
        default=None,
        description="your file of v2.pth or DiffBIR_v2.1.pt; null: it is looked for in torch's cache; not of v1",
    )
    stage1: Literal["published", "inside"] = Field(
        default="published",
        description="the network that makes the smooth image; published: that of `swinir` or `bsrnet`; inside: of v1,"
        " that in the other file",
    )
    swinir: str | None = Field(
        default=None,
        description="your file of general_swinir_v1.ckpt, or of realesrgan_s4_swinir_100k.pth for v2.1; null: it is"
        " looked for in torch's cache",
    )
    bsrnet: str | None = Field(
        default=None, description="your file of BSRNet.pth, for v2; null: it is looked for in torch's cache"
    )
    sampler: Way | None = Field(
        default=None,
        description="how the steps are taken; null: as published, spaced, which adds noise at each, or dpm++_3m_sde of"
        " v2.1",
    )
    steps: int | None = Field(
        default=None, ge=2, le=999, description="steps from noise to latent; null: as published, 50, or 10 of v2.1"
    )
    cfg: float | None = Field(
        default=None,
        ge=0,
        le=50,
        description="scale of guidance, from the unwanted prompt towards the wanted one; 1: none; null: as published, 4"
        " of v2 and 6 of v2.1, whose README has 8; of v1 there is none",
    )
    start: Literal["noise", "condition"] = Field(
        default="noise",
        description="what a latent begins as; published: noise; condition: what is left at the last time of the smooth"
        " image, with noise",
    )
    tile: int | None = Field(
        default=None,
        ge=64,
        le=8192,
        multiple_of=64,
        description="longest side of what the network sees at once, in pixels of the image as it is made (of 512 and"
        " more), a multiple of 64; published: 512, if asked for; null: all of it",
    )
    stride: int | None = Field(
        default=None,
        ge=8,
        le=8192,
        multiple_of=8,
        description="from one tile to the next, in pixels, a multiple of 8; null: as published, half of `tile`",
    )
    colour: Literal["wavelet", "adain", "none"] = Field(
        default="wavelet",
        description="what is taken from the smooth image: low frequencies (as published), means and deviations of"
        " channels, or nothing",
    )
    compat: Literal["none", "official"] = Field(
        default="none", description="official: truncate to 8 bits as the official program does, and do not round"
    )

    @model_validator(mode="after")
    def _goes_together(self) -> Parameters:
        _check(self.stage1 == "published" or self.version == "v1", f"stage1: {self.version} has none inside: remove it")
        _check(
            self.stage1 == "published" or self.swinir is None,
            "swinir: stage1: inside does not use it: remove one of them",
        )
        for key in ("control", "swinir", "bsrnet"):
            unused = getattr(self, key) is not None and key not in self.places().values()
            _check(not unused, f"{key}: {self.version} has no such file: remove it, or set version")
        _check(self.version != "v1" or self.guidance() == 1, "cfg: v1 has no prompt to be guided by: remove it")
        _check(
            not (self.known().zero and self.sampler == "dpm_solver"),
            f"sampler: dpm_solver begins where something of the image is left, and {self.version} at noise alone:"
            " give another",
        )
        _check(self.tile is not None or self.stride is None, "stride: nothing is cut without tile: give tile too")
        _check(
            self.tile is None or self.apart(self.tile) <= self.tile,
            f"stride: tiles of {self.tile} pixels, {self.stride} apart, leave gaps: give one of at most tile",
        )
        return self

    def known(self) -> Version:
        """The version."""
        return VERSIONS[self.version]

    def places(self) -> dict[Role, str]:
        """Which key says where a file is."""
        found: dict[Role, str] = {"base": "path", "control": "control"}
        found["stage1"] = "bsrnet" if self.version == "v2" else "swinir"
        return {role: key for role, key in found.items() if role in self.known().files}

    def way(self) -> Way:
        """The sampler."""
        return self.known().sampler if self.sampler is None else self.sampler

    def count(self) -> int:
        """How many steps there are."""
        return self.known().steps if self.steps is None else self.steps

    def guidance(self) -> float:
        """Its scale."""
        return self.known().cfg if self.cfg is None else self.cfg

    def apart(self, tile: int) -> int:
        """Pixels from one tile to the next."""
        return tile // 2 if self.stride is None else self.stride


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def wanted(parameters: Parameters) -> dict[Role, tuple[str, str | None]]:
    """The catalogue's id of each file that is needed, and the user's path to it."""
    return {
        role: (parameters.known().files[role], getattr(parameters, key))
        for role, key in parameters.places().items()
        if role != "stage1" or parameters.stage1 == "published"
    }


def weights_of(parameters: Parameters) -> dict[str, str | None]:
    """The catalogue's ids of the files that are not the user's own: these may be copies of other bytes."""
    return {key: None for key, path in wanted(parameters).values() if path is None}


def own(parameters: Parameters) -> dict[str, Path]:
    """The user's files, and the folder of Stable Diffusion if it is one, by id."""
    found = {}
    for role, (key, path) in wanted(parameters).items():
        if path is None:
            continue
        found[key] = Path(path).expanduser()
        folder = found[key].is_dir()
        if not found[key].is_file() and not (folder and role == "base" and parameters.version != "v1"):
            known, name = catalogue()[key], parameters.places()[role]
            source = known.archive or known.url
            title = known.name or str(known.url).rsplit("/", 1)[1]
            what = "is a folder" if folder else "does not exist"
            raise UserError(f"{name}: {found[key]} {what}: give {title}, of {source} ({known.licence})")
    return found


def packages(parameters: Parameters) -> dict[str, str]:
    """Modules that may be missing, and how to get them."""
    install = "pip install 'ida-rd[diffusion,spandrel]'"
    return {"diffusers": install, "transformers": install, "spandrel": install}


def describe(parameters: Parameters, factor: int) -> Descriptor:
    """Describe the networks; raises UserError for another factor than 4."""
    if factor != FACTOR:
        raise UserError(f"factor {factor}: DiffBIR enlarges by {FACTOR} alone")
    known, tile = parameters.known(), parameters.tile
    terms = [catalogue()[known.files[role]].licence for role in ("base", "control") if role in known.files]
    guidance = parameters.guidance()
    prompts = {"prompt": list(known.prompt)} | ({} if guidance == 1 else {"negative": list(known.negative)})
    return Descriptor(
        factor=factor,
        stochastic=True,
        blind=True,
        licence=parameters.licence or "; ".join(terms),
        weights=weights_of(parameters),
        kind="diffusion",
        size=SizeRule(),
        settings={"sampler": parameters.way(), "steps": parameters.count(), "cfg": guidance}
        | prompts
        | ({} if tile is None else {"stride": parameters.apart(tile)}),
    )


def files(parameters: Parameters, factor: int) -> list[Path]:
    """The user's files; the headers of all that are here are compared."""
    found = own(parameters)
    for role, (key, _) in wanted(parameters).items():
        try:
            path = found.get(key) or locate(key, download=False).path
        except MissingWeights:
            continue
        check_file(path, parameters.version, role, inside=role == "base" and parameters.stage1 == "inside")
    return [file for path in found.values() for file in files_in(path)]


def made_at(parameters: Parameters, height: int, width: int) -> tuple[int, int]:
    """Height and width at which an HR image is made, with what is cropped."""
    short = max(min(height, width), 1)
    most = max(short, LEAST)
    high, wide = (-(-side * most // (short * MULTIPLE)) * MULTIPLE for side in (height, width))
    return high, wide


def memory(parameters: Parameters, factor: int, samples: int) -> float:
    """Bytes per pixel at which an image is made: of one sample that is decoded, and of those computed together."""
    return BYTES + STEP_BYTES * parameters.together(samples)


def load(parameters: Parameters, problem: Problem, device: str) -> Upscaler:
    """Load the networks onto a torch device."""
    from ida_rd.upscale.diffbir.sampler import DiffBIRUpscaler

    return DiffBIRUpscaler(parameters, device)

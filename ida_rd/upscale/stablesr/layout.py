"""What the files of StableSR hold, known without torch: all networks in one, and the decoder in another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.headers import Header, read_header
from ida_rd.core.weights import catalogue
from ida_rd.models.latent.config import (
    SD2_AUTOENCODER,
    SD2_TEXT,
    SD2_UNET,
    AutoencoderConfig,
    TextConfig,
    UNetConfig,
)
from ida_rd.models.latent.layout import autoencoder_shapes, text_shapes
from ida_rd.models.latent.names import autoencoder_names, text_names, unet_names
from ida_rd.models.latent.parts import Part, missing_of
from ida_rd.models.stablesr.config import PUBLISHED, StructureConfig
from ida_rd.models.stablesr.layout import fused_shapes, modulated_shapes, structure_shapes

__all__ = ["CFW", "SIZES", "Sizes", "check_file", "parts_of"]

CFW = "stablesr.cfw"
SOURCE = "source_sha256"  # in what `ida-rd weights convert` writes


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks of the files."""

    unet: UNetConfig = SD2_UNET
    structure: StructureConfig = PUBLISHED
    autoencoder: AutoencoderConfig = SD2_AUTOENCODER
    text: TextConfig = SD2_TEXT


SIZES = Sizes()


def parts_of(sizes: Sizes, weight: str) -> dict[str, Part]:
    """The networks of the file of a weight id."""
    names = partial(autoencoder_names, levels=len(sizes.autoencoder.widths))
    if weight == CFW:
        own = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
        shapes = fused_shapes(sizes.autoencoder)
        return {"fused": Part("the decoder with CFW", own, sizes.autoencoder, shapes, names)}
    return {
        "unet": Part(
            "the U-Net", ("model.diffusion_model.",), sizes.unet, modulated_shapes(sizes.unet, sizes.structure.outside),
            unet_names,
        ),
        "structure": Part(
            "the structure encoder", ("structcond_stage_model.",), sizes.structure, structure_shapes(sizes.structure)
        ),
        "autoencoder": Part(
            "the autoencoder", ("first_stage_model.",), sizes.autoencoder, autoencoder_shapes(sizes.autoencoder), names
        ),
        "text": Part(
            "the text encoder", ("cond_stage_model.model.",), sizes.text, text_shapes(sizes.text),
            partial(text_names, layers=sizes.text.layers),
        ),
    }  # fmt: skip


def check_file(path: Path, weight: str) -> None:
    """Compare the names in a file with those of the networks that it should hold.

    Parameters
    ----------
    path : Path
    weight : str
        Id of what it stands for.

    Raises
    ------
    UserError
        One of them is not whole, or it was made of another published file; says which file is right.
    """
    known, header = catalogue()[weight], read_header(path)
    right = f"give {known.name}, of {known.archive} ({known.licence})"
    if missing := missing_of(header.names, parts_of(SIZES, weight).values()):
        raise UserError(f"{path}: {missing}: {right}")
    if other := _made_of_another(header, weight):
        raise UserError(f"{path} was converted from {other}: {right}")


def _made_of_another(header: Header, weight: str) -> str | None:
    """Name of the published file that a converted one was made of, if it should have been made of a different one."""
    source = header.metadata.get(SOURCE)
    for other in catalogue().values():
        if other.id.startswith("stablesr.") and other.id != weight and source in other.sha256:
            return other.name
    return None

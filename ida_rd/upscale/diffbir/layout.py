"""What the files of DiffBIR v1 hold, known without torch: all networks in one file, by what their names begin with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.headers import read_header
from ida_rd.models.latent.checkpoint import Names
from ida_rd.models.latent.config import (
    SD2_AUTOENCODER,
    SD2_TEXT,
    SD2_UNET,
    AutoencoderConfig,
    TextConfig,
    UNetConfig,
)
from ida_rd.models.latent.layout import Shapes, autoencoder_shapes, control_shapes, text_shapes, unet_shapes
from ida_rd.models.latent.names import autoencoder_names, text_names, unet_names

__all__ = ["SIZES", "SWINIR", "Part", "Sizes", "check_complete", "check_swinir", "parts_of"]

SWINIR = "preprocess_model."
# Of the network of stage 1, which the package spandrel recognises by all of its tensors.
SWINIR_NAMES = (
    "conv_first.1.weight", "patch_embed.norm.weight", "layers.0.residual_group.blocks.0.attn.qkv.weight",
    "conv_after_body.weight", "conv_before_upsample.0.weight", "conv_last.weight",
)  # fmt: skip
SHOWN = 4


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks of a file."""

    unet: UNetConfig = SD2_UNET
    autoencoder: AutoencoderConfig = SD2_AUTOENCODER
    text: TextConfig = SD2_TEXT


@dataclass(frozen=True)
class Part:
    """One network of a file.

    Attributes
    ----------
    what : str
        For errors.
    prefix : str
        What its names begin with.
    config : object
    shapes : dict
        Of its tensors, under their names in diffusers.
    names : callable
        Of a tensor in the file, without the prefix, to those of `shapes`.
    """

    what: str
    prefix: str
    config: Any
    shapes: Shapes
    names: Names


SIZES = Sizes()


def parts_of(sizes: Sizes) -> dict[str, Part]:
    """The networks of a file besides that of stage 1."""
    levels = len(sizes.autoencoder.widths)
    return {
        "unet": Part("the U-Net", "model.diffusion_model.", sizes.unet, unet_shapes(sizes.unet), unet_names),
        "control": Part(
            "the control", "control_model.", sizes.unet, control_shapes(sizes.unet), partial(unet_names, control=True)
        ),
        "autoencoder": Part(
            "the autoencoder", "first_stage_model.", sizes.autoencoder, autoencoder_shapes(sizes.autoencoder),
            partial(autoencoder_names, levels=levels),
        ),
        "text": Part(
            "the text encoder", "cond_stage_model.model.", sizes.text, text_shapes(sizes.text),
            partial(text_names, layers=sizes.text.layers),
        ),
    }  # fmt: skip


def check_complete(path: Path, *, swinir: bool) -> None:
    """Compare the names in a file with those of all networks.

    Parameters
    ----------
    path : Path
    swinir : bool
        Whether the network of stage 1 is needed too.

    Raises
    ------
    UserError
        One of them is not whole; says which, and what is missing of it.
    """
    names = read_header(path).names
    for part in parts_of(SIZES).values():
        given = [name.removeprefix(part.prefix) for name in names if name.startswith(part.prefix)]
        found = {target for name in given for target in part.names(name)}
        _complain(path, part.what, part.prefix, [name for name in part.shapes if name not in found])
    if swinir:
        _complain(path, "the network of stage 1", SWINIR, [one for one in SWINIR_NAMES if SWINIR + one not in names])


def check_swinir(path: Path) -> None:
    """Compare the names in a file with those of the network of stage 1; errors as those of `check_complete`."""
    names = {name.removeprefix("module.") for name in read_header(path).names}
    _complain(path, "the network of stage 1", "", [one for one in SWINIR_NAMES if one not in names])


def _complain(path: Path, what: str, prefix: str, missing: Collection[str]) -> None:
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        where = f" ({prefix}...)" if prefix else ""
        listed = ", ".join(list(missing)[:SHOWN])
        raise UserError(f"{path}: {what} of DiffBIR v1{where} is not whole: {listed}{more}: give the right file")

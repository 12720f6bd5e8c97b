"""What the files of DiffBIR hold, known without torch: networks, by what their names in a file begin with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.headers import read_header
from ida_rd.core.weights import catalogue
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
from ida_rd.models.latent.names import (
    autoencoder_names,
    folder_names,
    folder_text_names,
    text_names,
    unet_names,
)
from ida_rd.models.latent.stable import check_folder, files_of, part_file
from ida_rd.upscale.diffbir.versions import VERSIONS, Name, Role

__all__ = ["INSIDE", "SIZES", "Part", "Sizes", "check_file", "file_of", "files_in", "parts_of"]

INSIDE = "preprocess_model."  # of the network of stage 1 within v1's file
# Of the network of stage 1, which the package spandrel recognises by all of its tensors.
RESTORERS = {
    "SwinIR": (
        "conv_first.1.weight", "patch_embed.norm.weight", "layers.0.residual_group.blocks.0.attn.qkv.weight",
        "conv_after_body.weight", "conv_before_upsample.0.weight", "conv_last.weight",
    ),
    "ESRGAN": (
        "conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "RRDB_trunk.22.RDB3.conv5.weight", "trunk_conv.weight",
        "upconv2.weight", "conv_last.weight",
    ),
}  # fmt: skip
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
    role : str
        Which file.
    what : str
        For errors.
    prefix : str
        What its names in it begin with.
    config : object
    shapes : dict
        Of its tensors, under their names in diffusers.
    names : callable
        Of a tensor in the file, without the prefix, to those of `shapes`.
    within : str
        Which part of a folder of Stable Diffusion it is; empty: it is not of one.
    """

    role: Role
    what: str
    prefix: str
    config: Any
    shapes: Shapes
    names: Names
    within: str = ""


SIZES = Sizes()


def parts_of(sizes: Sizes, version: Name = "v1", *, folder: bool = False) -> dict[str, Part]:
    """The networks of a version besides that of stage 1; `folder`: Stable Diffusion is a folder, not a file."""
    levels = len(sizes.autoencoder.widths)
    unet, autoencoder, text = unet_shapes(sizes.unet), autoencoder_shapes(sizes.autoencoder), text_shapes(sizes.text)
    alone = "control" in VERSIONS[version].files
    found = {
        "unet": Part("base", "the U-Net", "model.diffusion_model.", sizes.unet, unet, unet_names),
        "autoencoder": Part(
            "base", "the autoencoder", "first_stage_model.", sizes.autoencoder, autoencoder,
            partial(autoencoder_names, levels=levels),
        ),
        "text": Part(
            "base", "the text encoder", "cond_stage_model.model.", sizes.text, text,
            partial(text_names, layers=sizes.text.layers),
        ),
        "control": Part(
            "control" if alone else "base", "the control", "" if alone else "control_model.", sizes.unet,
            control_shapes(sizes.unet), partial(unet_names, control=True),
        ),
    }  # fmt: skip
    if folder:
        of_text = partial(folder_text_names, layers=sizes.text.layers)
        for name, within, names in (
            ("unet", "unet", folder_names), ("autoencoder", "vae", folder_names), ("text", "text_encoder", of_text),
        ):  # fmt: skip
            found[name] = replace(found[name], prefix="", names=names, within=within)
    return found


def file_of(path: Path, within: str) -> Path:
    """The file of a part: `path` itself, or what a folder has for it."""
    return part_file(path, within) if within else path


def files_in(path: Path) -> list[Path]:
    """All files that are used of a folder of Stable Diffusion; of a file, the file."""
    return files_of(path) if path.is_dir() else [path]


def check_file(path: Path, version: Name, role: Role, *, inside: bool = False) -> None:
    """Compare the names in a file with those of all networks that it should have.

    Parameters
    ----------
    path : Path
        Of a file; of Stable Diffusion, of a folder too.
    version, role : str
        What it stands for.
    inside : bool
        Whether the network of stage 1 is needed of v1's file too.

    Raises
    ------
    UserError
        One of them is not whole; says which, and what is missing of it.
    """
    folder = path.is_dir()
    if folder:
        known = catalogue()[VERSIONS[version].files[role]]
        right = f"give the whole folder, or {known.name}, of {known.archive} ({known.licence})"
        zero = VERSIONS[version].zero
        check_folder(path, (SIZES.unet, SIZES.autoencoder, SIZES.text), zero=zero, right=right)
    for part in parts_of(SIZES, version, folder=folder).values():
        if part.role == role:
            file = file_of(path, part.within)
            names = _names(file)
            given = [name.removeprefix(part.prefix) for name in names if name.startswith(part.prefix)]
            found = {target for name in given for target in part.names(name)}
            missing = [name for name in part.shapes if name not in found]
            _complain(file, f"{part.what} of DiffBIR {version}", part.prefix, missing)
    if inside or role == "stage1":
        names = _names(path)
        prefix = INSIDE if inside else ""
        missing = [one for one in RESTORERS[VERSIONS[version].restorer[0]] if prefix + one not in names]
        _complain(path, f"the network of stage 1 of DiffBIR {version}", prefix, missing)


def _names(path: Path) -> set[str]:
    listed = read_header(path).names
    return listed | {name.removeprefix("module.") for name in listed}


def _complain(path: Path, what: str, prefix: str, missing: Collection[str]) -> None:
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        where = f" ({prefix}...)" if prefix else ""
        listed = ", ".join(list(missing)[:SHOWN])
        raise UserError(f"{path}: {what}{where} is not whole: {listed}{more}: give the right file")

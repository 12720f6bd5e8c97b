"""A folder as diffusers saves a pipeline: where its networks are, and what they are by its configurations.

    unet/config.json, unet/diffusion_pytorch_model.safetensors (or .bin), vqvae/..., scheduler/scheduler_config.json

A configuration that is not there is the published one. Those that are there decide sizes alone: whatever else they say
must be as it is there, since no tensor would tell the difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import decoding
from ida_rd.core.readers import read_json
from ida_rd.models.latent.config import LDM_SR_UNET, LDM_SR_VQ, AutoencoderConfig, UNetConfig

__all__ = [
    "autoencoder_config",
    "check_plain",
    "check_schedule",
    "configurations",
    "read_configuration",
    "unet_config",
    "weights_in",
]

NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
CONFIGURATIONS = ("unet/config.json", "vqvae/config.json", "scheduler/scheduler_config.json")
HINT = "give the folder of an LDM for super-resolution"
FIXED: dict[str, dict[str, Any]] = {
    "unet": {
        "act_fn": "silu", "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv",
        "flip_sin_to_cos": True, "mid_block_scale_factor": 1, "norm_eps": 1e-5, "add_attention": True,
        "mid_block_type": "UNetMidBlock2D", "time_embedding_type": "positional", "resnet_time_scale_shift": "default",
    },
    "vqvae": {"act_fn": "silu", "norm_type": "group", "mid_block_add_attention": True},
}  # fmt: skip
SIZES = {
    "unet": {
        "in_channels", "out_channels", "block_out_channels", "layers_per_block", "attention_head_dim",
        "norm_num_groups", "down_block_types", "up_block_types", "sample_size", "num_train_timesteps",
    },
    "vqvae": {
        "in_channels", "out_channels", "block_out_channels", "layers_per_block", "latent_channels",
        "num_vq_embeddings", "vq_embed_dim", "norm_num_groups", "down_block_types", "up_block_types", "sample_size",
        "scaling_factor",
    },
}  # fmt: skip
SCHEDULE = {"beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "prediction_type": "epsilon"}
BETAS = {"beta_start": 0.0015, "beta_end": 0.0155}


def weights_in(folder: Path, part: str, names: Collection[str] = NAMES) -> Path:
    """The weight file of a part of a folder; the first of `names`, if it has none, so that an error can name it."""
    found = [folder / part / name for name in names]
    return next((path for path in found if path.is_file()), found[0])


def configurations(folder: Path) -> list[Path]:
    """The configurations that a folder has."""
    return [path for name in CONFIGURATIONS if (path := folder / name).is_file()]


def read_configuration(path: Path, hint: str) -> dict[str, Any]:
    """What a configuration says; `hint` ends an error."""
    read = read_json(path, hint=hint)
    if not isinstance(read, dict):
        raise UserError(f"{path}: is no configuration, which is a mapping: {hint}")
    return read


def _read(folder: Path | None, name: str) -> tuple[Path, dict[str, Any]] | None:
    if folder is None or not (path := folder / name).is_file():
        return None
    return path, read_configuration(path, HINT)


def check_plain(
    path: Path, read: Mapping[str, Any], fixed: Mapping[str, Any], others: Collection[str], hint: str
) -> None:
    """Refuse a network that is built of something else.

    Parameters
    ----------
    path : Path
    read : mapping
        Its configuration.
    fixed : mapping
        What must be as it is there, if it is said.
    others : collection of str
        Keys that are not looked at. What is neither must be off.
    hint : str
        Ends an error.
    """
    for key, value in read.items():
        if key.startswith("_") or key in others:
            continue
        known = key in fixed
        if value != fixed[key] if known else value:
            asked = f", not {fixed[key]!r}" if known else ""
            raise UserError(f"{path}: {key} is {value!r}{asked}: no network of that kind is built; {hint}")


def unet_config(folder: Path | None) -> UNetConfig:
    """The U-Net of a folder; without one, or a configuration in it, the published one.

    Raises
    ------
    UserError
        It is another kind of network, or none.
    """
    if (found := _read(folder, CONFIGURATIONS[0])) is None:
        return LDM_SR_UNET
    path, read = found
    check_plain(path, read, FIXED["unet"], SIZES["unet"], HINT)
    with decoding(f"{path}: not a U-Net of latent diffusion", HINT):
        downs, ups = list(read["down_block_types"]), list(read["up_block_types"])
        kinds = {"DownBlock2D": False, "AttnDownBlock2D": True, "UpBlock2D": False, "AttnUpBlock2D": True}
        if [kinds[one] for one in downs] != [kinds[one] for one in reversed(ups)]:
            raise ValueError("its ways down and up have attention at different levels")
        if len(downs) != len(read["block_out_channels"]) or any("Up" in one for one in downs):
            raise ValueError("not one block per level")
        return UNetConfig(
            read["in_channels"],
            read["out_channels"],
            tuple(read["block_out_channels"]),
            tuple(level for level, one in enumerate(downs) if kinds[one]),
            read["layers_per_block"],
            read["attention_head_dim"],
            read.get("norm_num_groups", 32),
        )


def autoencoder_config(folder: Path | None) -> AutoencoderConfig:
    """The autoencoder of a folder; parameters and errors as those of `unet_config`."""
    if (found := _read(folder, CONFIGURATIONS[1])) is None:
        return LDM_SR_VQ
    path, read = found
    check_plain(path, read, FIXED["vqvae"], SIZES["vqvae"], HINT)
    with decoding(f"{path}: not an autoencoder of latent diffusion", HINT):
        widths, latent = tuple(read["block_out_channels"]), read["latent_channels"]
        if {*read["down_block_types"], *read["up_block_types"]} != {"DownEncoderBlock2D", "UpDecoderBlock2D"}:
            raise ValueError("of other blocks")
        if (read.get("in_channels", 3), read.get("out_channels", 3), read.get("vq_embed_dim") or latent) != (
            3, 3, latent,
        ):  # fmt: skip
            raise ValueError("of other channels")
        blocks, groups = read["layers_per_block"], read.get("norm_num_groups", 32)
        return AutoencoderConfig(widths, latent, read["num_vq_embeddings"], blocks, groups)


def check_schedule(folder: Path | None) -> None:
    """Refuse a network that was trained on another schedule than the published one."""
    if (found := _read(folder, CONFIGURATIONS[2])) is None:
        return
    path, read = found
    for key, value in (SCHEDULE | BETAS).items():
        if read.get(key, value) != value:
            raise UserError(
                f"{path}: {key} is {read[key]!r}, not {value!r}: it was trained on another schedule; {HINT}"
            )

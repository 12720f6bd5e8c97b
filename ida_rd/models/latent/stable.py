"""Stable Diffusion 2 as a folder that diffusers saves: where its networks are, and that they are those asked for.

    unet/config.json, unet/diffusion_pytorch_model.safetensors (or .bin), vae/..., text_encoder/config.json,
    text_encoder/model.safetensors (or pytorch_model.bin), scheduler/scheduler_config.json

All of them must be there: no tensor tells what a network predicts, how many heads its attention has, or which function
is between its layers. What a configuration leaves out is what the packages take it for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.models.latent.config import AutoencoderConfig, TextConfig, UNetConfig
from ida_rd.models.latent.folder import NAMES, check_plain, read_configuration, weights_in

__all__ = ["PARTS", "SCHEDULE", "Sizes", "check_folder", "files_of", "part_file"]

Sizes = tuple[UNetConfig, AutoencoderConfig, TextConfig]

PARTS: dict[str, tuple[str, ...]] = {
    "unet": NAMES,
    "vae": NAMES,
    "text_encoder": ("model.safetensors", "pytorch_model.bin"),
}
SCHEDULE = "scheduler/scheduler_config.json"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
# What the packages take a key for that is not there, where another value would be another network.
DEFAULTS: dict[str, dict[str, Any]] = {
    "unet": {
        "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "attention_head_dim": 8,
        "cross_attention_dim": 1280, "use_linear_projection": False,
    },
    "vae": {
        "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 32,
        "scaling_factor": 0.18215,
    },
    "text_encoder": {
        "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
        "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
    "scheduler": {
        "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000,
        "prediction_type": "epsilon", "rescale_betas_zero_snr": False, "trained_betas": None,
    },
}  # fmt: skip
FIXED: dict[str, dict[str, Any]] = {
    "unet": {
        "act_fn": "silu", "attention_type": "default", "conv_in_kernel": 3, "conv_out_kernel": 3,
        "downsample_padding": 1, "flip_sin_to_cos": True, "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-5, "resnet_out_scale_factor": 1,
        "resnet_time_scale_shift": "default", "time_embedding_type": "positional", "transformer_layers_per_block": 1,
    },
    "vae": {"act_fn": "silu", "mid_block_add_attention": True, "use_quant_conv": True, "use_post_quant_conv": True},
}  # fmt: skip
# Neither of them changes what is computed in float32.
OTHERS = {
    "unet": {"sample_size", "upcast_attention", "addition_embed_type_num_heads"},
    "vae": {"sample_size", "force_upcast"},
}


def part_file(folder: Path, part: str) -> Path:
    """The weight file of one of `PARTS`; the first of its names, if there is none."""
    return weights_in(folder, part, PARTS[part])


def files_of(folder: Path) -> list[Path]:
    """All files of a folder that are used: weights, configurations of networks, and the schedule."""
    parts = [file for part in PARTS for file in (part_file(folder, part), folder / part / "config.json")]
    return [*parts, folder / SCHEDULE]


def _expected(sizes: Sizes) -> dict[str, dict[str, Any]]:
    unet, autoencoder, text = sizes
    kinds = ["CrossAttn" if level in unet.attention else "" for level in range(len(unet.widths))]
    levels = len(autoencoder.widths)
    return {
        "unet": {
            "in_channels": unet.inside,
            "out_channels": unet.outside,
            "block_out_channels": list(unet.widths),
            "layers_per_block": unet.blocks,
            "norm_num_groups": unet.groups,
            "attention_head_dim": [max(1, width // unet.head) for width in unet.widths],
            "cross_attention_dim": unet.context,
            "use_linear_projection": True,
            "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
            "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        },
        "vae": {
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": list(autoencoder.widths),
            "latent_channels": autoencoder.latent,
            "layers_per_block": autoencoder.blocks,
            "norm_num_groups": autoencoder.groups,
            "scaling_factor": 0.18215,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
        },
        "text_encoder": {
            "vocab_size": text.words,
            "hidden_size": text.width,
            "intermediate_size": text.inside,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.positions,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
        },
    }


def check_folder(folder: Path, sizes: Sizes, *, zero: bool, right: str) -> None:
    """Compare the configurations of a folder with what the networks must be.

    Parameters
    ----------
    folder : Path
    sizes : tuple
        What the networks must be.
    zero : bool
        Whether the U-Net gives velocities, and the last time is noise alone; else it gives noise.
    right : str
        Ends an error: which folder is right, and where it is.

    Raises
    ------
    UserError
        A file is not there, or a network is another one.
    """
    for path in files_of(folder):
        if not path.is_file():
            other = PARTS.get(path.parent.name, ())
            either = f", nor {other[-1]}" if path.name in other else ""
            raise UserError(f"{folder} has no {path.parent.name}/{path.name}{either}: {right}")
    for part, expected in _expected(sizes).items():
        path = folder / part / "config.json"
        read = read_configuration(path, right)
        if part in FIXED:
            check_plain(path, read, FIXED[part], expected.keys() | OTHERS[part], right)
        _compare(path, read, expected, DEFAULTS[part], f"it is not the {part} of Stable Diffusion 2; {right}")
    predicted = {"prediction_type": "v_prediction" if zero else "epsilon", "rescale_betas_zero_snr": zero}
    asked = BETAS | predicted | {"trained_betas": None}
    path = folder / SCHEDULE
    why = f"its U-Net was trained to give something else; {right}"
    _compare(path, read_configuration(path, right), asked, DEFAULTS["scheduler"], why)


def _compare(
    path: Path, read: Mapping[str, Any], expected: Mapping[str, Any], defaults: Mapping[str, Any], why: str
) -> None:
    for key, value in expected.items():
        if (found := read.get(key, defaults.get(key))) != value:
            raise UserError(f"{path}: {key} is {found!r}, not {value!r}: {why}")

"""Tiny networks of latent diffusion: weights by key, and a folder of them as diffusers saves it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ida_rd.models.latent.config import AutoencoderConfig, UNetConfig
from ida_rd.models.latent.layout import OLD, autoencoder_shapes, unet_shapes
from ida_rd.models.latent.networks import autoencoder_of, unet_of

UNET = UNetConfig(6, 3, (16, 32, 32), (1, 2), 1, 8, 8)  # sides of latents are padded to multiples of 4
VQ = AutoencoderConfig((8, 16), 3, 64, 1, 4)  # factor 2
X4 = AutoencoderConfig((8, 8, 16), 3, 64, 1, 4)


def filled(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, Tensor]:
    """Tensors by their names, float32."""
    found = {}
    for name, shape in shapes.items():
        n = np.random.RandomState(zlib.crc32(f"{prefix}{name}".encode())).standard_normal(shape)
        if len(shape) == 1:
            n = 1 + 0.1 * n if name.endswith("weight") else 0.05 * n
        elif not name.endswith("embedding.weight"):
            n = n / np.sqrt(np.prod(shape[1:]))
        found[name] = torch.from_numpy(np.asarray(n, np.float32))
    return found


def nets(unet: UNetConfig = UNET, vq: AutoencoderConfig = VQ) -> tuple[nn.Module, nn.Module]:
    """The two networks."""
    return unet_of(unet, filled(unet_shapes(unet))), autoencoder_of(vq, filled(autoencoder_shapes(vq)))


def configurations(unet: UNetConfig = UNET, vq: AutoencoderConfig = VQ) -> dict[str, dict[str, Any]]:
    """What the networks are, as diffusers writes it, with all that it says besides; and their schedule."""
    first, second = nets(unet, vq)
    return {
        "unet/config.json": json.loads(first.to_json_string()),  # type: ignore[operator]
        "vqvae/config.json": json.loads(second.to_json_string()),  # type: ignore[operator]
        "scheduler/scheduler_config.json": {
            "_class_name": "DDIMScheduler", "beta_start": 0.0015, "beta_end": 0.0155, "beta_schedule": "scaled_linear",
            "num_train_timesteps": 1000, "clip_sample": False,
        },
    }  # fmt: skip


def saved(
    folder: Path,
    unet: UNetConfig = UNET,
    vq: AutoencoderConfig = VQ,
    *,
    old: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A folder; `old`: as the published one, from before diffusers 0.18."""
    names = {new: before for before, new in OLD.items()}
    for part, shapes in (("unet", unet_shapes(unet)), ("vqvae", autoencoder_shapes(vq))):
        state = {name: value.to(dtype) for name, value in filled(shapes).items()}
        (folder / part).mkdir(parents=True, exist_ok=True)
        if not old:
            save_file(state, folder / part / "diffusion_pytorch_model.safetensors")
            continue
        for new, before in names.items():
            state = {
                name.replace(f".{new}.", f".{before}.") if "attentions" in name else name: value
                for name, value in state.items()
            }
        torch.save(state, folder / part / "diffusion_pytorch_model.bin")
    for name, told in configurations(unet, vq).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(told))
    return folder


def changed(path: Path, **values: Any) -> None:
    """Change a configuration."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

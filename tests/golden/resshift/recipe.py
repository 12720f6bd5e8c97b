"""What the golden values of ResShift were computed with: weights by key, noise and images by seed."""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from golden.pulse.recipe import image
from ida_rd.models.resshift.autoencoder import Autoencoder
from ida_rd.models.resshift.config import AutoencoderConfig, UNetConfig
from ida_rd.models.resshift.layout import autoencoder_shapes, unet_shapes
from ida_rd.models.resshift.network import UNet

HERE = Path(__file__).resolve().parent
KEYS: dict[str, dict[str, list[int]]] = json.loads((HERE / "keys.json").read_text())
META: dict[str, dict[str, Any]] = json.loads((HERE / "meta.json").read_text())
SCHEDULES: dict[str, Any] = json.loads((HERE / "schedules.json").read_text())
TINY = UNetConfig(32, (1, 2, 2), 2, 64, 16, 2)
TINY_AUTOENCODER = AutoencoderConfig(32, (1, 2, 4), 1, 256)
SMALL = UNetConfig(32, (1, 1), 1, 32, 16, 1)  # sides of LR images are padded to multiples of 16
SMALL_AUTOENCODER = AutoencoderConfig(32, (1, 1, 1), 1, 64)
HALVED = ("out_layers.3.weight", "mlp.fc2.weight", "attn.proj.weight", "conv2.weight", "proj_out.weight")


def weights(config: UNetConfig | AutoencoderConfig) -> dict[str, Tensor]:
    """Tensors of a network by name, float32."""
    found = {}
    shapes = unet_shapes(config) if isinstance(config, UNetConfig) else autoencoder_shapes(config)
    for key, shape in shapes.items():
        n = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if key.endswith("relative_position_bias_table"):
            n *= 0.5
        elif len(shape) == 1:
            n = 1 + 0.1 * n if key.endswith(".weight") else 0.05 * n
        elif key != "quantize.embedding.weight":
            n *= (0.5 if key.endswith(HALVED) else 1.0) / np.sqrt(np.prod(shape[1:]))
        found[key] = torch.from_numpy(n.astype(np.float32))
    return found


def _filled(made: type[nn.Module], config: UNetConfig | AutoencoderConfig, dtype: torch.dtype) -> Any:
    with torch.inference_mode(False):  # it is kept, for tests of both modes
        with torch.device("meta"):
            net = made(config)
        net.load_state_dict({key: value.to(dtype) for key, value in weights(config).items()}, assign=True)
    return net.requires_grad_(False).eval()


@lru_cache(maxsize=4)
def unet(config: UNetConfig = TINY, dtype: torch.dtype = torch.float64) -> UNet:
    """A U-Net with the golden weights."""
    return _filled(UNet, config, dtype)


@lru_cache(maxsize=4)
def autoencoder(config: AutoencoderConfig = TINY_AUTOENCODER, dtype: torch.dtype = torch.float64) -> Autoencoder:
    """An autoencoder with the golden weights."""
    return _filled(Autoencoder, config, dtype)


def images(height: int, width: int, *seeds: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images in [-1, 1]."""
    levels = torch.from_numpy(np.stack([image(height, width, seed) for seed in seeds]))
    return ((levels.float() / 255 - 0.5) / 0.5).to(dtype)


def buffers(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Buffers that published files hold, as they need not be: nothing reads them."""
    return {
        key: torch.full(shape, float("nan")) if key.endswith("attn_mask") else torch.zeros(shape, dtype=torch.int64)
        for key, shape in shapes.items()
        if key.endswith(("relative_position_index", "attn_mask"))
    }


def digest(state: dict[str, Tensor]) -> str:
    """Hash of all tensors, sorted by name."""
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode() + state[key].numpy().tobytes())
    return found.hexdigest()


def saved(path: Path, config: UNetConfig | AutoencoderConfig, dtype: torch.dtype = torch.float32) -> Path:
    """A file that says its shape."""
    state = {key: value.to(dtype) for key, value in weights(config).items()}
    save_file(state, path, metadata={"config": json.dumps(config.as_dict())})
    return path


def hollow(path: Path, name: str, prefix: str = "", inside: str | None = None) -> Path:
    """A small file with all names of a published network and none of its numbers."""
    state: dict[str, Any] = {prefix + key: torch.zeros(1).expand(shape) for key, shape in KEYS[name].items()}
    torch.save(state if inside is None else {inside: state, "iters_start": 3, "log_step": {"train": 2}}, path)
    return path

"""What the golden values of StyleGAN and PULSE were computed with: weights by key; latents, noise, images by seed."""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.models.stylegan.config import SynthesisConfig, official_channels
from ida_rd.models.stylegan.layers import blur_kernel
from ida_rd.models.stylegan.network import Mapping, Synthesis

HERE = Path(__file__).resolve().parent
KEYS: dict[str, dict[str, list[int]]] = json.loads((HERE / "keys.json").read_text())


def meta(name: str) -> Any:
    return json.loads((HERE / f"meta_{name}.json").read_text())


@lru_cache(maxsize=128)
def _normal(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)


def weights(shapes: dict[str, Any], *, mapping: bool = False) -> dict[str, Tensor]:
    """A state dictionary by keys and shapes, float32."""
    found = {}
    for key, shape in shapes.items():
        if key.endswith(".kernel"):
            found[key] = blur_kernel()
            continue
        small = key.endswith((".noise.weight", "bias"))
        factor = (10.0 if small else 100.0) if mapping else (0.1 if small else 1.0)
        found[key] = torch.from_numpy((_normal(key, tuple(shape)) * factor).astype(np.float32))
    return found


def synthesis(
    resolution: int, dtype: torch.dtype = torch.float64, *, channels: tuple[int, ...] | None = None, latent: int = 512
) -> Synthesis:
    """A synthesis network with the golden weights, of the published widths or narrower."""
    with torch.device("meta"):
        net = Synthesis(SynthesisConfig(channels or official_channels(resolution), latent))
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    net.load_state_dict(weights(shapes), assign=True)
    return net.requires_grad_(False).eval().to(dtype)


def mapping(dtype: torch.dtype = torch.float64, *, width: int = 512) -> Mapping:
    """The mapping network with the golden weights."""
    net = Mapping(width)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    net.load_state_dict(weights(shapes, mapping=True))
    return net.requires_grad_(False).eval().to(dtype)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers by seed, drawn in float64 and rounded to float32."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32)).to(dtype)


def noise_maps(config: SynthesisConfig, seed: int, batch: int, dtype: torch.dtype) -> list[Tensor]:
    """The noise map of every layer i, by seed + i."""
    sides = [config.side(i) for i in range(config.layers)]
    return [normal(seed + i, batch, 1, side, side, dtype=dtype) for i, side in enumerate(sides)]


def image(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """An image of waves and noise, (3, height, width), uint8."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    planes = [
        0.5 + 0.28 * np.sin(x / (5 + c) + c) * np.cos(y / (7 - c)) + 0.08 * random.standard_normal((height, width))
        for c in range(3)
    ]
    return np.round(255 * np.clip(np.stack(planes), 0, 1)).astype(np.uint8)


def gaussian(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation that stand for those of the published file."""
    mean = -0.27 + 0.15 * _normal("gaussian_fit.mean", (512,))
    std = 0.48 + 0.07 * np.abs(_normal("gaussian_fit.std", (512,)))
    return torch.from_numpy(mean.astype(np.float32)).to(dtype), torch.from_numpy(std.astype(np.float32)).to(dtype)

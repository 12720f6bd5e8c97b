"""The golden IRN networks: what their weights, images and latents were made by."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.models.irn.config import IRNConfig
from ida_rd.models.irn.network import IRNNet

HERE = Path(__file__).resolve().parent
TINY = IRNConfig((2, 1), growth=4)
PUBLISHED = {"x2": IRNConfig((8,)), "x4": IRNConfig((8, 8)), "x8": IRNConfig((8, 8, 8))}
META: dict[str, Any] = json.loads((HERE / "meta.json").read_text())
TRAINING: dict[str, Any] = json.loads((HERE / "meta_train.json").read_text())


def normal(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, rounded to float32, as float64."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32)).double()


def by_key(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal numbers that depend on a tensor's name."""
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)


def filled(config: IRNConfig, dtype: torch.dtype = torch.float64) -> IRNNet:
    """A network with the golden weights."""
    net = IRNNet(config)
    state = net.state_dict()
    for key, value in state.items():
        if key.endswith("haar_weights"):
            continue
        fan = np.prod(value.shape[1:])
        gain = 0.02 if key.endswith(".bias") else 0.1 * fan**-0.5 if "conv5" in key else (2 / fan) ** 0.5
        state[key] = torch.from_numpy(gain * by_key(key, tuple(value.shape))).float()
    net.load_state_dict(state)
    return net.to(dtype).eval().requires_grad_(False)


def tiny(golden: dict[str, NDArray[Any]], dtype: torch.dtype = torch.float64) -> IRNNet:
    """The small network, whose weights are in the golden file; it can be trained."""
    net = IRNNet(TINY)
    prefix = "w/"
    state = {key.removeprefix(prefix): torch.from_numpy(golden[key]) for key in golden if key.startswith(prefix)}
    net.load_state_dict(state)
    return net.to(dtype)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """A synthetic image, (3, height, width)."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    planes = []
    for c in range(3):
        waves = 0.5 + 0.28 * np.sin(x / (5 + c) + c) * np.cos(y / (7 - c))
        planes.append(np.round(255 * np.clip(waves + 0.08 * random.standard_normal((height, width)), 0, 1)))
    return np.stack(planes).astype(np.uint8)


def tensor(image: NDArray[np.uint8], dtype: torch.dtype = torch.float64) -> Tensor:
    """(3, H, W) or (B, 3, H, W), uint8, to (B, 3, H, W) in [0, 1], divided in float32."""
    found = torch.from_numpy(image.astype(np.float32) / np.float32(255)).to(dtype)
    return found if found.ndim == 4 else found[None]

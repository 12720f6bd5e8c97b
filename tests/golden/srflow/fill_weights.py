"""Deterministic weights for an SRFlow network of any shape, by key: what the golden vectors were made with."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill"]

COUPLING_GAIN = {"0": 0.5, "2": 1.0, "4": 0.15}


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Weights for state-dict keys and shapes, float32."""
    coupled = {key[: key.index("affine.")] for key in shapes if ".affine." in key}
    return {key: _values(key, tuple(shape), coupled).astype(np.float32) for key, shape in shapes.items()}


def _values(key: str, shape: tuple[int, ...], coupled: set[str]) -> NDArray[np.float64]:
    random = np.random.RandomState(zlib.crc32(key.encode()))
    n = random.standard_normal(shape)
    leaf = key.rsplit(".", 1)[1]
    fan = np.sqrt(np.prod(shape[1:])) if len(shape) == 4 else 1.0
    if key.startswith("RRDB."):
        if leaf == "bias":
            return 0.02 * n
        gain = 0.15 if key == "RRDB.conv_first.weight" else 0.7 if ".RDB" in key else 1.0
        return gain * n / fan
    if key.endswith("invconv.weight"):
        q, r = np.linalg.qr(n)
        return q * np.sign(np.diag(r)) * np.exp(0.05 * random.standard_normal(shape[1]))
    if ".actnorm." in key and ".affine." in key:
        return 0.1 * n
    if ".actnorm." in key:
        if leaf == "bias":
            return 0.1 * n
        return 0.05 * n + (0.18 if key[: key.index("actnorm.")] in coupled else 0.0)
    if leaf == "logs":
        return 0.1 * n
    if leaf == "bias":
        return 0.05 * n
    return (COUPLING_GAIN[key.split(".")[-2]] if ".affine." in key else 0.2) * n / fan

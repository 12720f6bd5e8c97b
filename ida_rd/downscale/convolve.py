"""Kernels by their formulas, in float64 with one rounding, as sRGB or in linear light.

    {method: convolve, kernel: mks2021}
    {method: convolve, kernel: lanczos3, light: linear}

Libraries differ in arithmetic, borders and grid besides the kernel; here nothing differs but the kernel, or the
light. A kernel is widened by the factor, centred on the LR pixel, cut off at the border, and its weights sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.downscale.eight_bit import round_levels

__all__ = ["KERNELS", "REACH", "Parameters", "downscale", "reach", "weights"]

HARMLESS = ("kernel", "light")
REACH = 4  # of mks2021, the widest; reach() says it of each

Values = NDArray[np.float64]


def _pieces(x: Values, *pieces: tuple[float, Callable[[Values], Values]]) -> Values:
    """An even kernel by its pieces, each up to a distance from the centre; zero beyond the last."""
    a = np.abs(x)
    out = np.zeros_like(a)
    for end, piece in reversed(pieces):
        out = np.where(a <= end, piece(a), out)
    return out


def _box(x: Values) -> Values:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _cubic(b: float, c: float) -> Callable[[Values], Values]:
    """Mitchell and Netravali, Reconstruction filters in computer graphics, SIGGRAPH 1988, equation (8)."""
    return lambda x: _pieces(
        x,
        (1, lambda a: ((12 - 9 * b - 6 * c) * a**3 + (-18 + 12 * b + 6 * c) * a**2 + (6 - 2 * b)) / 6),
        (2, lambda a: ((-b - 6 * c) * a**3 + (6 * b + 30 * c) * a**2 + (-12 * b - 48 * c) * a + (8 * b + 24 * c)) / 6),
    )


def _lanczos(lobes: int) -> Callable[[Values], Values]:
    return lambda x: np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)


def _spline36(x: Values) -> Values:
    return _pieces(
        x,
        (1, lambda a: ((13 / 11 * a - 453 / 209) * a - 3 / 209) * a + 1),
        (2, lambda a: ((-6 / 11 * (a - 1) + 270 / 209) * (a - 1) - 156 / 209) * (a - 1)),
        (3, lambda a: ((1 / 11 * (a - 2) - 45 / 209) * (a - 2) + 26 / 209) * (a - 2)),
    )


def _quadratic(x: Values) -> Values:
    """The quadratic B-spline: the magic kernel without its sharpening."""
    return _pieces(x, (0.5, lambda a: 0.75 - a**2), (1.5, lambda a: (a - 1.5) ** 2 / 2))


def _mks2013(x: Values) -> Values:
    """Magic kernel sharp of 2013 (J. P. Costella, The magic kernel, johncostella.com/magic)."""
    return _pieces(
        x,
        (0.5, lambda a: 17 / 16 - 7 / 4 * a**2),
        (1.5, lambda a: (1 - a) * (7 / 4 - a)),
        (2.5, lambda a: -((a - 5 / 2) ** 2) / 8),
    )


def _mks2021(x: Values) -> Values:
    """Magic kernel sharp of 2021, of the same author."""
    return _pieces(
        x,
        (0.5, lambda a: 577 / 576 - 239 / 144 * a**2),
        (1.5, lambda a: (140 * a**2 - 379 * a + 239) / 144),
        (2.5, lambda a: -(24 * a**2 - 113 * a + 130) / 144),
        (3.5, lambda a: (4 * a**2 - 27 * a + 45) / 144),
        (4.5, lambda a: -((2 * a - 9) ** 2) / 1152),
    )


# Half of the kernel's width in LR pixels, and its formula.
KERNELS: dict[str, tuple[float, Callable[[Values], Values]]] = {
    "box": (0.5, _box),
    "bilinear": (1.0, lambda x: np.maximum(0.0, 1 - np.abs(x))),
    "hermite": (1.0, _cubic(0, 0)),
    "quadratic": (1.5, _quadratic),
    "bicubic": (2.0, _cubic(0, 0.5)),
    "mitchell": (2.0, _cubic(1 / 3, 1 / 3)),
    "lanczos2": (2.0, _lanczos(2)),
    "mks2013": (2.5, _mks2013),
    "lanczos3": (3.0, _lanczos(3)),
    "spline36": (3.0, _spline36),
    "mks2021": (4.5, _mks2021),
}
LEVELS = np.arange(256) / 255


def _decoded(levels: Values) -> Values:
    """SRGB to linear light (IEC 61966-2-1)."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def _encoded(light: Values) -> Values:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


Light = tuple[Callable[[Values], Values], Callable[[Values], Values]]  # of levels in [0, 1]; and back
LIGHTS: dict[str, Light] = {
    "srgb": (lambda v: v, lambda v: v),
    "linear": (_decoded, _encoded),
    "gamma22": (lambda v: v**2.2, lambda v: v ** (1 / 2.2)),
}


class Parameters(Base):
    """The kernel, and the light."""

    kernel: Literal[
        "box",
        "bilinear",
        "hermite",
        "quadratic",
        "bicubic",
        "mitchell",
        "lanczos2",
        "mks2013",
        "lanczos3",
        "spline36",
        "mks2021",
    ] = Field(description="bicubic is Catmull-Rom's (Keys, a = -0.5); mks: magic kernel sharp")
    light: Literal["srgb", "linear", "gamma22"] = Field(
        default="srgb",
        description="in which values are averaged: as they are, in linear light, or with a power of 2.2 for its curve",
    )


def reach(parameters: Parameters) -> int:
    """How far beyond its own cell an LR pixel depends on HR pixels, in LR pixels."""
    return math.ceil(KERNELS[parameters.kernel][0] - 0.5)


def weights(kernel: str, count: int, reduced: int) -> tuple[NDArray[Any], Values]:
    """Which of `count` HR pixels each of `reduced` LR pixels is made of, and by how much.

    Returns
    -------
    index : ndarray
        (reduced, taps), int.
    share : ndarray
        (reduced, taps), float64; rows sum to one.
    """
    half, formula = KERNELS[kernel]
    scale = count / reduced
    centre = (np.arange(reduced) + 0.5) * scale
    first = np.floor(centre - half * scale).astype(np.int64)
    index = first[:, None] + np.arange(math.ceil(2 * half * scale) + 1)
    share = formula((index + 0.5 - centre[:, None]) / scale)
    share[(index < 0) | (index >= count)] = 0
    return np.clip(index, 0, count - 1), share / share.sum(axis=1, keepdims=True)


def _reduced(image: Values, kernel: str, size: int) -> Values:
    """Reduce the first axis; tap by tap, so that sums run in one order on every machine."""
    index, share = weights(kernel, len(image), size)
    out = np.zeros((size, *image.shape[1:]))
    for k in range(index.shape[1]):
        out += share[:, k, None, None] * image[index[:, k]]
    return out


def downscale(
    hr: NDArray[np.uint8], size: tuple[int, int], *, rng: np.random.Generator, kernel: str, light: str = "srgb"
) -> NDArray[np.uint8]:
    """Reduce by a kernel.

    Parameters
    ----------
    hr : ndarray
        (H, W, 3), uint8, sRGB.
    size : tuple of int
        (h, w) of the LR image.
    rng : Generator
        Not used.
    kernel : str
        One of `KERNELS`.
    light : str
        One of `LIGHTS`. What a kernel makes of light below black or above white is cut off once, at the end.

    Returns
    -------
    ndarray
        (h, w, 3), uint8.
    """
    into, back = LIGHTS[light]
    lr = _reduced(into(LEVELS)[hr], kernel, size[0])
    lr = _reduced(lr.transpose(1, 0, 2), kernel, size[1]).transpose(1, 0, 2)
    return round_levels(255 * back(np.clip(lr, 0, 1)))

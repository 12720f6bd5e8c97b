"""How the search downscales an image: PULSE's own bicubic filter, or that of the downscaler.

Both are separable and differentiable; nothing is clamped or rounded. PULSE's reflects at the borders, where Pillow's
shortens the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.errors import UserError
from ida_rd.models.linear_filters import KERNELS, kernel_of

__all__ = ["Operator", "bicubic", "bicubic_kernel", "matrix_of", "operator_of", "separable"]

Operator = Callable[[Tensor], Tensor]
OWN = tuple(name for name in KERNELS if name != "gaussian")  # filters of Pillow


def bicubic_kernel(factor: int) -> NDArray[np.float64]:
    """The 4 f taps of PULSE's filter: Keys' cubic with a = -0.5, widened by the factor; their sum is 1."""
    taps = KERNELS["bicubic"][1]((np.arange(4 * factor) - 2 * factor + 0.5) / factor)
    return taps / taps.sum()


def bicubic(factor: int) -> Operator:
    """PULSE's operator: strided convolutions along the columns, then the rows, of a reflected image."""
    kernel = torch.from_numpy(bicubic_kernel(factor))
    before = 3 * factor // 2
    after = 3 * factor - before

    def reduce(images: Tensor) -> Tensor:
        taps = kernel.to(images)
        batch, channels, height, width = images.shape
        x = images.reshape(batch * channels, 1, height, width)
        x = F.conv2d(_reflected(x, 2, before, after), taps.view(1, 1, -1, 1), stride=(factor, 1))
        x = F.conv2d(_reflected(x, 3, before, after), taps.view(1, 1, 1, -1), stride=(1, factor))
        return x.view(batch, channels, *x.shape[2:])

    return reduce


def _reflected(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Mirror an image beyond its borders along one axis; the pixel at the border is not repeated.

    Not by torch's own function, whose gradient on a GPU is another one each time.
    """
    side = x.shape[axis]
    first, last = x.narrow(axis, 1, before), x.narrow(axis, side - 1 - after, after)
    return torch.cat([first.flip(axis), x, last.flip(axis)], dim=axis)


def matrix_of(name: str, factor: int, side: int) -> NDArray[np.float64]:
    """One of Pillow's antialiased filters along one axis, (side / factor, side); at borders its weights are shared."""
    kernel = kernel_of(name, factor)
    rows = np.zeros((side // factor, side))
    for k, row in enumerate(rows):
        first = factor * k + kernel.first
        low, high = max(first, 0), min(first + len(kernel.taps), side)
        row[low:high] = kernel.taps[low - first : high - first]
        row /= row.sum()
    return rows


def separable(matrix: NDArray[np.float64]) -> Operator:
    """Apply a matrix (n, side) along both axes of images (B, 3, side, side)."""
    rows = torch.from_numpy(matrix)
    return lambda images: rows.to(images) @ images @ rows.to(images).T


def operator_of(name: str, factor: int, side: int, downscaler: Mapping[str, Any] | None) -> Operator:
    """The operator of a search.

    Parameters
    ----------
    name : str
        ``blind`` or ``own``.
    factor, side : int
        Of the HR images.
    downscaler : mapping or None
        Recipe of the downscaler, for ``own``.

    Raises
    ------
    UserError
        It is none of those that can be followed.
    """
    if name == "blind":
        return bicubic(factor)
    recipe = downscaler or {}
    given: Mapping[str, Any] = recipe.get("parameters") or {}
    known = recipe.get("method") == "resample" and given.get("backend") == "pillow" and not recipe.get("degrade")
    if not known or given.get("filter") not in OWN:
        raise UserError(
            "operator: own follows downscalers with `method: resample` of Pillow, filter one of"
            f" {', '.join(OWN)}, without degradations; this one is another: use `operator: blind`"
        )
    return separable(matrix_of(given["filter"], factor, side))

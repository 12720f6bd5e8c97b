"""What a distortion is: a description as data, and a distance in two halves.

A method module of this room defines

* ``Parameters``: its typed parameters;
* ``describe(parameters) -> Descriptor``: without importing torch;
* ``load(parameters, device) -> Distortion``.

The half that depends on the HR image alone is computed once for all its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Descriptor", "Distortion", "unit_range"]


@dataclass(frozen=True)
class Descriptor:
    """What is known of a distortion before it is loaded.

    Attributes
    ----------
    better : str
        ``lower`` for distances, ``higher`` for similarities.
    perfect : float
        Value for identical images.
    low, high : float or None
        Range; None: unbounded.
    minimum_side : int
        Smallest image side in pixels that it can compare.
    weights : dict
        Weight ids of the catalogue, with the user's path of each or None.
    label : str
        Name as it is set in tables and figures.
    """

    better: Literal["lower", "higher"]
    perfect: float
    low: float | None
    high: float | None
    minimum_side: int
    label: str
    weights: dict[str, str | None] = field(default_factory=dict)


class Distortion(Protocol):
    """A loaded distortion."""

    def reference(self, hr: NDArray[np.uint8]) -> Any:
        """Compute once what depends on the HR image, (3, H, W), uint8."""
        ...

    def distance(self, reference: Any, sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compare SR images (K, 3, H, W), uint8, with the reference; (K,)."""
        ...


def unit_range(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], device: str) -> Tensor:
    """Convert 8-bit images (B, 3, H, W) to float32 in [0, 1]: the only conversion in this room."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).to(device).float() / 255

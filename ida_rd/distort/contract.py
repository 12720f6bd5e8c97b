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

__all__ = ["Descriptor", "Distortion", "mean_to_others", "unit_range"]


@dataclass(frozen=True)
class Descriptor:
    """What is known about a distortion before it is loaded.

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
        Weight ids of the catalogue, each with the user's path to it or None.
    label : str
        Name as it appears in tables and figures.
    kind : str
        ``learned`` (deep features), ``structural`` (statistics of patches) or ``pixel``.
    squared : bool
        Whether it is a squared Euclidean distance between embeddings of the images. The expected distance
        of samples then splits exactly into squared bias and variance, and the loaded distortion has
        ``with_spread``.
    """

    better: Literal["lower", "higher"]
    perfect: float
    low: float | None
    high: float | None
    minimum_side: int
    label: str
    kind: Literal["learned", "structural", "pixel"]
    weights: dict[str, str | None] = field(default_factory=dict)
    squared: bool = False


class Distortion(Protocol):
    """A loaded distortion.

    One that is `Descriptor.squared` also has ``with_spread(reference, sr)``: the distances, and for each
    sample the mean distance to the others, (K,) each, for K of at least 2.
    """

    def reference(self, hr: NDArray[np.uint8]) -> Any:
        """Compute once what depends on the HR image, (3, H, W), uint8."""
        ...

    def distance(self, reference: Any, sr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compare SR images (K, 3, H, W), uint8, with the reference; (K,)."""
        ...


def mean_to_others(to_mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared distance of each of K >= 2 vectors to the others, (K,), given those to their mean m, (K,).

    The squared distances of f_i to all others sum to ``K |f_i - m|^2 + sum_j |f_j - m|^2``, so K
    distances replace K (K - 1) / 2.
    """
    return (len(to_mean) * to_mean + to_mean.sum()) / (len(to_mean) - 1)


def unit_range(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], device: str) -> Tensor:
    """Convert 8-bit images (B, 3, H, W) to float32 in [0, 1]: the only conversion in this room."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).to(device).float() / 255

"""What an upscaler is: a description as data, and a sampler.

A method module of this room defines

* ``Parameters``: its typed parameters;
* ``describe(parameters, factor) -> Descriptor``: without importing torch; raises UserError for a
  factor that it cannot do;
* ``load(parameters, factor, device) -> Upscaler``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.seeds import Draw

__all__ = ["Descriptor", "Samples", "Upscaler"]


@dataclass(frozen=True)
class Descriptor:
    """What is known of an upscaler before it is loaded.

    Attributes
    ----------
    factor : int
        Scale factor.
    stochastic : bool
        Whether samples of one LR image differ. One that does not is run with K = 1.
    blind : bool
        Whether it is unaware of how the LR image was made. IDA-RD asks for blind upscalers.
    licence : str
        Terms of the weights.
    weights : dict
        Weight ids of the catalogue, with the user's path of each or None.
    precision : str
        Floating-point type of the computation.
    tiling : str
        ``none``: the whole image at once.
    """

    factor: int
    stochastic: bool
    blind: bool
    licence: str
    weights: dict[str, str | None]
    precision: str = "float32"
    tiling: str = "none"


class Samples(NamedTuple):
    """The K reconstructions of one LR image.

    Attributes
    ----------
    sr : ndarray
        (K, 3, H, W), uint8, sRGB, rounded (not truncated). What is in a sample that is not finite
        has no meaning.
    finite : ndarray
        (K,), bool.
    clipped : ndarray
        (K,), float: share of sub-pixels that lay outside [0, 255] by more than half a level.
    """

    sr: NDArray[np.uint8]
    finite: NDArray[np.bool_]
    clipped: NDArray[np.float64]


class Upscaler(Protocol):
    """A loaded upscaler."""

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct one LR image (3, h, w), uint8, once per draw."""
        ...

"""How far a decoder is from home on a downscaler's LR images, by its own likelihood.

A decoder that has a likelihood says how many bits an HR image takes, given its LR image. Those bits are no measure of
what was lost: of a deterministic downscaler, the LR image's own bits and these together are those of the HR image,
whatever the downscaler. But a decoder that meets LR images unlike those of its training needs more, and its latents,
which should be standard normal, spread further: their mean square is 1 where it is at home. Of nearest neighbours it is
more than 3 for the embedded flow. See docs/adapt.md.

A module of this room, named like the upscaler's method, defines

* ``network(parameters, factor) -> Network | None``: the one network whose likelihood it is, without importing torch;
  None where there is none (a chain of two);
* ``load(network, factor, device) -> Reader``.

A method of the user's own may define ``likelihood(parameters, factor, device) -> Reader`` beside ``load``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

__all__ = ["Network", "Reader", "adapter_of"]

# Takes HR, (3, H, W) float32, 1 being white, with a level's noise; and LR, (3, h, w) uint8. Returns bits per sub-pixel
# of the 8-bit HR image, and the mean square of the latents.
Reader = Callable[[NDArray[np.float32], NDArray[np.uint8]], tuple[float, float]]


@dataclass(frozen=True)
class Network:
    """Weights that have a likelihood.

    Attributes
    ----------
    weight : str
        Id in the catalogue.
    path : str or None
        The user's own file of it.
    """

    weight: str
    path: str | None


def adapter_of(method: str) -> ModuleType | None:
    """The module of this room for an upscaler's method; None where it has no likelihood."""
    name = method.replace("-", "_")
    if "." in method or name in ("contract", "recipe", "stage", "work"):
        return None
    return (
        importlib.import_module(f"ida_rd.surprise.{name}") if Path(__file__).with_name(f"{name}.py").is_file() else None
    )

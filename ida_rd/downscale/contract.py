"""What a downscaler is: a function, and data about it.

A method module of this room defines

* ``downscale(hr, size, *, rng, **parameters)``: (H, W, 3) uint8 and (h, w) to (h, w, 3) uint8;
* ``Parameters``: its typed parameters, if it has any;
* ``RANDOM = True``, if the result depends on `rng`;
* ``REACH``: how far beyond its own cell an LR pixel can depend on HR pixels, in LR pixels, whatever the parameters;
  None if that is unknown or unbounded. If a crop of the HR image has a margin that wide and is cut at multiples of
  the factor, its LR image is the crop of the whole LR image. ``reach(parameters)``, if parameters can make it less;
* ``describe(parameters) -> Descriptor``, if it has weights;
* ``files(parameters, factor)`` and ``packages(parameters)``, if the result depends on files or packages that may be
  missing;
* ``check_inputs(sizes, factor, **parameters)``, called before the first image: `sizes` has the LR (h, w) of every image
  id. It raises `UserError`;
* ``HARMLESS``: names of the parameters that a stranger's bundle may choose (`ida_rd.core.methods`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

__all__ = ["Descriptor", "reach_of"]


@dataclass(frozen=True)
class Descriptor:
    """What is known about a downscaler with weights before it is loaded.

    Attributes
    ----------
    licence : str
        Terms of the weights.
    weights : dict
        Weight ids of the catalogue, each with the user's path to it or None.
    """

    licence: str
    weights: dict[str, str | None] = field(default_factory=dict)


def reach_of(method: ModuleType, parameters: Any) -> int | None:
    """Return the reach of a method with given parameters, in LR pixels; None: unknown."""
    if hasattr(method, "reach"):
        return method.reach(parameters)
    return getattr(method, "REACH", None)

"""What a measure of one image is: a description as data, and a function from an image to a score.

A method module of this room defines

* ``Parameters``: its typed parameters;
* ``describe(parameters) -> Descriptor``: without reading a file;
* ``load(parameters) -> Measure``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.errors import UserError

__all__ = ["Descriptor", "Measure", "Score", "Undefined"]


class Undefined(UserError):
    """The measure is not defined for an image; the message says why, and tables print a dash."""


@dataclass(frozen=True)
class Descriptor:
    """What is known about a measure before it is loaded.

    Attributes
    ----------
    better : str
        ``lower`` or ``higher``.
    low, high : float or None
        Range; None: unbounded.
    minimum_side : int
        Smallest side in pixels of a square image that has a score.
    trusted_side : int
        Smaller square images have a score that is marked.
    label : str
        Name as it appears in tables and figures, with the model that the score rests on.
    facts : dict
        Name and meaning of each number that stands beside every score.
    weights : dict
        Weight ids of the catalogue, each with the user's path to it or None.
    """

    better: Literal["lower", "higher"]
    low: float | None
    high: float | None
    minimum_side: int
    trusted_side: int
    label: str
    facts: dict[str, str]
    weights: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """What a measure says of an image.

    Attributes
    ----------
    value : float
    facts : dict
        By the names of `Descriptor.facts`: what the value rests on.
    marks : tuple of str
        Why it is not to be relied on; empty: nothing is known against it.
    """

    value: float
    facts: dict[str, float]
    marks: tuple[str, ...] = ()


class Measure(Protocol):
    """A loaded measure."""

    def score(self, image: NDArray[np.uint8]) -> Score:
        """Measure an image (H, W, 3), uint8; raises `Undefined`."""
        ...

"""What an upscaler is: a description as data, and a sampler.

A method module of this room defines

* ``Parameters``: its typed parameters;
* ``describe(parameters, factor) -> Descriptor``: without importing torch; raises UserError for a
  factor that it does not support;
* ``load(parameters, problem, device) -> Upscaler``;
* and, if it likes, ``memory(parameters, factor, samples) -> float``: bytes that a process takes per pixel of the HR
  image on a CPU, beyond the loaded network, for so many samples. It decides nothing but how many processes are started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ida_rd.core.methods import OpenedMethod
from ida_rd.core.seeds import Draw

__all__ = ["Descriptor", "Kind", "Problem", "Samples", "SizeRule", "Upscaler", "memory_of"]

Kind = Literal["flow", "gan", "diffusion", "search", "regression", "program", "chain", "other"]
ASKS = ("downscaler", "adapted")


@dataclass(frozen=True)
class SizeRule:
    """Which images an upscaler takes, in pixels.

    Attributes
    ----------
    least : int
        Smallest side of the LR image.
    multiple : int
        Both sides of the LR image are multiples of it.
    square : bool
        Whether the image must be square.
    hr : int or None
        Side of the (square) HR image, if it makes only one size; None: any.
    """

    least: int = 1
    multiple: int = 1
    square: bool = False
    hr: int | None = None

    def problem(self, height: int, width: int, factor: int) -> str | None:
        """Why an LR image of `height` x `width` cannot be taken; None if it can."""
        size = f"LR images of {width} x {height}"
        if self.hr is not None and (height * factor, width * factor) != (self.hr, self.hr):
            return f"{size} pixels do not give an HR image of {self.hr} x {self.hr}, the only size that it makes"
        if self.square and height != width:
            return f"{size} pixels are not square"
        if min(height, width) < self.least:
            return f"{size} pixels are smaller than {self.least} per side"
        if height % self.multiple or width % self.multiple:
            return f"{size} pixels have a side that is not a multiple of {self.multiple}"
        return None

    def example(self, factor: int, side: int, ratio: float = 1.0) -> tuple[int, int]:
        """Height and width of an LR image that it takes, of about `side` pixels, `ratio` times as wide as high."""
        if self.hr is not None:
            return self.hr // factor, self.hr // factor

        def fit(length: float) -> int:
            return max(-(-max(round(length), self.least) // self.multiple) * self.multiple, 1)

        return fit(side), fit(side if self.square else side * ratio)


@dataclass(frozen=True)
class Descriptor:
    """What is known about an upscaler before it is loaded.

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
        Weight ids of the catalogue, each with the user's path to it or None.
    kind : str
        The family of models that it belongs to.
    matched : bool
        Whether it was made for the very downscaler it is run on: then no decoder of its kind recovers what it loses.
    size : SizeRule
        Which images it takes.
    settings : dict
        What the parameters leave open and the method decides: a preset heat, a number of steps. Part of the identity.
    asks : tuple of str
        What it needs from its `Problem` besides the factor: ``downscaler``, ``adapted``.
    precision : str
        Floating-point type of the computation.
    """

    factor: int
    stochastic: bool
    blind: bool
    licence: str
    weights: dict[str, str | None]
    kind: Kind = "other"
    matched: bool = False
    size: SizeRule = SizeRule()
    settings: dict[str, Any] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    precision: str = "float32"

    def marks(self) -> list[str]:
        """What a reader must know besides the name: a word or two each, nothing for what IDA-RD asks for."""
        marks = {
            "deterministic": not self.stochastic,
            "not blind": not self.blind,
            "matched": self.matched,
            "non-commercial": "non-commercial" in self.licence.lower(),
        }
        return [mark for mark, applies in marks.items() if applies]


@dataclass(frozen=True)
class Problem:
    """What an upscaler is loaded for.

    Attributes
    ----------
    factor : int
        Scale factor.
    downscaler : dict or None
        Recipe of the downscaler that made the LR images, if the upscaler asks for it.
    adapted : Path or None
        Weights adapted to that downscaler, if it asks for them.
    """

    factor: int
    downscaler: Mapping[str, Any] | None = None
    adapted: Path | None = None


@dataclass(frozen=True)
class Samples:
    """The K reconstructions of one LR image.

    Attributes
    ----------
    sr : ndarray
        (K, 3, H, W), uint8, sRGB, rounded (not truncated). The content of a sample that is not
        finite has no meaning.
    finite : ndarray
        (K,), bool.
    clipped : ndarray
        (K,), float: share of sub-pixels that lay outside [0, 255] by more than half a level.
    columns : dict
        What else is known about each sample, by name, (K,) each: ``converged``, ``residual``. They are columns of
        ``samples.csv``.
    """

    sr: NDArray[np.uint8]
    finite: NDArray[np.bool_]
    clipped: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sr)

    def replaced(self, where: NDArray[np.int64], other: Samples) -> Samples:
        """These samples, with those of `other` in the places `where`."""

        def put(mine: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
            result = mine.copy()
            result[where] = new
            return result

        columns = {name: put(values, other.columns[name]) for name, values in self.columns.items()}
        return Samples(
            put(self.sr, other.sr), put(self.finite, other.finite), put(self.clipped, other.clipped), columns
        )

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """The samples of all parts, in order."""

        def join(arrays: list[NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate(arrays)

        return Samples(
            join([part.sr for part in parts]),
            join([part.finite for part in parts]),
            join([part.clipped for part in parts]),
            {name: join([part.columns[name] for part in parts]) for name in parts[0].columns},
        )


class Upscaler(Protocol):
    """A loaded upscaler."""

    def sample(self, lr: NDArray[np.uint8], draws: Sequence[Draw]) -> Samples:
        """Reconstruct one LR image (3, h, w), uint8, once per draw.

        One that takes long reports its progress by `ida_rd.core.progress.advance`.
        """
        ...


def memory_of(method: OpenedMethod, factor: int, samples: int) -> float | None:
    """Bytes per HR pixel that a method says it takes; None if it says nothing."""
    memory = getattr(method.module, "memory", None)
    return memory(method.parameters, factor, samples) if callable(memory) else None

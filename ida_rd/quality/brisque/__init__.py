"""BRISQUE: what viewers of the LIVE database would say of an image, by a support vector machine over 36 features [1]_.

The features are computed here; the machine is the released one, two files that you must obtain yourself, since nobody's
ratings are free to train another. Far from all that it was trained on, every kernel value is 0 and the score is the
machine's bias, whatever the image: so the largest kernel value stands beside every score.

References
----------
.. [1] Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain", IEEE TIP 21(12), 2012.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import gamma

from ida_rd.core.methods import Parameters as Base
from ida_rd.quality._natural import SHAPES, Floats, halved, luma, normalised, products, scale_of, skewed
from ida_rd.quality.brisque.machine import MODEL, RANGE, Machine, read_machine
from ida_rd.quality.contract import Descriptor, Score, Undefined

__all__ = ["BRISQUE", "FAR", "FARTHEST", "SMALL", "Parameters", "describe", "features", "load"]

HARMLESS = ()
FEWEST = 2  # pixels a side
SMALL = 96  # pixels a side: below, features leave the range of those that the machine was trained on
FAR = 0.5  # largest kernel value
FARTHEST = 2.0  # of a scaled feature; those of the machine's training lie within 1
RATIOS = gamma(1 / SHAPES) * gamma(3 / SHAPES) / gamma(2 / SHAPES) ** 2  # falls with the shape
_BETWEEN = -(RATIOS[1:] + RATIOS[:-1]) / 2


class Parameters(Base):
    """Where the machine's files are."""

    path: str | None = Field(
        default=None,
        min_length=1,
        description="folder of the released files allmodel and allrange; null: torch's cache",
    )


def describe(parameters: Parameters) -> Descriptor:
    """Describe the measure; the range is unbounded: values below 0 and above 100 occur."""
    folder = None if parameters.path is None else Path(parameters.path)
    return Descriptor(
        better="lower",
        low=None,
        high=None,
        minimum_side=FEWEST,
        trusted_side=SMALL,
        label="BRISQUE (released machine)",
        facts={
            "kernel": "largest kernel value; 1: on a support vector, 0: the score is the machine's bias",
            "reach": "largest absolute scaled feature; within 1: as in training",
        },
        weights={key: None if folder is None else str(folder / name) for key, name in (MODEL, RANGE)},
    )


def load(parameters: Parameters) -> BRISQUE:
    """Read the machine."""
    return BRISQUE(read_machine(describe(parameters).weights))


def features(image: NDArray[np.uint8]) -> Floats:
    """The 36 features of an image (H, W, 3), uint8 ([1]_, table I): 18 of it and 18 of its reduction to half.

    NaN where the image has no detail.
    """
    grey = luma(image)
    return np.concatenate([_of(grey), _of(halved(grey))])


def _of(grey: Floats) -> Floats:
    values = normalised(grey, "constant")[0]
    power, size = float((values * values).mean()), float(np.abs(values).mean())
    if size == 0:
        return np.full(18, np.nan)
    # The nearest entry of the table by the reciprocal of the ratio, unlike that of the products.
    shape = SHAPES[np.searchsorted(_BETWEEN, -power / size**2, side="left")]
    found = [shape, power]
    for product in products(values[None]):
        (a,), (left,), (right,) = skewed(product.reshape(1, -1))
        mean = (right - left) * scale_of(a) * gamma(2 / a) / gamma(1 / a)
        found += [a, mean, left**2, right**2]
    return np.array(found)


class BRISQUE:
    """BRISQUE by one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def score(self, image: NDArray[np.uint8]) -> Score:
        """Measure an image (H, W, 3), uint8."""
        height, width = image.shape[:2]
        if min(height, width) < FEWEST:
            raise Undefined(f"BRISQUE needs {FEWEST} pixels a side; this image has {width} x {height}")
        found = features(image)
        if not np.isfinite(found).all():
            raise Undefined("BRISQUE needs detail; this image, or its reduction to half, has none")
        value, kernel, reach = self.machine.score(found)
        marks = []
        if kernel < FAR:
            marks.append(f"far from all that the machine was trained on (largest kernel value {kernel:.2f})")
        if reach > FARTHEST:
            marks.append(f"a scaled feature of {reach:.1f}: those of training lie within 1")
        if min(height, width) < SMALL:
            marks.append(f"smaller than {SMALL} pixels")
        return Score(value, {"kernel": kernel, "reach": reach}, tuple(marks))

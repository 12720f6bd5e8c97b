"""NIQE: how far statistics of an image's patches are from those of sharp photographs [1]_.

Exactly the released program, but for one case that it leaves to rounding noise (flat areas) and one that it computes by
accident (a single patch): fewer than 2 patches are refused here. The score rests on a *pristine model*, and scores of
different models differ: which one is in the label.

References
----------
.. [1] Mittal, Soundararajan, Bovik, "Making a 'completely blind' image quality analyzer", IEEE SPL 20(3), 2013.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.core.methods import Parameters as Base
from ida_rd.core.seeds import generator
from ida_rd.quality.contract import Descriptor, Score, Undefined
from ida_rd.quality.niqe.model import OWN, RELEASED, Pristine, is_released, read_pristine
from ida_rd.quality.niqe.patches import SIDE, features, tiles_of

__all__ = ["FEW", "FEWEST", "NIQE", "Parameters", "describe", "distance", "load"]

HARMLESS = ("patches", "seed")
FEWEST = 2  # of one patch there is no covariance
FEW = 25  # scores still rise by 0.4 on average when photographs of some 90 patches are cut down to these


class Parameters(Base):
    """Which model, and how many patches."""

    path: str | None = Field(
        default=None,
        min_length=1,
        description="the released modelparameters.mat, or a .safetensors that experiments/fit-niqe wrote; null: our own"
        " model, which ships",
    )
    patches: int | None = Field(
        default=None,
        ge=FEWEST,
        le=1_000_000,
        description="take only so many patches, drawn at random: fewer patches raise the score, so sizes are compared"
        " fairly only by equal numbers; null: all",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of that draw")


def describe(parameters: Parameters) -> Descriptor:
    """Describe the measure with its model."""
    weights: dict[str, str | None]
    if parameters.path is None:
        model, weights = "own model", {OWN: None}
    elif is_released(parameters.path):
        model, weights = "released model", {RELEASED: parameters.path}
    else:
        model, weights = "model of a file", {OWN: parameters.path}
    count = parameters.patches
    return Descriptor(
        better="lower",
        low=0.0,
        high=None,
        minimum_side=SIDE * math.ceil(math.sqrt(count or FEWEST)),
        trusted_side=SIDE * math.ceil(math.sqrt(FEW)),
        label=f"NIQE ({model}{f', {count} patches' if count else ''})",
        facts={"patches": f"patches of {SIDE} x {SIDE} pixels that the score rests on"},
        weights=weights,
    )


def load(parameters: Parameters) -> NIQE:
    """Read the model."""
    return NIQE(parameters, read_pristine(parameters.path))


def distance(model: Pristine, rows: NDArray[np.float64]) -> float:
    """Distance of two multivariate Gaussians ([1]_, equation 10): a model, and that of feature rows (N >= 2, 36)."""
    apart = model.mean - rows.mean(axis=0)
    joint = (model.covariance + np.cov(rows, rowvar=False)) / 2
    return math.sqrt(max(0.0, float(apart @ np.linalg.pinv(joint) @ apart)))


class NIQE:
    """NIQE by one model."""

    def __init__(self, parameters: Parameters, model: Pristine) -> None:
        self.parameters, self.model = parameters, model

    def score(self, image: NDArray[np.uint8]) -> Score:
        """Measure an image (H, W, 3), uint8."""
        height, width = image.shape[:2]
        wanted = self.parameters.patches or FEWEST
        if (held := tiles_of(height, width)) < wanted:
            raise Undefined(
                f"NIQE needs {wanted} patches of {SIDE} x {SIDE} pixels; {width} x {height} pixels hold {held}"
            )
        rows = features(image)[0]
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows) < wanted:
            raise Undefined(f"NIQE needs {wanted} patches with detail; this image has {len(rows)}, of {held}")
        if self.parameters.patches is not None:
            drawn = generator("niqe", self.parameters.seed, len(rows), wanted)
            rows = rows[np.sort(drawn.choice(len(rows), wanted, replace=False))]
        few = f"{len(rows)} patches, fewer than {FEW}: the fewer, the higher the score"
        return Score(distance(self.model, rows), {"patches": len(rows)}, (few,) if len(rows) < FEW else ())

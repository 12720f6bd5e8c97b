"""The executable contract of a measure of one image."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.seeds import generator
from ida_rd.quality.contract import Undefined

__all__ = ["check_quality"]

NOISE = 60.0  # grey levels: worse by any measure


def check_quality(method: ModuleType, parameters: dict[str, Any], *, side: int = 512) -> None:
    """Check a measure's range, facts, direction and least size, and that a score is of its image alone.

    Parameters
    ----------
    method : module
        With ``Parameters``, ``describe`` and ``load``.
    parameters : dict
        As on the command line, without ``method``.
    side : int
        Side of the test images, in pixels.

    Raises
    ------
    UserError
        The first promise that the method breaks.
    """
    values = validate(getattr(method, "Parameters", Parameters), parameters, where="parameters")
    descriptor = method.describe(values)
    measure = method.load(values)
    side = max(side, descriptor.minimum_side, descriptor.trusted_side)
    image = _image(side)
    noise = generator("check", "noise", side).normal(0, NOISE, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    first, worse, again = (measure.score(one) for one in (image, noisy, image))
    for score in (first, worse):
        if not np.isfinite(score.value):
            raise UserError(f"an image of {side} x {side} pixels scores {score.value}, expected a finite number")
        low, high = descriptor.low, descriptor.high
        if (low is not None and score.value < low) or (high is not None and score.value > high):
            raise UserError(f"the value {score.value} leaves the declared range [{low}, {high}]")
        if score.facts.keys() != descriptor.facts.keys():
            raise UserError(f"beside a score stand {sorted(score.facts)}, declared are {sorted(descriptor.facts)}")
    if first != again:
        raise UserError(f"an image scores {first.value} and then {again.value}: a score depends on what was before")
    rising = worse.value - first.value if descriptor.better == "lower" else first.value - worse.value
    if rising <= 0:
        raise UserError(f"noise of {NOISE:g} grey levels must be worse: {worse.value}, {first.value} without")
    least = descriptor.minimum_side
    measure.score(image[:least, :least])
    try:
        measure.score(image[: least - 1, : least - 1])
    except Undefined:
        return
    raise UserError(f"a square of {least - 1} pixels has a score, declared is a least side of {least}")


def _image(side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A made image with detail at all sizes, as photographs have it: amplitudes fall as one over the frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    white = generator("check", "quality", side).normal(size=(side, side))
    grey = np.fft.irfft2(np.fft.rfft2(white) / frequency, (side, side))
    grey = np.clip(128 + 50 * (grey - grey.mean()) / grey.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)

"""The executable contract of a distortion."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ida_rd.core.errors import UserError
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.seeds import generator

__all__ = ["check_distortion"]


def check_distortion(method: ModuleType, parameters: dict[str, Any], *, device: str = "cpu", side: int = 192) -> None:
    """Check a distortion's self-distance, range and direction, and that it does not depend on the batch.

    Parameters
    ----------
    method : module
        With ``Parameters``, ``describe`` and ``load``.
    parameters : dict
        As in ``params.yaml``, without ``method``.
    device : str
        Torch device.
    side : int
        Side of the test images, in pixels.

    Raises
    ------
    UserError
        The first promise that the method breaks.
    """
    values = validate(getattr(method, "Parameters", Parameters), parameters, where="parameters")
    descriptor = method.describe(values)
    distortion = method.load(values, device)
    side = max(side, descriptor.minimum_side)
    rng = generator("check", side)
    ramp = np.add.outer(np.linspace(40, 160, side), np.linspace(0, 50, side))
    hr = np.clip(ramp + rng.normal(0, 20, (3, side, side)), 0, 255).astype(np.uint8)
    noisy = [np.clip(hr + rng.normal(0, s, hr.shape), 0, 255).astype(np.uint8) for s in (5, 20, 60)]
    reference = distortion.reference(hr)
    own = distortion.distance(reference, hr[None])
    if own.shape != (1,) or abs(own[0] - descriptor.perfect) > 1e-6:
        raise UserError(f"identical images give {own}, expected [{descriptor.perfect}]")
    many = distortion.distance(reference, np.stack(noisy))
    if many.shape != (3,) or not np.isfinite(many).all():
        raise UserError(f"three images give {many}, expected three finite numbers")
    low, high = descriptor.low, descriptor.high
    if (low is not None and many.min() < low) or (high is not None and many.max() > high):
        raise UserError(f"values {many} leave the declared range [{low}, {high}]")
    rising = np.diff(many) * (1 if descriptor.better == "lower" else -1)
    if (rising <= 0).any():
        raise UserError(f"more noise must be worse: {many} for noise of 5, 20, 60 grey levels")
    single = np.concatenate([distortion.distance(reference, image[None]) for image in noisy])
    if np.abs(single - many).max() > 1e-5 * max(1, np.abs(many).max()):
        raise UserError("a value depends on which other images are compared with it")

"""Samplers by their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ida_rd.upscale.diffusion.ddim import DDIM
from ida_rd.upscale.diffusion.dpm_solver import DPMSolver2M
from ida_rd.upscale.diffusion.edm import DPM2M, SDE3M, EulerAncestral
from ida_rd.upscale.diffusion.sampler import Prediction, Sampler
from ida_rd.upscale.diffusion.spaced import Spaced

__all__ = ["SAMPLERS", "Name", "sampler_of"]

Name = Literal["spaced", "ddim", "euler_a", "dpm++_2m", "dpm++_3m_sde", "dpm_solver"]
SAMPLERS: tuple[Name, ...] = get_args(Name)
FAMILIES: dict[Name, Callable[[NDArray[np.float64], int, Prediction], Sampler]] = {
    "spaced": Spaced.of,
    "euler_a": EulerAncestral.of,
    "dpm++_2m": DPM2M.of,
    "dpm++_3m_sde": SDE3M.of,
    "dpm_solver": DPMSolver2M.of,
}


def sampler_of(
    name: Name, kept: NDArray[np.float64], steps: int, predicts: Prediction = "eps", *, eta: float = 0.0
) -> Sampler:
    """A sampler over the times of a schedule.

    Parameters
    ----------
    name : str
    kept : ndarray
        alpha-bar at all times that the network was trained on.
    steps : int
    predicts : str
        What the network gives.
    eta : float
        Of ``ddim``.
    """
    if name == "ddim":
        return DDIM.of(kept, steps, predicts, eta=eta)
    return FAMILIES[name](kept, steps, predicts)

"""Adapt the compact diffusion decoder: all of its network at once, from the weights that ship or the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ida_rd.adapt.contract import SAVE_EVERY, Base, shipped_base

if TYPE_CHECKING:
    from ida_rd.core.tensors import TensorFile
    from ida_rd.training.patches import Pairs

__all__ = ["LOSSES", "MULTIPLE", "adapt", "base", "preset"]

MULTIPLE = 8  # HR pixels: the denoiser's smallest size is an eighth; a test compares it with the network's
LOSSES = {"likelihood": "of the head's likelihood (negative, without a constant)", "denoising": "of the denoiser"}


def preset(factor: int) -> dict[str, Any]:
    """The budget where it is left out; there is no energy score in it."""
    return {"batch": 8, "patch": 80, "rate": 3e-4, "final_rate": 1e-5, "clip_norm": 3.0, "ema": 0.99}


def base(parameters: Any, factor: int) -> Base:
    """The weights of the network of a factor; raises UserError where a factor takes several or none."""
    return shipped_base(parameters, factor)


def adapt(
    settings: Mapping[str, Any], budget: Mapping[str, Any], initial: TensorFile, source: Pairs, out: Path
) -> Path:
    """Train `initial` on; see `ida_rd.adapt.contract`."""
    from ida_rd.training.edm_adapt import AdaptConfig, go_on

    keys = ("seed", "steps", "batch", "rate", "final_rate", "warmup", "clip_norm", "ema", "precision")
    config = AdaptConfig(**{key: budget[key] for key in keys})
    return go_on(config, settings, initial, source, out, log_every=1, save_every=SAVE_EVERY)

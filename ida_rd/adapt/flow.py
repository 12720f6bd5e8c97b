"""Adapt the embedded flow: its second stage of training, from the weights that ship or from the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ida_rd.adapt.contract import SAVE_EVERY, Base, shipped_base

if TYPE_CHECKING:
    from ida_rd.core.tensors import TensorFile
    from ida_rd.training.patches import Pairs

__all__ = ["LOSSES", "MULTIPLE", "adapt", "base", "preset"]

# Weight of the energy score in the last training of the weights that ship; a test compares it with their cards.
ENERGY = {2: 1.5, 4: 1.5, 8: 0.0}
MULTIPLE = 1
LOSSES = {"bits": "bits per dimension", "energy": "of the energy score"}


def preset(factor: int) -> dict[str, Any]:
    """The budget where it is left out; `base` has refused other factors."""
    found = {"batch": 4, "patch": 80, "rate": 3e-4, "final_rate": 1e-5, "clip_norm": 1.0, "ema": 0.999}
    return found | {"energy": ENERGY[factor]}


def base(parameters: Any, factor: int) -> Base:
    """The weights of the network of a factor; raises UserError where a factor takes several or none."""
    return shipped_base(parameters, factor)


def adapt(
    settings: Mapping[str, Any], budget: Mapping[str, Any], initial: TensorFile, source: Pairs, out: Path
) -> Path:
    """Train `initial` on; see `ida_rd.adapt.contract`."""
    from ida_rd.training.flow import TrainConfig, go_on

    config = TrainConfig(
        network="",
        seed=budget["seed"],
        precision=budget["precision"],
        patch=budget["patch"],
        nll_steps=budget["steps"],
        nll_batch=budget["batch"],
        nll_rate=budget["rate"],
        nll_final_rate=budget["final_rate"],
        warmup_steps=budget["warmup"],
        energy=budget["energy"],
        clip_norm=budget["clip_norm"],
        ema=budget["ema"],
    )
    return go_on(config, settings, initial, source, out, log_every=1, save_every=SAVE_EVERY)

"""A branch's files to its card: HR, LR and SR images of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ida_rd.calibration.card import Card, make_card
from ida_rd.calibration.measure import Measured, measure
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.spaces import LEAST
from ida_rd.core.errors import UserError
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import open_method
from ida_rd.core.project import Branch, Project
from ida_rd.core.tables import read_table
from ida_rd.downscale.work import reduce_image
from ida_rd.engine.local import run_units

__all__ = ["LEAST_SAMPLES", "calibrate_branch"]

LEAST_SAMPLES = 3
ELSEWHERE = ("folder",)  # methods that hold finished LR images: nothing else can be reduced by them


class _Unit(NamedTuple):
    image_id: str
    hr: Path
    lr: Path
    sr: tuple[Path, ...]


def calibrate_branch(
    project: Project,
    branch: Branch,
    downscaler: Mapping[str, Any],
    photographs: Mapping[str, str],
    settings: Settings,
) -> tuple[Card, int]:
    """Measure a branch whose SR images lie in the project.

    Parameters
    ----------
    project : Project
    branch : Branch
    downscaler : mapping
        Recipe of the downscaler.
    photographs : mapping
        Image id to photograph.
    settings : Settings

    Returns
    -------
    card : Card
    left_out : int
        Images of which a sample was not finite: ranks need as many samples of each.

    Raises
    ------
    UserError
        There are fewer than `LEAST_SAMPLES` samples, or images that are too small or unreadable.
    """
    folder = project.sr_of(branch)
    rows = read_table(folder / "samples.csv", hint="run `dvc repro upscale`")
    samples = int(rows["sample"].max()) + 1 if len(rows) else 0
    if samples < LEAST_SAMPLES:
        raise UserError(f"{branch.title}: K is {samples}: calibration needs at least {LEAST_SAMPLES} samples per image")
    whole = rows.groupby("image_id").finite.all()
    units = [
        _Unit(
            image_id,
            project.hr / f"{image_id}.png",
            project.lr_of(branch.downscaler, branch.factor) / f"{image_id}.png",
            tuple(folder / image_id / f"{k}.webp" for k in range(samples)),
        )
        for image_id in sorted(photographs)
        if whole.get(image_id, False)
    ]
    worker = partial(_open, dict(downscaler))
    done = run_units(worker, units, label=f"calibrate {branch.title}", name=lambda unit: unit.image_id)
    found = {unit.image_id: measured for unit, measured in done}
    return make_card(found, photographs, settings), len(photographs) - len(units)


def _open(downscaler: dict[str, Any]) -> Callable[[_Unit], Measured]:
    import torch

    torch.set_num_threads(1)
    return partial(_one, downscaler)


def _one(downscaler: dict[str, Any], unit: _Unit) -> Measured:
    hr, lr = _read(unit.hr), _read(unit.lr)
    if min(hr.shape[:2]) < LEAST:
        size = f"{hr.shape[1]} x {hr.shape[0]}"
        raise UserError(f"{unit.hr.name}: {size} pixels: calibration needs HR images of at least {LEAST} per side")
    sr = np.stack([_read(path) for path in unit.sr])
    return measure(hr, lr, sr, _off(downscaler, unit.image_id, hr, lr, sr))


def _off(
    downscaler: dict[str, Any], image_id: str, hr: NDArray[np.uint8], lr: NDArray[np.uint8], sr: NDArray[np.uint8]
) -> NDArray[np.float64] | None:
    """RMSE of the LR images of samples, in levels; None if LR is no function of HR, or the function is not at hand."""
    if downscaler["method"] in ELSEWHERE:
        return None
    method = open_method(downscaler)
    if "seed" in downscaler:  # it may draw at random: then another seed gives another LR image
        other = downscaler | {"seed": downscaler["seed"] + 1}
        if not np.array_equal(reduce_image(method, other, image_id, hr)[0], lr):
            return None
    given = lr.astype(np.float64)
    again = [reduce_image(method, downscaler, image_id, np.ascontiguousarray(one))[0] for one in sr]
    return np.sqrt([np.square(one - given).mean() for one in again])


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` on its stage again") from None

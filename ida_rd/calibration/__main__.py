"""Cards of a finished run, from its SR images: nothing is sampled again.

    python -m ida_rd.calibration    # in a folder in which the pipeline has run

Every stochastic upscaler with K of at least 3 gets a card per downscaler, in ``metrics/calibration/``; in an
experiment, whose ``calibration.yaml`` names the data, in ``results/<data>/`` with what made them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from ida_rd.aggregate.results import photographs_in
from ida_rd.calibration.branch import LEAST_SAMPLES, calibrate_branch
from ida_rd.calibration.card import Card
from ida_rd.calibration.resampling import Settings
from ida_rd.calibration.run import add_cards
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.software import skip_note
from ida_rd.core.tables import read_table
from ida_rd.study.record import write_record

__all__ = ["main"]

SETTINGS = Path("calibration.yaml")


class Calibration(Parameters):
    """``calibration.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="names the folder of the results")
    resamples: int = Field(default=2000, ge=200, le=100_000)


def _branches(project: Project, plan: dict[str, Any]) -> list[Branch]:
    """Those that have samples to calibrate.

    Raises
    ------
    UserError
        None has.
    """
    found = []
    for branch in (Branch.of(record) for record in plan["branches"]):
        marks = plan["upscalers"][f"x{branch.factor}/{branch.upscaler}"]["marks"]
        recipe = read_recipe(project, "upscale", f"x{branch.factor}", branch.upscaler, branch.downscaler)
        skipped = skip_note(project.sr_of(branch)) is not None
        if "deterministic" not in marks and recipe["samples"] >= LEAST_SAMPLES and not skipped:
            found.append(branch)
    if not found:
        raise UserError(
            f"params.yaml: nothing to calibrate: no upscaler is stochastic, or samples is less than {LEAST_SAMPLES}"
        )
    return found


def main() -> None:
    project = Project()
    plan = read_json(project.plan / "aggregate.json", hint="run `dvc repro` first, in this folder")
    hint = "run this in the folder of the experiment"
    own = validate(Calibration, read_yaml(SETTINGS, hint=hint), where=str(SETTINGS)) if SETTINGS.is_file() else None
    photographs = photographs_in(read_table(project.subset, hint="run `dvc repro balance`"))
    settings = Settings(plan["confidence"], own.resamples if own else Settings.resamples, plan["seed"])
    cards: dict[Branch, Card] = {}
    notes = []
    for branch in sorted(_branches(project, plan), key=lambda one: (one.upscaler, one.factor)):
        recipe = read_recipe(project, "downscale", f"x{branch.factor}", branch.downscaler)
        cards[branch], left_out = calibrate_branch(project, branch, recipe, photographs, settings)
        notes += [f"{branch.title}: {left_out} images left out: a sample was not finite."] if left_out else []
    target = Path("results") / own.data if own else project.metrics / "calibration"
    with atomic_folder(target) as folder:
        add_cards(cards, folder, f"Calibration{f': {own.data}' if own else ''}", tuple(notes))
        if own:
            write_record(plan, folder, images=False)
    print((target / "calibration.md").read_text(encoding="utf-8"), file=sys.stdout)


if __name__ == "__main__":
    exit_with_line(main)

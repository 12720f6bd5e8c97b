"""Is sigma a dial? Means of a sweep with intervals over photographs, and the paired differences from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Difference, Photographs, by_photograph, mean_interval, paired_difference
from ida_rd.core.errors import UserError
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table


@dataclass(frozen=True)
class Mean:
    """A mean over photographs and its interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Run:
    """A finished run: its plan, image means, and which photograph each image is of."""

    name: str
    recipe: Mapping[str, Any]
    images: pd.DataFrame
    photographs: Photographs

    def of(self, downscaler: str, upscaler: str, factor: int, measure: str) -> pd.Series:
        """Image means of a branch."""
        rows = self.images[
            (self.images.downscaler == downscaler) & (self.images.upscaler == upscaler) & (self.images.factor == factor)
        ]
        if rows.empty:
            where = f"{self.name}: params.yaml has no branch of {upscaler}, x{factor} and {downscaler}"
            raise UserError(f"{where}, which rescaling.yaml names: correct one of them, and run `dvc repro` there")
        return rows.set_index("image_id")[measure]

    def sigma(self, upscaler: str, factor: int) -> float:
        """The sigma of an upscaler `irn`."""
        path = f"upscale/x{factor}/{upscaler}"
        for name, recipe in self.recipe["recipes"].items():
            if f"{name}/".startswith(f"{path}/") and "sigma" in recipe.get("parameters", {}):
                return float(recipe["parameters"]["sigma"])
        raise UserError(f"{self.name}: the upscaler {upscaler} has no sigma: give one of method irn in rescaling.yaml")

    def statistics(self) -> dict[str, Any]:
        """What every interval and test here is computed with."""
        return {key: self.recipe[key] for key in ("confidence", "resamples", "seed")}

    def mean(self, values: pd.Series) -> Mean:
        """Mean over photographs of a branch's image means."""
        found = by_photograph(values, self.photographs).to_numpy(np.float64)
        return Mean(float(found.mean()), *mean_interval(found, self.recipe["confidence"]))


def opened(folder: str) -> Run | None:
    """The run of a folder, if it was made."""
    project, hint = Project(Path(folder)), f"run `dvc repro` in {folder}"
    table = project.tables / "images.csv"
    if not table.is_file():
        return None
    return Run(
        folder,
        read_recipe(project, "aggregate"),
        read_table(table, hint=hint),
        photographs_in(read_table(project.subset, hint=hint)),
    )


@dataclass(frozen=True)
class Dial:
    """A sweep of sigma: image means by measure and sigma, ascending, and what they say.

    Attributes
    ----------
    name : str
    run : Run
    values : dict
        By measure, then sigma: Series by image id.
    marks : dict
        By sigma, what must be known about the upscaler.
    """

    name: str
    run: Run
    values: Mapping[str, Mapping[float, pd.Series]]
    marks: Mapping[float, str]

    @property
    def sigmas(self) -> list[float]:
        return list(next(iter(self.values.values())))

    def means(self, measure: str) -> dict[float, Mean]:
        """Means by sigma."""
        return {sigma: self.run.mean(values) for sigma, values in self.values[measure].items()}

    def change(self, measure: str, first: float, last: float) -> Difference:
        """Paired difference, `last` minus `first`."""
        mine = self.values[measure]
        return paired_difference(mine[first], mine[last], self.run.photographs, **self.run.statistics())

    def steps(self, measure: str) -> list[tuple[float, float, Difference]]:
        """The change from each sigma to the next."""
        return [(a, b, self.change(measure, a, b)) for a, b in pairwise(self.sigmas)]

    def falls(self, measure: str) -> bool:
        """Whether it falls from the first sigma to the last, beyond its interval."""
        whole = self.change(measure, self.sigmas[0], self.sigmas[-1])
        return whole.high is not None and whole.high < 0

    def monotone(self, measure: str) -> bool:
        """Whether no mean is above the one before, or it is so little that the interval of the difference holds 0."""
        return all(step.mean <= 0 or (step.low is not None and step.low <= 0) for _, _, step in self.steps(measure))


def dial_of(name: str, run: Run, downscaler: str, upscalers: list[str], factor: int, measures: list[str]) -> Dial:
    """Read a sweep.

    Raises
    ------
    UserError
        The sigmas do not ascend, or a branch is not there.
    """
    sigmas = [run.sigma(upscaler, factor) for upscaler in upscalers]
    if sigmas != sorted(set(sigmas)):
        raise UserError(f"rescaling.yaml: curves.{name}: the sigmas of its upscalers do not ascend: order them")
    values = {
        measure: {s: run.of(downscaler, up, factor, measure) for s, up in zip(sigmas, upscalers, strict=True)}
        for measure in measures
    }
    told = [", ".join(run.recipe["upscalers"][f"x{factor}/{upscaler}"]["marks"]) for upscaler in upscalers]
    return Dial(name, run, values, dict(zip(sigmas, told, strict=True)))

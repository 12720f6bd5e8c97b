"""Scores, and what is compared with what, from the rows of a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ida_rd.aggregate.statistics import Difference, Score, paired_difference, summarise
from ida_rd.core.tables import marked_name, read_table
from ida_rd.core.typeset import interval
from ida_rd.study.settings import Study

__all__ = ["Comparison", "Result", "judge", "ladder_correlations", "pairs"]


@dataclass(frozen=True)
class Comparison:
    """`condition` against `against`."""

    panel: str
    condition: str
    against: str
    difference: Difference

    @property
    def shown(self) -> bool:
        return self.difference.low > 0

    @property
    def reversed(self) -> bool:
        return self.difference.high < 0

    @property
    def interval(self) -> str:
        """The difference and its interval, as every text shows them."""
        return interval(self.difference.mean, self.difference.low, self.difference.high, places=4, signed=True)


@dataclass(frozen=True)
class Result:
    """One upscaler and factor: scores and image means by condition, comparisons, counts."""

    upscaler: str
    factor: int
    scores: dict[str, Score]
    means: dict[str, pd.Series]
    comparisons: list[Comparison]
    samples: int
    lost: int
    sign: int  # -1 where higher distances are better
    marks: str = ""  # what a reader must know about the upscaler

    @property
    def title(self) -> str:
        """Upscaler and factor, with what a reader must know about it."""
        return f"{marked_name(self.upscaler, self.marks)}, x{self.factor}"

    def loss(self, condition: str) -> float:
        """The mean score, turned so that more is worse."""
        return self.sign * self.scores[condition].mean

    def ranked(self, conditions: list[str] | None = None) -> list[str]:
        """Conditions that were run, the one that loses least first."""
        names = self.scores if conditions is None else [c for c in conditions if c in self.scores]
        return sorted(names, key=self.loss)


def pairs(study: Study, present: set[str]) -> list[tuple[str, str, str]]:
    """What is compared: (panel, condition, against), of conditions that have been run."""
    found = []
    panels = {name: [c for c in panel.conditions if c in present] for name, panel in study.panels.items()}
    if study.kind == "ladders":
        found = [(name, b, a) for name, rungs in panels.items() for a, b in pairwise(rungs)]
    elif study.kind == "threshold":
        found = [(name, rung, rungs[0]) for name, rungs in panels.items() for rung in rungs[1:]]
    elif study.kind == "order":
        for (_, earlier), (name, later) in pairwise(panels.items()):
            found += [(name, b, a) for b in later for a in earlier]
    elif study.baseline in present:
        found = [(name, c, study.baseline) for name, cs in panels.items() for c in cs if c != study.baseline]
    return found


def judge(study: Study, recipe: dict[str, Any], folder: Path, upscaler: str, factor: int) -> Result:
    """Score every condition of one upscaler and factor, and compare those that the study compares."""
    lead = recipe["distortion_order"][0]
    settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
    sign = -1 if recipe["distortions"][lead]["better"] == "higher" else 1
    scores, means, samples, lost = {}, {}, 0, 0
    for branch in recipe["branches"]:
        if (branch["upscaler"], branch["factor"]) != (upscaler, factor):
            continue
        name = branch["downscaler"]
        rows = read_table(folder / upscaler / f"x{factor}" / f"{name}.csv", hint="run `dvc repro distort`")
        scores[name], means[name] = summarise(rows, lead, **settings)
        samples, lost = samples + len(rows), lost + int((~rows.finite).sum())
    comparisons = []
    for panel, condition, against in pairs(study, set(scores)):
        difference = paired_difference(sign * means[against], sign * means[condition], **settings)
        comparisons.append(Comparison(panel, condition, against, difference))
    marks = ", ".join(recipe["upscalers"][f"x{factor}/{upscaler}"]["marks"])
    return Result(upscaler, factor, scores, means, comparisons, samples, lost, sign, marks)


def ladder_correlations(study: Study, result: Result) -> dict[str, tuple[float, float]]:
    """Spearman's rho between rung and score: of the means, and the mean over the images of each image's own."""
    found = {}
    for name, panel in study.panels.items():
        rungs = [c for c in panel.conditions if c in result.scores]
        table = pd.DataFrame({c: result.sign * result.means[c] for c in rungs}).dropna()
        steps = np.arange(len(rungs))
        of_means = stats.spearmanr(steps, table.mean()).statistic
        images = [stats.spearmanr(steps, row).statistic for row in table.to_numpy()]
        found[name] = (float(of_means), float(np.mean(images)))
    return found

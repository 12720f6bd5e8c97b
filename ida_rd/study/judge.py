"""What a study compares with what, and what may be said of each difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import (
    Difference,
    Photographs,
    by_photograph,
    equivalence_p,
    paired_difference,
)
from ida_rd.core.pairs import FEWEST
from ida_rd.core.tables import marked_name
from ida_rd.study.numbers import spread
from ida_rd.study.rows import Condition
from ida_rd.study.settings import Study

__all__ = ["Comparison", "Result", "Setting", "judge", "kept", "ladder_correlations", "pairs"]


@dataclass(frozen=True)
class Setting:
    """How differences are tested: the run's own settings, and its leading distortion."""

    lead: str
    label: str
    better: str
    confidence: float
    resamples: int
    seed: int
    primary: str | None = None  # the distortion that was to lead

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Setting:
        """Read it from ``data/plan/aggregate.json``."""
        lead = recipe["distortion_order"][0]
        descriptor = recipe["distortions"][lead]
        settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
        return cls(lead, descriptor["label"], descriptor["better"], **settings, primary=recipe.get("primary"))

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Setting:
        """Read it from ``results/<data>/provenance.json``; raises KeyError or TypeError where that does not say."""
        return cls(**{key: record["distortion"][key] for key in cls.__dataclass_fields__})

    @property
    def level(self) -> float:
        return 1 - self.confidence

    @property
    def sign(self) -> int:
        """-1 where higher distances are better."""
        return -1 if self.better == "higher" else 1


@dataclass(frozen=True)
class Comparison:
    """`condition` against `against`.

    Attributes
    ----------
    p : float or None
        Corrected as the kind of study demands, compared with `level`; None: not tested, since a stronger rung of its
        panel is not seen.
    equivalence : float or None
        That the difference lies outside the margin: see `ida_rd.aggregate.statistics.equivalence_p`; None: not asked.
    """

    panel: str
    condition: str
    against: str
    difference: Difference
    p: float | None
    level: float
    equivalence: float | None = None

    @property
    def shown(self) -> bool:
        """More is lost, and that is significant."""
        return self.p is not None and self.p < self.level and self.difference.mean > 0

    @property
    def reversed(self) -> bool:
        """Less is lost, and that is significant."""
        return self.p is not None and self.p < self.level and self.difference.mean < 0

    @property
    def alike(self) -> bool:
        return self.equivalence is not None and self.equivalence < self.level

    @property
    def interval(self) -> str:
        """The difference and its interval, as every text shows them."""
        return spread(self.difference.mean, self.difference.low, self.difference.high, signed=True)

    @property
    def verdict(self) -> str:
        """What may be said of it, in a word or two."""
        if self.p is None:
            found = "not tested"
        else:
            found = "shown" if self.shown else "reversed" if self.reversed else "not shown"
        return f"{found}; alike" if self.alike else found


@dataclass(frozen=True)
class Result:
    """One upscaler and factor: its conditions and comparisons."""

    upscaler: str
    factor: int
    conditions: dict[str, Condition]
    comparisons: list[Comparison]
    sign: int  # -1 where higher distances are better
    marks: str = ""  # what a reader must know about the upscaler

    @property
    def title(self) -> str:
        """Upscaler and factor, with what a reader must know about it."""
        return f"{marked_name(self.upscaler, self.marks)}, x{self.factor}"

    @property
    def counts(self) -> str:
        """How many photographs, images and samples there are, as every text shows them."""
        photographs = max(c.photographs for c in self.conditions.values())
        images = max(len(c.means) for c in self.conditions.values())
        return f"N = {photographs} photographs, {images} images, K = {max(c.most for c in self.conditions.values())}"

    @property
    def photographs(self) -> int:
        return min(c.photographs for c in self.conditions.values())

    def loss(self, condition: str) -> float:
        """The mean score, turned so that more is worse."""
        return self.sign * self.conditions[condition].score.mean

    def ranked(self, conditions: list[str] | None = None) -> list[str]:
        """Conditions that were run, the one that loses least first."""
        names = self.conditions if conditions is None else [c for c in conditions if c in self.conditions]
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
        groups = [(name, group) for name, group in panels.items() if group]  # one that was not run is passed over
        for (_, earlier), (name, later) in pairwise(groups):
            found += [(name, b, a) for b in later for a in earlier]
    elif study.baseline in present:
        found = [(name, c, study.baseline) for name, cs in panels.items() for c in cs if c != study.baseline]
    return found


def kept(study: Study, means: Mapping[str, float]) -> tuple[int, int]:
    """How many comparisons of the claim hold in means alone, ties not counted; and how many there are."""
    compared = pairs(study, set(means))
    return sum(means[condition] > means[against] for _, condition, against in compared), len(compared)


def judge(
    study: Study,
    setting: Setting,
    branch: tuple[str, int],
    conditions: dict[str, Condition],
    photographs: Photographs | None,
    marks: str = "",
) -> Result:
    """Compare the conditions of one upscaler and factor as the study says."""
    settings: dict[str, Any] = {key: getattr(setting, key) for key in ("confidence", "resamples", "seed")}
    compared = pairs(study, set(conditions))
    differences, values = [], []
    for _, condition, against in compared:
        less, more = setting.sign * conditions[against].means, setting.sign * conditions[condition].means
        differences.append(paired_difference(less, more, photographs, **settings))
        values.append(by_photograph(more - less, photographs).to_numpy(np.float64))
    p = _tested(study, [panel for panel, _, _ in compared], differences, setting.level)
    margin = study.margin(setting.lead)
    alike: list[float | None] = [None] * len(compared)
    if margin is not None and all(len(v) >= FEWEST for v in values):
        alike = [equivalence_p(v, margin) for v in values]
        if study.kind == "ranking":  # as many claims as there are comparisons, of this kind too
            alike = list(holm([equivalence_p(v, margin) for v in values]))
        else:
            alike = [a if q is None or q >= setting.level else None for a, q in zip(alike, p, strict=True)]
    comparisons = [
        Comparison(*names, difference, q, setting.level, a)
        for names, difference, q, a in zip(compared, differences, p, alike, strict=True)
    ]
    return Result(*branch, conditions, comparisons, setting.sign, marks)


def _tested(study: Study, panels: list[str], differences: list[Difference], level: float) -> list[float | None]:
    """Find p of each comparison, corrected as its kind demands.

    A conjunction holds only if all of its comparisons do, and needs no correction (intersection-union). All against a
    baseline are as many claims: Holm. A panel of thresholds is tested from its strongest rung down, and ends at the
    first that is not seen: a fixed sequence needs no correction either.
    """
    raw = [difference.p for difference in differences]
    if study.kind == "ranking":
        return list(holm(raw))
    if study.kind != "threshold":
        return list(raw)
    found: list[float | None] = [None] * len(raw)
    ended: set[str] = set()
    for i in reversed(range(len(raw))):
        if panels[i] not in ended:
            found[i] = raw[i]
            if not (differences[i].differs(level) and differences[i].mean > 0):
                ended.add(panels[i])
    return found


def ladder_correlations(study: Study, result: Result) -> dict[str, tuple[float, float]]:
    """Spearman's rho between rung and score: of the means, and the mean over the images of each image's own."""
    found = {}
    for name, panel in study.panels.items():
        rungs = [c for c in panel.conditions if c in result.conditions]
        table = pd.DataFrame({c: result.sign * result.conditions[c].means for c in rungs}).dropna()
        steps = np.arange(len(rungs))
        means = [result.loss(c) for c in rungs]
        images = [_rho(steps, row) for row in table.to_numpy()]
        found[name] = (_rho(steps, means), float(np.mean(images)))
    return found


def _rho(steps: Any, values: Any) -> float:
    """Spearman's rho; 0 where all values are the same."""
    return float(stats.spearmanr(steps, values).statistic) if np.ptp(values) > 0 else 0.0

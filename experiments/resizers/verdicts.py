"""Every pair of functions of a question, judged on every group of images by S, S* and other distortions of the run.

A pair asks whether the first function loses less than the second. It is judged by S*, the score of a decoder that was
adapted to each function (`ida_rd.aggregate.matched`), where params.yaml has such decoders. S, the blind decoder's
score, says how well that decoder reads a function: what of a difference in S is not in S* (the gap) was unreadable to
it, and is not lost. Signs are flipped by photograph; Holm's correction is over all pairs, groups and factors of a
question, for S and for S* each, and for each distortion.

Each adapted decoder is one training, whose chance no test over photographs sees. Controls, functions that are one and
the same kernel, or alike on every image, show how much that is at least (the trainings have one seed, and similar
patches): a difference counts as shown only where its whole interval lies farther from zero than theirs reach, on the
same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from aliasing import aliasing  # type: ignore[import-not-found]
from numpy.typing import NDArray
from questions import Question, Settings, group_of  # type: ignore[import-not-found]
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.matched import adapted_difference, matched_table
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import by_photograph, mean_interval, paired_difference, sign_flip_p
from ida_rd.core.errors import UserError
from ida_rd.core.pairs import FEWEST
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table

__all__ = ["Answer", "Study", "farthest", "shown"]


@dataclass(frozen=True)
class Answer:
    """How much worse the second of a pair scores than the first, on a group; None where there is no such number.

    `gap` is what of the difference was unreadable to the blind decoder; p are corrected by `Study.answers`, which sets
    what is shown by S and by S*: that the first is the better (1), the worse (-1), or neither (0). Of a control that
    is nothing, since its own interval is what others must go beyond.
    """

    factor: int
    group: str
    less: str
    more: str
    count: int
    s: float
    s_low: float | None
    s_high: float | None
    s_p: float
    star: float | None = None
    star_low: float | None = None
    star_high: float | None = None
    star_p: float | None = None
    gap: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    s_shown: int = 0
    star_shown: int | None = None


def shown(value: float, p: float, count: int, level: float) -> int:
    """Whether the first of a pair is shown to be the better (1), the worse (-1), or neither (0); `p` is corrected."""
    return int(np.sign(value)) if count >= FEWEST and p < level else 0


class Study:
    """A finished run: its rows, and how they are judged."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self.settings = settings
        self.recipe = read_recipe(project, "aggregate")
        hint = "run `dvc repro aggregate`"
        self.images = read_table(project.tables / "images.csv", hint=hint)
        self.photographs = photographs_in(read_table(project.subset, hint=hint))
        self.lead, *self.others = self.recipe["distortion_order"]
        self.descriptor = self.recipe["distortions"][self.lead]
        self.level = 1 - self.recipe["confidence"]
        self.blind = self.images[self.images.upscaler == settings.preset]
        if self.blind.empty:
            raise UserError(f"resizers.yaml: preset: {settings.preset} is no upscaler of this run: name one of it")
        self.factors = sorted(int(factor) for factor in self.blind.factor.unique())
        self.group = {i: group_of(i, settings.groups) for i in self.images.image_id.astype(str).unique()}
        self.groups = [name for name in settings.groups if name in set(self.group.values())]
        self.names = {factor: set(self.blind[self.blind.factor == factor].downscaler) for factor in self.factors}

    def by(self, distortion: str) -> Study:
        """The same run, judged by another of its distortions."""
        found = copy(self)
        found.__dict__.pop("controls", None)
        found.lead, found.descriptor = distortion, self.recipe["distortions"][distortion]
        return found

    def of(self, group: str) -> pd.DataFrame:
        """All rows of a group of images."""
        return self.images[self.images.image_id.astype(str).map(self.group) == group]

    def family(self, factor: int) -> dict[str, Any] | None:
        """The preset's adapted decoders."""
        wanted = (self.settings.preset, factor)
        found = [one for one in self.recipe.get("matched", []) if (one["blind"], one["factor"]) == wanted]
        return found[0] if found else None

    def losses(self, group: str, factor: int, upscalers: Sequence[str] = ()) -> pd.DataFrame:
        """S by image (rows) and function, turned so that more is worse; of other upscalers, their mean."""
        mine = self.of(group)
        mine = mine[mine.upscaler.isin(upscalers or [self.settings.preset]) & (mine.factor == factor)]
        sign = 1.0 if self.descriptor["better"] == "lower" else -1.0
        return sign * mine.pivot_table(self.lead, "image_id", "downscaler")

    def alike(self) -> list[list[str]]:
        """Functions of which every image scores as another one's, to the last digit: one and the same, most often."""
        images = self.blind.dropna(subset=[self.lead]).pivot_table(self.lead, ["factor", "image_id"], "downscaler")
        found: dict[bytes, list[str]] = {}
        for name in images.dropna(axis=1):
            found.setdefault(images[name].to_numpy(np.float64).tobytes(), []).append(str(name))
        return [names for names in found.values() if len(names) > 1]

    def trainings(self) -> int:
        """Adapted decoders of each function, at the factor that has the fewest; 0: none."""
        known = set(self.images.upscaler)
        families = [family for factor in self.factors if (family := self.family(factor))]
        return min((len(known & set(family["adapted"])) for family in families), default=0)

    def missing(self, name: str) -> str:
        """Why a function is not in this run."""
        for key, reason in self.recipe.get("skipped", {}).items():
            if key.split("/")[-1] == name:
                return reason
        return "not among the downscalers of params.yaml"

    def factors_of(self, question: Question) -> list[int]:
        """The factor that the question is about, where this run has it; otherwise those of the run."""
        return [question.factor] if question.factor in self.factors else self.factors

    def was_asked(self, question: Question) -> bool:
        """Whether any of its pairs was in ``params.yaml``: ``asked.py`` takes the functions of other questions out."""
        asked = {key.split("/")[-1] for key in self.recipe.get("skipped", {})}.union(*self.names.values())
        return any(asked.issuperset(pair) for pair in question.pairs)

    @cached_property
    def controls(self) -> dict[tuple[int, str], list[Answer]]:
        """What functions differ by that are one, by factor and group; p are not corrected.

        Beside those of the controls, functions that are alike on every image: their adapted decoders are trainings of
        their own.
        """
        found: dict[tuple[int, str], list[Answer]] = {}
        asked = [question for question in self.settings.questions.values() if question.control]
        if asked and (alike := [pair for names in self.alike() for pair in combinations(names, 2)]):
            asked.append(Question(title="alike", pairs=alike, control=True))
        for one in [one for question in asked for one in self._differences(question)]:
            found.setdefault((one.factor, one.group), []).append(one)
        return found

    def answers(self, question: Question) -> list[Answer]:
        """Judge every pair that was measured, on every group and factor, or its own factor alone; p are corrected."""
        found = self._corrected(self._differences(question))
        for k, one in enumerate(found):
            beyond = {part: farthest(self.controls.get((one.factor, one.group), []), part) for part in ("s", "star")}
            change: dict[str, Any] = {
                f"{part}_shown": shown(getattr(one, part), p, one.count, self.level)
                * (_nearest(one, part) > beyond[part])
                for part in ("s", "star")
                if (p := getattr(one, f"{part}_p")) is not None
            }
            found[k] = replace(one, **change)
        return found

    def _differences(self, question: Question) -> list[Answer]:
        """The same, p not corrected."""
        settings: dict[str, Any] = {key: self.recipe[key] for key in ("resamples", "seed")}
        found: list[Answer] = []
        for factor in self.factors_of(question):
            for group in self.groups:
                wide = self.losses(group, factor)
                pairs = [pair for pair in question.pairs if set(pair) <= set(wide)]
                for less, more in [(a, b) for a, b in pairs if len((wide[a] - wide[b]).dropna()) >= 2]:
                    d = paired_difference(
                        wide[less], wide[more], self.photographs, confidence=self.recipe["confidence"], **settings
                    )
                    parts = self._adapted(group, factor, less, more, settings)
                    found.append(Answer(factor, group, less, more, d.photographs, d.mean, d.low, d.high, d.p, **parts))
        return found

    def _adapted(self, group: str, factor: int, less: str, more: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Difference by S*, and the gap's; empty without adapted decoders of both."""
        family, rows = self.family(factor), self.of(group)
        rows = rows[rows.factor == factor]
        adapted = rows[rows.upscaler.isin(family["adapted"])] if family else rows[:0]
        if not family or not {less, more} <= set(adapted.downscaler):
            return {}
        keys = ["image_id", "downscaler"]
        blind = rows[rows.upscaler == self.settings.preset].set_index(keys)[self.lead]
        unread = blind.reindex(pd.MultiIndex.from_frame(adapted[keys])).to_numpy() - adapted[self.lead].to_numpy()
        found: dict[str, Any] = {}
        for key, table in (("star", adapted), ("gap", adapted.assign(**{self.lead: unread}))):
            given = (table, self.photographs, family, self.lead, less, more)
            mean, p = adapted_difference(*given, better=self.descriptor["better"], **settings)
            low, high = mean.ends(self.recipe["confidence"])
            found |= {key: mean.value, f"{key}_low": low, f"{key}_high": high, f"{key}_p": p}
        del found["gap_p"]  # no question is about it
        return found

    @staticmethod
    def _corrected(found: list[Answer]) -> list[Answer]:
        """Correct p over all that is tested; what is not tested has 1."""
        for key in ("s_p", "star_p"):
            given = {k: p for k, one in enumerate(found) if (p := getattr(one, key)) is not None}
            tested = [k for k in given if found[k].count >= FEWEST]
            corrected = dict(zip(tested, holm([given[k] for k in tested]), strict=True))
            for k in given:
                change: dict[str, Any] = {key: corrected.get(k, 1.0)}
                found[k] = replace(found[k], **change)
        return found

    def kernels(self, names: list[str]) -> list[dict[str, Any]]:
        """Rank correlation of a kernel's aliasing and its score, photograph by photograph, by group and factor.

        By S, and by S* where all kernels have adapted decoders; p is of signs flipped by photograph, with Holm's
        correction over all of them that are by the same.
        """
        found: list[dict[str, Any]] = []
        for factor in self.factors:
            recipes, family = self.recipe["recipes"], self.family(factor)
            known = {n: recipes[f"downscale/x{factor}/{n}"]["parameters"] for n in names if n in self.names[factor]}
            if odd := [n for n, given in known.items() if "kernel" not in given]:
                raise UserError(f"resizers.yaml: kernels: {', '.join(odd)}: not of the method convolve: leave it out")
            passed = pd.Series({n: aliasing(given["kernel"], factor) for n, given in known.items()})
            for group in self.groups:
                tables = {"S": self.losses(group, factor)}
                if family:
                    tables["S*"] = self.losses(group, factor, family["adapted"])
                for by, wide in tables.items():
                    if len(wide) < 2 or len(passed) < 3 or not set(passed.index) <= set(wide):
                        continue
                    each = pd.DataFrame({n: by_photograph(wide[n], self.photographs) for n in passed.index}).dropna()
                    varied = each[each.nunique(axis=1) > 1]  # on a flat image all kernels are alike
                    rho = np.array([stats.spearmanr(passed, row).statistic for row in varied.to_numpy()], np.float64)
                    low, high = mean_interval(rho, self.recipe["confidence"])
                    row = {"factor": factor, "group": group, "by": by, "photographs": len(rho), "kernels": len(passed)}
                    row |= dict(zip(("least", "most"), _without_one(passed, varied), strict=True))
                    means = float(stats.spearmanr(passed, each.mean()).statistic) if len(rho) else None
                    row |= {"rho": float(rho.mean()) if len(rho) else None, "low": low, "high": high}
                    p = sign_flip_p(rho, self.recipe["resamples"], self.recipe["seed"])
                    found.append(row | {"rho_of_means": means, "p": None if low is None else p})
        for by in ("S", "S*"):
            tested = [row for row in found if row["by"] == by and row["p"] is not None]
            for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
                row["p"] = p
        return found

    def table(self) -> pd.DataFrame:
        """S, and where there are adapted decoders S* and gap, of each function on each group."""
        found = []
        for group in self.groups:
            rows = self.of(group)
            for factor in self.factors:
                wide = self.losses(group, factor)
                sign = 1.0 if self.descriptor["better"] == "lower" else -1.0
                for name in wide:
                    values = sign * by_photograph(wide[name], self.photographs).to_numpy(np.float64)
                    low, high = mean_interval(values, self.recipe["confidence"])
                    row = {"factor": factor, "group": group, "downscaler": name, "photographs": len(values)}
                    found.append(row | {"s": float(values.mean()), "s_low": low, "s_high": high})
            parted = self._parted(rows)
            if len(parted):
                keys = ["factor", "downscaler"]
                for row in found:
                    mine = parted[(parted[keys] == [row["factor"], row["downscaler"]]).all(axis=1)]
                    if row["group"] == group and len(mine):
                        columns = [f"{part}{end}" for part in ("s_star", "gap") for end in ("", "_low", "_high")]
                        row |= mine.iloc[0][columns].to_dict()
        return pd.DataFrame(found).sort_values(["factor", "group", "s"], kind="stable", ignore_index=True)

    def _parted(self, rows: pd.DataFrame) -> pd.DataFrame:
        families = [family for factor in self.factors if (family := self.family(factor))]
        names = {name for family in families for name in family["adapted"]}
        scores = pd.DataFrame(columns=["upscaler", "factor", "distortion", "downscaler"])
        recipe = self.recipe | {"matched": families, "distortion_order": [self.lead]}
        if not families:
            return pd.DataFrame()
        adapted = rows[rows.upscaler.isin(names)]
        return matched_table(rows[rows.downscaler.isin(adapted.downscaler)], scores, self.photographs, recipe)


def _without_one(passed: pd.Series, images: pd.DataFrame) -> tuple[float | None, float | None]:
    """Least and largest of the mean rank correlations that are left without one of the kernels."""
    if not len(images) or len(passed) < 4:
        return None, None
    found = []
    for name in passed.index:
        rest = images.drop(columns=name)
        rest = rest[rest.nunique(axis=1) > 1]
        rho: NDArray[np.float64] = np.array(
            [stats.spearmanr(passed[rest.columns], row).statistic for row in rest.to_numpy()], np.float64
        )
        found.append(float(rho.mean()) if len(rho) else np.nan)
    return float(np.nanmin(found)), float(np.nanmax(found))


def farthest(controls: Sequence[Answer], part: str) -> float:
    """How far from zero the intervals of differences reach, by S (`part` s) or by S* (star); 0: there are none."""
    ends = [getattr(one, f"{part}{end}") for one in controls for end in ("_low", "_high")]
    return max((abs(end) for end in ends if end is not None), default=0.0)


def _nearest(one: Answer, part: str) -> float:
    """How far from zero a difference's interval begins; 0: it has zero in it, or is none."""
    low, high = getattr(one, f"{part}_low"), getattr(one, f"{part}_high")
    return 0.0 if low is None or low * high <= 0 else min(abs(low), abs(high))

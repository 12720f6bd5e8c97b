"""What users of resize functions ask, answered: one paragraph per question, with intervals, group by group.

A question is a list of pairs, each of which asks whether the first function loses less than the second. It is judged on
every group of images by S*, the score of a decoder that was adapted to each function (`ida_rd.aggregate.matched`),
where params.yaml has such decoders. S, the blind decoder's score, says how well that decoder reads a function: what of
a difference in S is not in S* (the gap) was unreadable to it, and is not lost. Of S alone the text never says "loses".
Signs are flipped by photograph; Holm's correction is over all pairs and groups of a question, for S and for S* each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from aliasing import aliasing  # type: ignore[import-not-found]
from drawn import draw_all, drawable  # type: ignore[import-not-found]
from pydantic import Field
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.matched import adapted_difference, matched_table
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import by_photograph, mean_interval, paired_difference, sign_flip_p
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.pairs import FEWEST
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import interval, markdown_table, p_value
from ida_rd.study.record import write_record

BLIND = "By the blind decoder alone: S* is not measured, so that nothing here says what is lost."
READS = {
    1: "{0} is read better by this decoder than {1}",
    0: "no difference shown between {0} and {1}",
    -1: "{0} is read worse by this decoder than {1}",
}
LOSES = {
    1: "{0} loses less than {1}",
    0: "no difference in loss shown between {0} and {1}",
    -1: "{0} loses more than {1}",
}


class Question(Parameters):
    """Key of ``questions`` in ``resizers.yaml``."""

    title: str
    threads: list[str]
    pairs: list[tuple[str, str]] = Field(min_length=1)
    kernels: list[str] = Field(default_factory=list)
    factor: int | None = None  # that the question is about, where it is about one


class Settings(Parameters):
    """``resizers.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    preset: str
    groups: dict[str, str]
    questions: dict[str, Question]


@dataclass(frozen=True)
class Answer:
    """How much worse the second of a pair scores than the first, on a group; None where there is no such number.

    `gap` is what of the difference was unreadable to the blind decoder; p are corrected by `Study.answers`.
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


def shown(value: float, p: float, count: int, level: float) -> int:
    """Whether the first of a pair is shown to be the better (1), the worse (-1), or neither (0); `p` is corrected."""
    return int(np.sign(value)) if count >= FEWEST and p < level else 0


def group_of(image_id: str, groups: dict[str, str]) -> str:
    """The group that an image's name begins with."""
    found = image_id.split("-")[0]
    if found not in groups:
        raise UserError(f"resizers.yaml: groups: {image_id} begins with none of {', '.join(groups)}: name its group")
    return found


class Study:
    """A finished run: its rows, and how they are judged."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self.settings = settings
        self.recipe = read_recipe(project, "aggregate")
        hint = "run `dvc repro aggregate`"
        self.images = read_table(project.tables / "images.csv", hint=hint)
        self.photographs = photographs_in(read_table(project.subset, hint=hint))
        self.lead = self.recipe["distortion_order"][0]
        self.descriptor = self.recipe["distortions"][self.lead]
        self.level = 1 - self.recipe["confidence"]
        self.blind = self.images[self.images.upscaler == settings.preset]
        if self.blind.empty:
            raise UserError(f"resizers.yaml: preset: {settings.preset} is no upscaler of this run: name one of it")
        self.factors = sorted(int(factor) for factor in self.blind.factor.unique())
        self.group = {i: group_of(i, settings.groups) for i in self.images.image_id.astype(str).unique()}
        self.groups = [name for name in settings.groups if name in set(self.group.values())]
        self.names = {factor: set(self.blind[self.blind.factor == factor].downscaler) for factor in self.factors}

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

    def answers(self, question: Question) -> list[Answer]:
        """Judge every pair that was measured, on every group and factor, or its own factor alone; p are corrected."""
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
        return self._corrected(found)

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

    def paragraph(self, question: Question, answers: list[Answer]) -> str:
        """What can be posted under the thread."""
        lines = [f"{question.title} ({', '.join(question.threads)})"]
        if question.factor is not None and question.factor not in self.factors:
            have = " and ".join(f"x{factor}" for factor in self.factors)
            lines.append(f"At x{question.factor} this is not measured: no decoder of this run is for it. At {have}:")
        partly = any(one.star is not None for one in answers)
        if answers and not partly:
            lines.append(BLIND)
        for factor in self.factors_of(question):
            for group in self.groups:
                mine = [one for one in answers if (one.factor, one.group) == (factor, group)]
                where = f"On {self.settings.groups[group]}, x{factor}"
                if not mine:
                    lines.append(f"{where}: not shown, too few images or functions.")
                    continue
                count = max(one.count for one in mine)
                if count < FEWEST:
                    lines.append(f"{where} (N = {count}): not shown, too few for an interval.")
                    continue
                parts = [self._sentence(one, count, partly) for one in mine]
                lines.append(f"{where} (N = {count}): {'; '.join(parts)}.")
        if missing := sorted({name for pair in question.pairs for name in pair} - set().union(*self.names.values())):
            alike = pd.Series(missing).groupby([self.missing(name) for name in missing], sort=False)
            lines.append(f"Not measured: {'; '.join(', '.join(names) + f': {why}' for why, names in alike)}.")
        return " ".join(lines)

    def _sentence(self, one: Answer, count: int, partly: bool) -> str:
        """What came of a pair. Only S* says that something is lost."""
        by_s = shown(one.s, one.s_p, one.count, self.level)
        few = f", N = {one.count}" if one.count < count else ""
        numbers = f"S: {interval(one.s, one.s_low, one.s_high, signed=True)}, p {p_value(one.s_p)}{few}"
        if one.star is None or one.star_p is None:
            said = READS[by_s].format(one.less, one.more)
            return f"{said} ({numbers}{'; S* not measured' if partly else ''})"
        by_star = shown(one.star, one.star_p, one.count, self.level)
        said = LOSES[by_star].format(one.less, one.more)
        if by_s != by_star:
            better = one.less if by_s > 0 else one.more
            said += f", though {better} is better read" if by_s else ", which S does not show"
        star = f"S*: {interval(one.star, one.star_low, one.star_high, signed=True)}, p {p_value(one.star_p)}"
        gap = interval(one.gap, one.gap_low, one.gap_high, signed=True) if one.gap is not None else ""
        return f"{said} ({star}; {numbers}; gap {gap})"

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
                    means = float(stats.spearmanr(passed, each.mean()).statistic) if len(rho) else None
                    row |= {"rho": float(rho.mean()) if len(rho) else None, "low": low, "high": high}
                    p = sign_flip_p(rho, self.recipe["resamples"], self.recipe["seed"])
                    found.append(row | {"rho_of_means": means, "p": None if low is None else p})
        for by in ("S", "S*"):
            tested = [row for row in found if row["by"] == by and row["p"] is not None]
            for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
                row["p"] = p
        return found

    def kernels_text(self, found: list[dict[str, Any]]) -> str:
        """Does less aliasing mean less loss?"""
        lines = ["Does less aliasing mean less loss?"]
        if not any(one["by"] == "S*" for one in found):
            lines.append(BLIND)
        for one in found:
            where = f"On {self.settings.groups[one['group']]}, x{one['factor']}, by {one['by']}"
            if one["p"] is None:
                lines.append(f"{where}: not shown, too few for an interval.")
                continue
            words = ("lose more", "lose less") if one["by"] == "S*" else ("are read worse", "are read better")
            found_out = shown(one["rho"], one["p"], one["photographs"], self.level)
            said = f"kernels that alias less {words[found_out > 0]}" if found_out else "not shown"
            rho = interval(one["rho"], one["low"], one["high"], places=2, signed=True)
            lines.append(
                f"{where}: {said}; Spearman's rho with aliasing, over {one['kernels']} kernels, {rho}, p"
                f" {p_value(one['p'])}, mean of {one['photographs']} images; {one['rho_of_means']:+.2f} of means."
            )
        return " ".join(lines)

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
        scores = pd.DataFrame(columns=["upscaler", "factor", "distortion", "downscaler"])
        recipe = self.recipe | {"matched": families, "distortion_order": [self.lead]}
        if not families:
            return pd.DataFrame()
        adapted = rows[rows.upscaler.isin(families[0]["adapted"])]
        return matched_table(rows[rows.downscaler.isin(adapted.downscaler)], scores, self.photographs, recipe)

    def markdown(self, table: pd.DataFrame) -> list[str]:
        """The table of each group, the function that loses least first."""
        lines: list[str] = []
        parted = "s_star" in table
        for (factor, group), rows in table.groupby(["factor", "group"], sort=False):
            count = int(rows.photographs.max())
            lines += ["", f"### {self.settings.groups[str(group)]}, x{factor} (N = {count})", ""]
            ordered = rows.sort_values("s", ascending=self.descriptor["better"] == "lower", kind="stable")
            cells = [
                [one.downscaler, interval(one.s, one.s_low, one.s_high)]
                + ([_cell(one, "s_star"), _cell(one, "gap")] if parted else [])
                for one in ordered.itertuples()
            ]
            head = ["", f"S, {self.descriptor['label']}", *(["S*", "gap"] if parted else [])]
            lines += markdown_table(head, cells)
        return lines


def _cell(row: Any, key: str) -> str:
    value = getattr(row, key)
    return "" if pd.isna(value) else interval(value, getattr(row, f"{key}_low"), getattr(row, f"{key}_high"))


def main() -> None:
    found = read_yaml(Path("resizers.yaml"), hint="run this in the folder of the experiment")
    settings = validate(Settings, found, where="resizers.yaml")
    study = Study(settings, Project())
    lines = [
        *(f"# What do resize functions lose? {settings.data}", ""),
        f"By {study.settings.preset}, {study.descriptor['label']}. Differences: how much worse the second scores"
        " than the first; intervals are of each difference by itself, p are corrected for all of a question.",
    ]
    rows, record = [], {}
    for name, question in settings.questions.items():
        if not study.was_asked(question):
            continue
        answers = study.answers(question)
        lines += ["", f"## {question.title}", "", study.paragraph(question, answers)]
        record[name] = {"answers": [vars(one) for one in answers]}
        if question.kernels:
            record[name]["aliasing"] = study.kernels(question.kernels)
            lines += ["", study.kernels_text(record[name]["aliasing"])]
        rows += [{"question": name, **vars(one)} for one in answers]
    table, judged = study.table(), pd.DataFrame(rows)
    lines[3:3] = [text for x in drawable(judged) for text in ("", f"![All questions](answers-x{x}.png)")]
    lines += ["", "## All functions", *study.markdown(table)]
    if study.recipe.get("skipped"):
        lines += ["", "Not measured:", ""]
        lines += [f"* {name}: {reason}" for name, reason in sorted(study.recipe["skipped"].items())]
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(study.recipe, folder)
        write_text(folder / "resizers.md", "\n".join(lines) + "\n")
        write_table(folder / "answers.csv", judged)
        draw_all(judged, settings, study.descriptor["label"], study.level, folder)
        write_table(folder / "table.csv", table)
        write_json(folder / "answers.json", record)
    print("\n".join(lines[:8]))


if __name__ == "__main__":
    exit_with_line(main)

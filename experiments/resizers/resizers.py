"""What users of resize functions ask, answered: one paragraph per question, with intervals, group by group.

A question is a list of pairs, each of which asks whether the first function loses less than the second. It is judged on
every group of images by S, the blind decoder's score, and, where params.yaml has adapted decoders, by S* too, the
score of a decoder that was adapted to each function (`ida_rd.aggregate.matched`); what of a difference is not in S* was
unreadable to the blind decoder and is not lost. Signs are flipped by photograph; Holm's correction is over all pairs
and groups of a question, for S and for S* each. Where there is no test, the text says "not shown".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.matched import adapted_difference, matched_table
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import by_photograph, mean_interval, paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.pairs import FEWEST
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import interval, markdown_table, p_value
from ida_rd.downscale.convolve import weights
from ida_rd.study.record import write_record

FINE = 4096  # samples of a kernel's spectrum


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
    """How much more the second of a pair loses than the first, on a group; None where there is no such number."""

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

    @property
    def gap(self) -> float | None:
        """What of the difference was unreadable to the blind decoder."""
        return None if self.star is None else self.s - self.star


def verdict(value: float | None, p: float | None, count: int, level: float) -> str:
    """What a difference came to; `p` is corrected."""
    if value is None or p is None:
        return "not measured"
    if count < FEWEST or p >= level:
        return "not shown"
    return "loses less" if value > 0 else "loses more"


def group_of(image_id: str, groups: dict[str, str]) -> str:
    """The group that an image's name begins with."""
    found = image_id.split("-")[0]
    if found not in groups:
        raise UserError(f"resizers.yaml: groups: {image_id} begins with none of {', '.join(groups)}: name its group")
    return found


def aliasing(kernel: str, factor: int) -> float:
    """Root of the share of power that a kernel lets through from above the LR grid's frequency, of a 1/f^2 spectrum."""
    index, share = weights(kernel, 64 * factor, 64)
    taps = np.zeros(64 * factor)
    np.add.at(taps, index[32], share[32])
    passed = np.abs(np.fft.rfft(taps, FINE)) ** 2
    frequency = np.fft.rfftfreq(FINE) * factor  # in cycles per LR pixel
    power = passed[1:] / frequency[1:] ** 2
    return float(np.sqrt(power[frequency[1:] > 0.5].sum() / power.sum()))


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

    def losses(self, group: str, factor: int) -> pd.DataFrame:
        """S by image (rows) and function, turned so that more is worse."""
        mine = self.of(group)
        mine = mine[(mine.upscaler == self.settings.preset) & (mine.factor == factor)]
        sign = 1.0 if self.descriptor["better"] == "lower" else -1.0
        return sign * mine.pivot_table(self.lead, "image_id", "downscaler")

    def missing(self, name: str) -> str:
        """Why a function is not in this run."""
        for key, reason in self.recipe.get("skipped", {}).items():
            if key.split("/")[-1] == name:
                return f"{name}: {reason}"
        return f"{name}: not among the downscalers of params.yaml"

    def answers(self, question: Question) -> list[Answer]:
        """Judge every pair that was measured, on every group and factor; p are corrected."""
        settings: dict[str, Any] = {key: self.recipe[key] for key in ("resamples", "seed")}
        found: list[Answer] = []
        for factor in self.factors:
            pairs = [pair for pair in question.pairs if set(pair) <= self.names[factor]]
            for group in self.groups:
                wide, rows = self.losses(group, factor), self.of(group)
                count = len({self.photographs[str(i)] for i in wide.index})
                for less, more in pairs if len(wide) >= 2 else []:
                    d = paired_difference(
                        wide[less], wide[more], self.photographs, confidence=self.recipe["confidence"], **settings
                    )
                    star: tuple[Any, ...] = ()
                    family = self.family(factor)
                    adapted = set(rows[rows.upscaler == family["adapted"][0]].downscaler) if family else set()
                    if family and {less, more} <= adapted:
                        mean, p = adapted_difference(
                            rows,
                            self.photographs,
                            family,
                            self.lead,
                            less,
                            more,
                            better=self.descriptor["better"],
                            **settings,
                        )
                        star = (mean.value, *mean.ends(self.recipe["confidence"]), p)
                    found.append(Answer(factor, group, less, more, count, d.mean, d.low, d.high, d.p, *star))
        return self._corrected(found)

    @staticmethod
    def _corrected(found: list[Answer]) -> list[Answer]:
        tested = [one for one in found if one.count >= FEWEST]
        by_s = dict(zip(map(id, tested), holm([one.s_p for one in tested]), strict=True))
        starred = [one for one in tested if one.star_p is not None]
        by_star = dict(zip(map(id, starred), holm([one.star_p or 0.0 for one in starred]), strict=True))
        return [
            Answer(**{**vars(one), "s_p": by_s.get(id(one), 1.0), "star_p": by_star.get(id(one), one.star_p)})
            for one in found
        ]

    def paragraph(self, question: Question, answers: list[Answer]) -> str:
        """What can be posted under the thread."""
        lines = [f"{question.title} ({', '.join(question.threads)})"]
        if question.factor is not None and question.factor not in self.factors:
            have = " and ".join(f"x{factor}" for factor in self.factors)
            lines.append(f"At x{question.factor} this is not measured: no decoder of this run is for it. At {have}:")
        for factor in self.factors:
            for group in self.groups:
                mine = [one for one in answers if (one.factor, one.group) == (factor, group)]
                where = f"On {self.settings.groups[group]}, x{factor}"
                if not mine:
                    lines.append(f"{where}: not shown, too few images or functions.")
                    continue
                count = mine[0].count
                if count < FEWEST:
                    lines.append(f"{where} (N = {count}): not shown, too few for an interval.")
                    continue
                parts = [self._sentence(one) for one in mine]
                lines.append(f"{where} (N = {count}): {'; '.join(parts)}.")
        if missing := sorted({name for pair in question.pairs for name in pair} - set().union(*self.names.values())):
            lines.append(f"Not measured: {'; '.join(self.missing(name) for name in missing)}.")
        return " ".join(lines)

    def _sentence(self, one: Answer) -> str:
        by_s = verdict(one.s, one.s_p, one.count, self.level)
        said = {"not shown": "no difference shown between {0} and {1}"}.get(by_s, "{0} " + by_s + " than {1}")
        text = said.format(one.less, one.more)
        text += f" (S: {interval(one.s, one.s_low, one.s_high, signed=True)}, p {p_value(one.s_p)}"
        if one.star is None:
            return text + "; by this decoder alone, S* is not measured)"
        by_star = verdict(one.star, one.star_p, one.count, self.level)
        text += f"; S*: {interval(one.star, one.star_low, one.star_high, signed=True)}, p {p_value(one.star_p or 0.0)},"
        agree = {True: "the same", False: f"{by_star} by it"}[by_s == by_star]
        return f"{text} {agree}; gap {one.gap:+.4f})"

    def kernels(self, names: list[str]) -> list[dict[str, Any]]:
        """Rank correlation of a kernel's aliasing and its loss, photograph by photograph, by group and factor."""
        found = []
        for factor in self.factors:
            recipes = self.recipe["recipes"]
            known = {n: recipes[f"downscale/x{factor}/{n}"]["parameters"] for n in names if n in self.names[factor]}
            passed = pd.Series({n: aliasing(given["kernel"], factor) for n, given in known.items()})
            for group in self.groups:
                wide = self.losses(group, factor)
                if len(wide) < 2 or len(passed) < 3:
                    continue
                each = pd.DataFrame({n: by_photograph(wide[n], self.photographs) for n in passed.index}).dropna()
                varied = each[each.nunique(axis=1) > 1]  # on a flat image all kernels are alike
                rho = np.array([stats.spearmanr(passed, row).statistic for row in varied.to_numpy()], np.float64)
                low, high = mean_interval(rho, self.recipe["confidence"]) if len(rho) else (None, None)
                means = float(stats.spearmanr(passed, each.mean()).statistic) if len(rho) else float("nan")
                row = {"factor": factor, "group": group, "photographs": len(rho), "kernels": len(passed)}
                found.append(
                    row
                    | {"rho": float(rho.mean()) if len(rho) else None, "low": low, "high": high}
                    | {"rho_of_means": means}
                )
        return found

    def kernels_text(self, found: list[dict[str, Any]]) -> str:
        """Does less aliasing mean less loss?"""
        lines = ["Does less aliasing mean less loss?"]
        for one in found:
            where = f"On {self.settings.groups[one['group']]}, x{one['factor']}"
            if one["low"] is None:
                lines.append(f"{where}: not shown, too few for an interval.")
                continue
            said = (
                "yes" if one["low"] > 0 else "no, kernels that alias less lose more" if one["high"] < 0 else "not shown"
            )
            rho = interval(one["rho"], one["low"], one["high"], places=2, signed=True)
            lines.append(
                f"{where}: {said}; Spearman's rho of aliasing and loss over {one['kernels']} kernels {rho}, the mean of"
                f" {one['photographs']} photographs' own, {one['rho_of_means']:+.2f} of the mean losses."
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
    hint = "run this in the folder of the experiment"
    settings = validate(Settings, read_yaml(Path("resizers.yaml"), hint=hint), where="resizers.yaml")
    study = Study(settings, Project())
    lines = [f"# What do resize functions lose? {settings.data}", ""]
    lines += [
        f"By {study.settings.preset}, {study.descriptor['label']}; differences: the second's loss less the first's."
    ]
    rows, record = [], {}
    for name, question in settings.questions.items():
        answers = study.answers(question)
        lines += ["", f"## {question.title}", "", study.paragraph(question, answers)]
        record[name] = {"answers": [vars(one) | {"gap": one.gap} for one in answers]}
        if question.kernels:
            found = study.kernels(question.kernels)
            lines += ["", study.kernels_text(found)]
            record[name]["aliasing"] = found
        rows += [{"question": name, **vars(one), "gap": one.gap} for one in answers]
    table = study.table()
    lines += ["", "## All functions", *study.markdown(table)]
    if study.recipe.get("skipped"):
        lines += ["", "Not measured:", ""]
        lines += [f"* {name}: {reason}" for name, reason in sorted(study.recipe["skipped"].items())]
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(study.recipe, folder)
        write_text(folder / "resizers.md", "\n".join(lines) + "\n")
        write_table(folder / "answers.csv", pd.DataFrame(rows))
        write_table(folder / "table.csv", table)
        write_json(folder / "answers.json", record)
    print("\n".join(lines[:8]))


if __name__ == "__main__":
    exit_with_line(main)

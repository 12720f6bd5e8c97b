"""Turn an experiment's rows into its table, its figure, and a paragraph that says what they show.

    python ../study.py          # in an experiment's folder; `dvc repro` there runs it

What is compared with what is said in the folder's ``study.yaml``:

* ``kind: ladders``: each ladder is a list of conditions, the mildest first. The claim: every rung loses more
  than the one before.
* ``kind: threshold``: likewise, but each rung is compared with the first: from which on does the score see it?
* ``kind: order``: groups of conditions. The claim: each loses more than all of the group before.
* ``kind: ranking``: groups of conditions, each compared with ``baseline``.

Every comparison is the paired difference over the images by the leading distortion, with a bootstrap
interval; it is shown where the interval excludes zero. The paper's values stand beside ours in a column of
their own: they are from another upscaler and other images, so what can be compared is their order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field
from scipy import stats

from ida_rd.aggregate.statistics import Difference, Score, paired_difference, summarise
from ida_rd.aggregate.tables import latex_text
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, read_json, read_yaml, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.tables import read_table, write_table
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save

Level = int | float | str


class Panel(Parameters):
    """Conditions that belong together, and the level or label of each; ``axis`` says what the levels are."""

    axis: str = ""
    conditions: dict[str, Level] = Field(min_length=1)


class Paper(Parameters):
    """What the paper reports: where, by which upscaler and on what, and its score of each condition."""

    source: str
    note: str = ""
    scores: dict[str, float] = Field(default_factory=dict)


class Study(Parameters):
    """``study.yaml``."""

    kind: Literal["ladders", "threshold", "order", "ranking"]
    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    claim: str | None = None
    panels: dict[str, Panel]
    baseline: str | None = None
    paper: Paper | None = None
    notes: list[str] = Field(default_factory=list)


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
    stochastic: bool = True

    @property
    def title(self) -> str:
        """Upscaler and factor, as they are told apart."""
        return f"{self.upscaler}{'' if self.stochastic else ' (deterministic)'}, x{self.factor}"

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
    stochastic = bool(recipe["recipes"][f"upscale/x{factor}/{upscaler}"]["descriptor"]["stochastic"])
    return Result(upscaler, factor, scores, means, comparisons, samples, lost, sign, stochastic)


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


def table_rows(study: Study, results: list[Result]) -> pd.DataFrame:
    """One row per upscaler, factor, panel and condition."""
    rows = []
    paper = study.paper.scores if study.paper else {}
    for result in results:
        compared = {(c.panel, c.condition): c for c in result.comparisons} if study.kind != "order" else {}
        for panel, group in study.panels.items():
            for name, level in group.conditions.items():
                if name not in result.scores:
                    continue
                comparison = compared.get((panel, name))
                difference = asdict(comparison.difference) if comparison else {}
                rows.append(
                    {
                        "upscaler": result.upscaler,
                        "factor": result.factor,
                        "group": panel,
                        "condition": name,
                        "level": level,
                        **asdict(result.scores[name]),
                        "against": comparison.against if comparison else "",
                        **{f"difference_{key}": value for key, value in difference.items()},
                        "paper": paper.get(name),
                    }
                )
    return pd.DataFrame(rows)


def latex(table: pd.DataFrame, label: str) -> str:
    """Set the scores of `table_rows` as the paper does, mean and standard deviation over images, beside its values."""
    paper = bool(table.paper.notna().any())
    lines = ["% Mean and standard deviation over images. Needs \\usepackage{booktabs}."]
    if paper:
        lines.append(
            "% The paper's values are from another upscaler and other images: orders can be compared, numbers cannot."
        )
    lines += [r"\begin{tabular}{lllc" + ("c" if paper else "") + "}", r"\toprule"]
    lines.append(" & ".join(["", "", "level", latex_text(label), *(["paper"] if paper else [])]) + r" \\")
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        width = 5 if paper else 4
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{{latex_text(upscaler)}, $\times{factor}$}} \\"]
        last = None
        for row in group.to_dict("records"):
            cells = [latex_text(str(row["group"])) if row["group"] != last else "", latex_text(row["condition"])]
            cells += [latex_text(f"{row['level']:g}" if isinstance(row["level"], float) else str(row["level"]))]
            cells += [rf"${row['mean']:.4f} \pm {row['std_images']:.4f}$"]
            cells += ([f"{row['paper']:.3f}" if pd.notna(row["paper"]) else ""]) if paper else []
            lines.append(" & ".join(cells) + r" \\")
            last = row["group"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _interval(difference: Difference) -> str:
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def _verdict(study: Study, comparison: Comparison) -> str:
    """What the interval says beyond "more is lost", which is what is expected."""
    if comparison.shown:
        return ""
    if study.kind == "ranking":
        return " (less)" if comparison.reversed else " (not told apart)"
    return " **(reversed)**" if comparison.reversed else " **(not shown)**"


def markdown(study: Study, results: list[Result], label: str) -> str:
    """The tables of all upscalers and factors."""
    lines: list[str] = []
    paper = study.paper.scores if study.paper else {}
    for result in results:
        lines += ["", f"## {result.title}", ""]
        levelled = any(level != "" for group in study.panels.values() for level in group.conditions.values())
        head = ["", "", *(["level"] if levelled else []), f"{label} [interval]"]
        if study.kind != "order":
            head += ["difference [interval]"]
        head += ["paper (other upscaler and images)"] if paper else []
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        compared = {(c.panel, c.condition): c for c in result.comparisons} if study.kind != "order" else {}
        for panel, group in study.panels.items():
            names = [name for name in group.conditions if name in result.scores]
            if study.kind in ("ranking", "order"):
                names = result.ranked(names)
            for name in names:
                score = result.scores[name]
                cells = [f"{panel} ({group.axis})" if group.axis else panel, name]
                cells += [str(group.conditions[name])] if levelled else []
                cells += [f"{score.mean:.4f} [{score.ci_low:.4f}, {score.ci_high:.4f}]"]
                if study.kind != "order":
                    comparison = compared.get((panel, name))
                    cells += [
                        f"{_interval(comparison.difference)} to {comparison.against}{_verdict(study, comparison)}"
                        if comparison
                        else ""
                    ]
                if paper:
                    cells += [f"{paper[name]:.3f}" if name in paper else ""]
                lines.append("| " + " | ".join(cells) + " |")
        if study.kind == "order":
            lines += ["", f"| loses less | loses more | difference of {label} |", "|---|---|---|"]
            lines += [
                f"| {c.against} | {c.condition} | {_interval(c.difference)}{_verdict(study, c)} |"
                for c in result.comparisons
            ]
    return "\n".join(lines) + "\n"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def paragraph(study: Study, result: Result, label: str) -> str:
    """Say what the numbers of one upscaler and factor show."""
    images = len(next(iter(result.means.values())))
    text = [
        f"**{result.title}** ({images} images of {study.data}, {result.samples} reconstructions, "
        f"{result.lost} of them not finite), by {label}."
    ]
    text += {"ladders": _say_ladders, "threshold": _say_threshold, "order": _say_order, "ranking": _say_ranking}[
        study.kind
    ](study, result)
    paper = study.paper.scores if study.paper else {}
    common = [name for name in paper if name in result.scores]
    if len(common) > 2:
        ours = [result.loss(name) for name in common]
        rho = stats.spearmanr(ours, [paper[name] for name in common]).statistic
        text.append(f"Spearman's rho with the {len(common)} values of the paper that are at hand: {rho:.2f}.")
    return " ".join(text)


def _claim(study: Study, holds: bool) -> str:
    return f"The paper's claim ({study.claim}) **{'holds' if holds else 'does not hold in full'}** here."


def _say_ladders(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    held = len(result.comparisons) - len(failed)
    text = [f"{held} of {len(result.comparisons)} rungs lose more than the one before, by intervals that exclude zero."]
    text += [
        f"{c.condition} does not against {c.against} ({_interval(c.difference)}{', reversed' if c.reversed else ''})."
        for c in failed
    ]
    rho = ladder_correlations(study, result)
    broken = [name for name, (of_means, _) in rho.items() if of_means < 1]
    if broken:
        text.append(f"The means do not rise all the way in {_listed(broken)}.")
    else:
        text.append(f"The means rise all the way in each of the {len(rho)} ladders (Spearman's rho 1).")
    least = min(rho, key=lambda name: rho[name][1])
    text.append(f"Image by image, the mean rho is lowest for {least}: {rho[least][1]:.3f}.")
    lowest = result.ranked()[0]
    first = next(iter(next(iter(study.panels.values())).conditions))
    text.append(f"{'No degradation' if lowest == first else f'**{lowest}**, not {first},'} loses least.")
    holds = not failed and not broken and lowest == first
    text.append(_claim(study, holds))
    return text


def _say_threshold(study: Study, result: Result) -> list[str]:
    text = []
    for name, panel in study.panels.items():
        mine = [c for c in result.comparisons if c.panel == name]
        # The first rung from which on all are seen.
        seen = len(mine)
        while seen and mine[seen - 1].shown:
            seen -= 1
        levels = [panel.conditions[c.condition] for c in mine]
        if seen == len(mine):
            text.append(f"{name}: not seen even at {levels[-1]}.")
            continue
        before = f", not at {levels[seen - 1]}" if seen else ""
        text.append(f"{name}: seen from {levels[seen]} on{before} ({_interval(mine[seen].difference)}).")
    better = [c.condition for c in result.comparisons if c.reversed]
    if better:
        text.append(f"**Lower than with no degradation**, by an interval that excludes zero: {_listed(better)}.")
    if study.claim:
        text.append(_claim(study, not better and not any("not seen even" in line for line in text)))
    return text


def _say_order(study: Study, result: Result) -> list[str]:
    failed = [c for c in result.comparisons if not c.shown]
    order = result.ranked()
    text = [f"From least to most lost: {' < '.join(order)}."]
    text.append(f"{len(result.comparisons) - len(failed)} of {len(result.comparisons)} comparisons of the claim hold.")
    text += [f"{c.condition} is not shown to lose more than {c.against} ({_interval(c.difference)})." for c in failed]
    text.append(_claim(study, not failed))
    return text


def _say_ranking(study: Study, result: Result) -> list[str]:
    order = result.ranked([name for panel in study.panels.values() for name in panel.conditions])
    best, worst = order[0], order[-1]
    text = [
        f"Least is lost by {best} ({result.scores[best].mean:.4f}), most by {worst} ({result.scores[worst].mean:.4f})."
    ]
    if study.baseline in result.scores:
        groups = {
            "lose less than": [c.condition for c in result.comparisons if c.reversed],
            "lose more than": [c.condition for c in result.comparisons if c.shown],
            "cannot be told from": [c.condition for c in result.comparisons if not c.shown and not c.reversed],
        }
        text += [
            f"{len(names)} {verb} {study.baseline}: {_listed(sorted(names, key=order.index))}."
            for verb, names in groups.items()
            if names
        ]
    if study.claim:
        text.append(_claim(study, all(c.shown for c in result.comparisons)))
    return text


def agreement(results: list[Result]) -> list[str]:
    """How alike the upscalers of one factor rank the conditions, and how far apart they put them."""
    lines = []
    for i, one in enumerate(results):
        for other in results[i + 1 :]:
            names = [name for name in one.scores if name in other.scores]
            if one.factor != other.factor or len(names) < 3:
                continue
            tau = stats.kendalltau([one.loss(n) for n in names], [other.loss(n) for n in names]).statistic
            spreads = [np.ptp([result.loss(n) for n in names]) for result in (one, other)]
            lines.append(
                f"{one.title} and {other.title}: Kendall's tau between their rankings {tau:.2f}; from the lowest to the"
                f" highest score {spreads[0]:.4f} and {spreads[1]:.4f}."
            )
    return lines


def draw(study: Study, results: list[Result], label: str) -> Figure:
    """Ladders as curves, a panel each; otherwise points, a row a condition and a colour a group."""
    with matplotlib.rc_context(STYLE):
        if study.kind in ("ladders", "threshold"):
            return _curves(study, results, label)
        return _points(study, results, label)


def _curves(study: Study, results: list[Result], label: str) -> Figure:
    columns = min(3, len(study.panels))
    rows = -(-len(study.panels) // columns)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.2 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis, (name, panel) in zip(axes, study.panels.items(), strict=False):
        for i, result in enumerate(results):
            rungs = [c for c in panel.conditions if c in result.scores]
            _errorbars(axis, np.arange(len(rungs)), [result.scores[c] for c in rungs], i, result, line="-")
        axis.set_xticks(
            range(len(panel.conditions)),
            [f"{level:g}" if isinstance(level, float) else str(level) for level in panel.conditions.values()],
        )
        if len(panel.conditions) > 5:
            axis.tick_params(axis="x", labelsize=7, rotation=45)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(panel.axis, fontsize=8)
        axis.grid(axis="y", color="0.9", linewidth=0.7)
        axis.set_axisbelow(True)
    for axis in axes[len(study.panels) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel(label)
    _legend(figure, axes[0], results, study)
    return figure


def _errorbars(axis: Axes, at: Any, scores: list[Score], i: int, result: Result, *, line: str) -> None:
    mean = np.array([score.mean for score in scores])
    error = np.array([[s.mean - s.ci_low for s in scores], [s.ci_high - s.mean for s in scores]]).clip(0)
    axis.errorbar(
        at,
        mean,
        yerr=error,
        fmt=MARKERS[i % len(MARKERS)] + line,
        color=COLOURS[i % len(COLOURS)],
        markersize=4,
        capsize=2,
        linewidth=1.1,
        label=result.title,
    )


def _legend(figure: Figure, axis: Axes, results: list[Result], study: Study) -> None:
    if len(results) > 1:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    else:
        title = f"{study.title}\n{study.data}, {results[0].title}"
        figure.suptitle(title, fontsize=10)


def _points(study: Study, results: list[Result], label: str) -> Figure:
    panel_of = {name: panel for panel, group in study.panels.items() for name in group.conditions}
    panels = list(study.panels)
    count = max(len(result.scores) for result in results)
    figure = Figure(figsize=(1.6 + 3.4 * len(results), 1.3 + 0.2 * count), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, result in zip(axes, results, strict=True):
        names = result.ranked(list(panel_of))
        for i, name in enumerate(names):
            score, group = result.scores[name], panels.index(panel_of[name])
            error = np.array([[score.mean - score.ci_low], [score.ci_high - score.mean]]).clip(0)
            axis.errorbar(
                score.mean,
                i,
                xerr=error,
                fmt=MARKERS[group % len(MARKERS)],
                color=COLOURS[group % len(COLOURS)],
                markersize=4,
                capsize=2,
                linewidth=1.1,
                label=panels[group],
            )
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(label)
        axis.set_title(result.title, fontsize=9)
        axis.grid(axis="both", color="0.92", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    if len(panels) > 1:
        shown = {name: handles[name] for name in panels if name in handles}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"{study.title}\n{study.data}", fontsize=10)
    return figure


def page(
    study: Study, results: list[Result], skipped: dict[str, str], descriptor: dict[str, Any], confidence: float
) -> str:
    """The whole text of ``study.md``."""
    label = descriptor["label"]
    lines = [f"# {study.title}", ""]
    if study.claim:
        lines += [f"The paper's claim: {study.claim}.", ""]
    lines += [paragraph(study, result, label) + "\n" for result in results]
    lines += [f"{line}\n" for line in agreement(results)]
    lines += ["![scores](scores.png)"]
    lines += [
        "",
        f"Score: mean {label} over images of the mean over samples ({descriptor['better']} is better); in",
        f"brackets {confidence:.0%} bootstrap intervals over images. Differences are paired by image; positive ones",
        "mean that more is lost.",
    ]
    if study.paper:
        lines += ["", f"Paper: {study.paper.source}. {study.paper.note}".rstrip()]
    lines += [f"\n{note}" for note in study.notes]
    lines += [f"\n**Skipped: {name}**, because {reason}." for name, reason in skipped.items()]
    return "\n".join(lines) + "\n" + markdown(study, results, label)


def metrics(study: Study, results: list[Result]) -> dict[str, Any]:
    """Scalars, for ``dvc metrics``."""
    found: dict[str, Any] = {}
    for result in results:
        entry: dict[str, Any] = {
            "comparisons": len(result.comparisons),
            "shown": sum(c.shown for c in result.comparisons),
            "reversed": sum(c.reversed for c in result.comparisons),
            "samples": result.samples,
            "not_finite": result.lost,
            "scores": {name: score.mean for name, score in result.scores.items()},
        }
        if study.kind == "ladders":
            rho = ladder_correlations(study, result)
            entry["spearman_means"] = {name.replace(".", "_"): value for name, (value, _) in rho.items()}
            entry["spearman_images"] = {name.replace(".", "_"): value for name, (_, value) in rho.items()}
        found.setdefault(result.upscaler, {})[f"x{result.factor}"] = entry
    return found


def main() -> None:
    study = validate(Study, read_yaml("study.yaml", hint="run this in the folder of an experiment"), where="study.yaml")
    recipe = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    branches = {(branch["upscaler"], branch["factor"]) for branch in recipe["branches"]}
    known = {branch["downscaler"] for branch in recipe["branches"]} | recipe["skipped"].keys()
    for name, panel in study.panels.items():
        if odd := [c for c in panel.conditions if c not in known]:
            raise UserError(f"study.yaml: panels.{name}: params.yaml has no downscaler {', '.join(odd)}")
    results = [judge(study, recipe, Path("data/distortion"), *key) for key in sorted(branches)]
    descriptor = recipe["distortions"][recipe["distortion_order"][0]]
    with atomic_folder(Path("results") / study.data) as folder:
        table = table_rows(study, results)
        write_table(folder / "table.csv", table)
        write_text(folder / "study.tex", latex(table, descriptor["label"]))
        text = page(study, results, recipe["skipped"], descriptor, recipe["confidence"])
        write_text(folder / "study.md", text)
        save(draw(study, results, descriptor["label"]), folder / "scores")
        write_json(folder / "study.json", metrics(study, results))
    print("\n\n".join(paragraph(study, result, descriptor["label"]) for result in results))


if __name__ == "__main__":
    exit_with_line(main)

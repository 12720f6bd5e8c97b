"""What the measures say of a score: verdicts, the table, its figure, and which upscaler and distortion to use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from measured import Measured

from ida_rd.core.typeset import interval, latex_tabular, latex_text, markdown_table, number
from ida_rd.report.style import STYLE, write_below

PASS, OPEN, FAIL = "pass", "open", "fail"
OWN = "own features, not counted"
UNDEFINED = "not defined"
COUNTS = {PASS: "passes", OPEN: "stays_open", FAIL: "fails"}  # columns: a verdict is no name in Python
COLOURS = {PASS: "#56B4E9", OPEN: "#F0F0F0", FAIL: "#E69F00", OWN: "#FFFFFF", UNDEFINED: "#FFFFFF"}
SCORE = ["upscaler", "factor", "distortion"]
# What each measure asks, by its criterion.
ASKED = {
    "switch": "f(X) is nearer to X than to another image X': share of pairs",
    "switch-auc": "the loss alone tells X from X', whatever the photograph: area under the ROC curve",
    "empty": "every real downscaler loses less than every empty LR image: share of photographs",
    "tau": "downscalers keep their ranks, mirrored, shifted, cut elsewhere or at another size: Kendall's tau",
    "change": "scores stay as they are: root mean square change, in half-widths of their intervals",
    "ladder": "each step of a ladder loses more: share of photographs and steps",
    "task": "a task that nobody tuned ranks downscalers alike: Kendall's tau",
}


def verdict(
    found: Measured, at_least: float | None = None, at_most: float | None = None, chance: float | None = None
) -> str:
    """Pass, fail or open.

    Pass: the value meets the criterion, and its interval lies beyond chance; where nothing is said of chance, all of
    the interval meets the criterion. Fail: all of the interval misses it. Open: anything else, and whatever has no
    interval. Not defined: there is no value.
    """
    if math.isnan(found.value):
        return UNDEFINED
    if found.low is None or found.high is None:
        return OPEN
    if at_least is not None:
        beyond = found.low >= at_least if chance is None else found.low > chance
        if found.value >= at_least and beyond:
            return PASS
        return FAIL if found.high < at_least else OPEN
    assert at_most is not None
    beyond = found.high <= at_most if chance is None else found.high < chance
    if found.value <= at_most and beyond:
        return PASS
    return FAIL if found.low > at_most else OPEN


def counts_of(table: pd.DataFrame) -> pd.DataFrame:
    """How many measures each score passes, leaves open and fails: best first."""
    counts = table.groupby([*SCORE, "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(COUNTS), fill_value=0).rename(columns=COUNTS).reset_index()
    return counts.sort_values(["fails", "stays_open"], kind="stable", ignore_index=True)


def shared_by_all(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the measures that are counted of every score; all that are counted, where there is no such measure.

    A score that a measure was not taken of, or is not counted for, cannot fail it: by these alone scores are compared.
    """
    taken = table[table.verdict.isin(COUNTS)]
    common = taken[taken.measure.map(taken.measure.value_counts()) == len(taken.groupby(SCORE))]
    return common if len(common) else taken


def leaders(counts: pd.DataFrame) -> pd.DataFrame:
    """The scores that fail least and, of these, leave least open: several, where they do not differ."""
    first = counts.iloc[0]
    return counts[(counts.fails == first.fails) & (counts.stays_open == first.stays_open)]


def name_of(row: Any) -> str:
    """A score as text."""
    return f"{row.distortion} by {row.upscaler}, x{row.factor}"


def best_of(table: pd.DataFrame) -> dict[str, Any]:
    """For programs: what to use, and the verdicts of every score."""
    counts = counts_of(table)
    return {
        "use": [name_of(row) for row in leaders(counts_of(shared_by_all(table))).itertuples()],
        "scores": {
            name_of(row): {kind: int(getattr(row, column)) for kind, column in COUNTS.items()}
            for row in counts.itertuples()
        },
    }


def _cell(row: Any, *, places: int = 2) -> str:
    return interval(row.value, row.low, row.high, places=places)


def said(table: pd.DataFrame) -> list[str]:
    """Sentences: what to use, and what fails."""
    compared = shared_by_all(table)
    counts = counts_of(compared)
    best = leaders(counts)
    first = best.iloc[0]
    lines = [
        f"**Use {' or '.join(name_of(row) for row in best.itertuples())}**: fail {first.fails}, open"
        f" {first.stays_open}, pass {' or '.join(dict.fromkeys(map(str, best.passes)))}. The rule: fewest fail, then"
        f" fewest are open, of {compared.measure.nunique()} measures that all scores have."
    ]
    others = counts[(counts.fails == first.fails) & ~counts.index.isin(best.index)]
    if len(others):
        names = "; ".join(f"{name_of(row)}, {row.stays_open} open" for row in others.itertuples())
        lines.append(f"As few fail for {names}: more photographs would tell.")
    for measure, rows in table[table.verdict == FAIL].groupby("measure", sort=False):
        failed = "; ".join(
            f"{name_of(row)}, {_cell(row)}" + (f" ({row.detail})" if row.detail else "") for row in rows.itertuples()
        )
        lines.append(f"*{measure}* fails for {failed}.")
    for (measure, why), rows in table[table.verdict == UNDEFINED].groupby(["measure", "detail"], sort=False):
        lines.append(f"*{measure}* is not defined for {'; '.join(name_of(row) for row in rows.itertuples())}: {why}.")
    if not (table.verdict == FAIL).any():
        lines.append("No measure fails for any score.")
    everywhere = [m for m, rows in table.groupby("measure", sort=False) if (rows.verdict == PASS).all()]
    if everywhere:
        lines.append(f"All scores pass {', '.join(map(str, everywhere))}.")
    return lines


def _criterion(one: Mapping[str, Any]) -> str:
    least = one["at_least"] is not None
    limit = f"{'at least' if least else 'at most'} {one['at_least'] if least else one['at_most']:g}"
    return limit + (f"; interval beyond {one['chance']:.2g}" if one["chance"] is not None else "")


def text(
    table: pd.DataFrame, criteria: Mapping[str, Any], label: str, missing: Mapping[str, str], plan: Mapping[str, Any]
) -> str:
    """The page: what to use, the scores, the criteria, and every value."""
    lines = [
        "# Which score satisfies what",
        "",
        f"{label}. Intervals of {plan['confidence']:.0%} over photographs.",
        "",
    ]
    lines += [f"* {line}" for line in said(table)]
    lines += [f"* Left out: {task}: {why}." for task, why in missing.items()]
    if (table.verdict == OWN).any():
        lines.append(
            "* LPIPS with AlexNet is made of the features of the task *features*: what it says of that is shown, and"
            " not counted."
        )
    counts = counts_of(table)
    rows = [[name_of(row), *(str(getattr(row, one)) for one in COUNTS.values())] for row in counts.itertuples()]
    lines += ["", *markdown_table(["score", *COUNTS], rows), "", "![verdicts](meta-measures.png)", ""]
    used = list(dict.fromkeys(table.criterion))
    rows = [[", ".join(_measures(table, key)), ASKED[key], _criterion(criteria[key])] for key in used]
    lines += [*markdown_table(["measure", "what it asks", "criterion"], rows), ""]
    lines += [
        "*pass*: the value meets the criterion, and its interval lies beyond what chance would give (all of it meets"
        " the criterion, where nothing is said of chance); *fail*: all of the interval misses the criterion; *open*:"
        " these photographs do not tell.",
        "",
    ]
    for (upscaler, factor), part in table.groupby(["upscaler", "factor"], sort=False):
        distortions = list(dict.fromkeys(part.distortion))
        rows = []
        for measure, group in part.groupby("measure", sort=False):
            cells = {
                row.distortion: UNDEFINED if row.verdict == UNDEFINED else f"{_cell(row)} {row.verdict}"
                for row in group.itertuples()
            }
            people = sorted(set(group.photographs))
            many = str(people[0]) if len(people) == 1 else f"{people[0]} to {people[-1]}"
            rows.append([str(measure), many, *(cells.get(name, "") for name in distortions)])
        lines += [f"## {upscaler}, x{factor}", "", *markdown_table(["measure", "photographs", *distortions], rows), ""]
    return "\n".join(lines)


def _measures(table: pd.DataFrame, criterion: str) -> list[str]:
    return list(dict.fromkeys(table[table.criterion == criterion].measure))


def latex(table: pd.DataFrame, label: str) -> str:
    """Every value; what passes in bold, what fails in italics."""
    measures = list(dict.fromkeys(table.measure))
    scores = list(table.groupby(SCORE, sort=False))
    blocks = [[_latex_row(measure, [part for _, part in scores]) for measure in measures]]
    head = ["", *(latex_text(f"{d}, {u}") for (u, _, d), _ in scores)]
    note = [label, "bold: pass; italics: fail; the rest is open. Needs \\usepackage{booktabs}."]
    return latex_tabular("l" + "c" * len(scores), head, blocks, note=note)


def _latex_row(measure: str, parts: list[pd.DataFrame]) -> list[str]:
    cells = [latex_text(measure)]
    for part in parts:
        rows = part[part.measure == measure]
        if not len(rows) or rows.iloc[0].verdict == UNDEFINED:
            cells.append("")
            continue
        row = rows.iloc[0]
        value = number(row.value, 2)
        cells.append({PASS: rf"\textbf{{{value}}}", FAIL: rf"\textit{{{value}}}"}.get(row.verdict, value))
    return cells


def draw(table: pd.DataFrame, note: str) -> Figure:
    """A matrix: scores by measures, coloured by verdict, with value and interval."""
    measures = list(dict.fromkeys(table.measure))
    order = {(row.upscaler, row.factor, row.distortion): i for i, row in enumerate(counts_of(table).itertuples())}
    names = [f"{distortion}\n{upscaler}, x{factor}" for upscaler, factor, distortion in order]
    colours = np.ones((len(order), len(measures), 3))
    with matplotlib.rc_context(STYLE):
        size = (1.6 + 0.72 * len(measures), 1.9 + 0.42 * len(order))
        figure = Figure(figsize=size, layout="constrained")
        axis = figure.subplots()
        for row in table.itertuples():
            at = order[row.upscaler, row.factor, row.distortion], measures.index(row.measure)
            colours[at] = matplotlib.colors.to_rgb(COLOURS[row.verdict])
            value = "" if row.verdict == UNDEFINED else f"{row.value:.2f}"
            axis.text(at[1], at[0] - 0.12, value, ha="center", va="center", fontsize=8)
            if row.low is not None and not np.isnan(row.low):
                ends = f"{row.low:.2f} to {row.high:.2f}"
                axis.text(at[1], at[0] + 0.24, ends, ha="center", va="center", fontsize=5.5, color="0.25")
        axis.imshow(colours, aspect="auto")
        axis.set_xticks(range(len(measures)), measures, rotation=40, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.set_xticks(np.arange(len(measures) + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=2)
        axis.tick_params(which="both", length=0)
        axis.spines[:].set_visible(False)
        shown = [*COUNTS, *sorted({OWN, UNDEFINED} & set(table.verdict))]
        handles = [Patch(facecolor=COLOURS[kind], edgecolor="0.7", label=kind) for kind in shown]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
        write_below(figure, note)
        return figure

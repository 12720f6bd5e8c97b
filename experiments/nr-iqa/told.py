"""The tables and the figure of ``nr-iqa``, and what they say: every number in them is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ida_rd.core.typeset import counted, interval, latex_tabular, latex_text, markdown_table
from ida_rd.report.figures import COLOURS, MARKERS, STYLE
from ida_rd.report.style import write_below

PRINTED = 0.0005  # half a unit of the third decimal, to which the paper prints
SINGLE = 192  # pixels a side of the smallest square that holds more than one patch of NIQE's


@dataclass(frozen=True)
class Facts:
    """All that is told; `table` has one row per measure, size and downscaler, `fewer` one per pair and size."""

    data: str
    side: int
    images: int
    photographs: int
    confidence: float
    sizes: list[int]
    blurs: dict[str, float]
    labels: dict[str, str]
    better: dict[str, str]
    missing: dict[str, str]
    paper: dict[str, dict[int, list[float]]]
    table: pd.DataFrame
    fewer: pd.DataFrame
    constants: dict[str, Any]
    toolbox_bias: float
    bias: dict[str, float]

    def cells(self, measure: str) -> pd.DataFrame:
        """Rows of a measure, by size and downscaler."""
        return self.table[self.table.measure == measure].set_index(["size", "downscaler"])


def findings(facts: Facts) -> list[str]:
    """What the run and the paper's cells show, a sentence or two each."""
    return [*_niqe(facts), *_patches(facts), *_sizes(facts), *_brisque(facts), *_orders(facts)]


def _niqe(facts: Facts) -> list[str]:
    found: list[str] = []
    told_of: list[list[int]] = []
    for name in (name for name in facts.labels if facts.labels[name].startswith("NIQE")):
        cells = facts.cells(name).groupby("size").images.max()
        without = [size for size in facts.sizes if not cells[size]]
        if without and without not in told_of:
            told_of.append(without)
            reason = facts.cells(name).loc[without[0]].reason.iloc[0]
            found.append(f"{facts.labels[name]} is not defined at {_listed(without)} pixels ({reason}).")
    printed = facts.paper.get("niqe", {})
    small = [value for size, values in printed.items() if size < SINGLE for value in values]
    large = [value for size, values in printed.items() if size >= SINGLE for value in values]
    if small and large:
        found.append(
            f"Table 12 prints {min(small):.3f} to {max(small):.3f} in all {len(small)} cells below {SINGLE} pixels,"
            f" whatever the size and the blur, and {min(large):.3f} to {max(large):.3f} in the {len(large)} others."
        )
    models = facts.constants["by_model"]
    told = ", ".join(f"{value:.3f} by the model {name!r}" for name, value in models.items())
    found.append(
        f"With a single patch the released program's score is a constant of its model, not of the image: {told}."
    )
    if facts.constants["ours"]:
        low, high = facts.constants["ours"]
        found.append(
            f"By that program's rule and our model, our {facts.constants['cells']} LR images of one patch score"
            f" {low:.3f} to {high:.3f}."
        )
    if small:
        near = {name: value for name, value in models.items() if abs(value - np.mean(small)) < 0.05}
        found += [f"The model {name!r}, of constant {value:.3f}, is the paper's." for name, value in near.items()]
    return found


def _patches(facts: Facts) -> list[str]:
    found = []
    for row in facts.fewer.to_dict("records"):
        ends = (
            ""
            if row["ci_low"] is None or np.isnan(row["ci_low"])
            else f" [{row['ci_low']:+.2f}, {row['ci_high']:+.2f}]"
        )
        found.append(
            f"By {row['patches_fewer']:.0f} patches in the place of {row['patches']:.0f} the same LR images of"
            f" {row['size']} pixels score {row['difference']:+.2f}{ends} on {facts.labels[row['measure']]}: so much is"
            " due to the number of patches alone."
        )
    return found


def _sizes(facts: Facts) -> list[str]:
    """How far a measure moves between two sizes of the same photographs, by all patches and by as many at both."""
    found = []
    first = next(iter(facts.blurs))
    for pair in facts.fewer.drop_duplicates("measure").to_dict("records") if len(facts.fewer) else []:
        both = [facts.cells(pair[key])["mean"].xs(first, level="downscaler").dropna() for key in ("measure", "fewer")]
        sizes = [size for size in facts.sizes if all(size in means.index for means in both)]
        if len(sizes) > 1:
            moved = [float(means[sizes[-1]] - means[sizes[0]]) for means in both]
            found.append(
                f"From {sizes[0]} to {sizes[-1]} pixels the same photographs move by {moved[0]:+.2f} on"
                f" {facts.labels[pair['measure']]}, and {moved[1]:+.2f} by {pair['patches_fewer']:.0f} patches of each."
            )
    return found


def _brisque(facts: Facts) -> list[str]:
    found = []
    printed = facts.paper.get("brisque", {})
    for size, values in printed.items():
        if count := sum(abs(value - facts.toolbox_bias) < PRINTED for value in values):
            found.append(
                f"At {size} pixels {count} of the {len(values)} BRISQUE cells of Table 12 are {facts.toolbox_bias:.3f}:"
                " the bias of MATLAB's support vector machine, which is its score far from all its vectors."
            )
    for name, bias in facts.bias.items():
        kernel = facts.cells(name).groupby("size").least_kernel.min()
        by_size = ", ".join(f"{kernel[size]:.2f} at {size}" for size in facts.sizes)
        found.append(
            f"The released machine's bias is {bias:.3f}; the least kernel value of our LR images is {by_size} pixels."
        )
    return found


def _orders(facts: Facts) -> list[str]:
    """Does each measure call more blur worse, at which sizes?"""
    found = []
    names = sorted(facts.blurs, key=lambda name: facts.blurs[name])
    for measure, label in facts.labels.items():
        cells = facts.cells(measure)["mean"]
        sign = 1 if facts.better[measure] == "lower" else -1
        sizes = [size for size in facts.sizes if size in cells.index and cells[size].reindex(names).notna().all()]
        if not sizes:
            continue
        rises = [size for size in sizes if (np.diff(sign * cells[size].reindex(names).to_numpy(float)) > 0).all()]
        where = _listed(sizes) if rises == sizes else f"{_listed(rises) if rises else 'none'} of {_listed(sizes)}"
        found.append(f"{label} calls each stronger blur worse, by its means, at {where} pixels.")
    return found


def _listed(sizes: list[int]) -> str:
    texts = [str(size) for size in sizes]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _blurs(facts: Facts) -> list[str]:
    return ["no blur" if not blur else f"blur {blur:g}" for blur in facts.blurs.values()]


def _cells(facts: Facts, measure: str, size: int) -> tuple[list[str], list[str]]:
    """Our cells and the paper's of one row."""
    cells = facts.cells(measure) if measure in facts.labels else None
    ours, theirs = [], []
    printed = facts.paper.get(measure, {}).get(size, [])
    for i, name in enumerate(facts.blurs):
        row = None if cells is None or (size, name) not in cells.index else cells.loc[(size, name)]
        if row is None or np.isnan(row["mean"]):
            ours.append("-")
        else:
            ours.append(interval(row["mean"], row.ci_low, row.ci_high) + ("*" if row.marked else ""))
        theirs.append(f"{printed[i]:.3f}" if i < len(printed) else "-")
    return ours, theirs


def _basis(facts: Facts, measure: str, size: int) -> str:
    """What the cells of a row rest on."""
    if measure not in facts.labels or size not in facts.cells(measure).index:
        return "-"
    rows = facts.cells(measure).loc[size]
    if rows.least_patches.notna().any():
        return f"{rows.least_patches.min():.0f} patches"
    if rows.least_kernel.notna().any():
        return f"kernel from {rows.least_kernel.min():.2f}"
    return "-"


def _notes(facts: Facts, measure: str) -> list[str]:
    """Reasons of the dashes, and what the mark says."""
    if measure in facts.missing:
        return [f"Not measured: {facts.missing[measure]}."]
    if measure not in facts.labels:
        return ["Not measured here: docs/quality.md says why."]
    cells = facts.cells(measure)
    found = []
    for size in facts.sizes:
        if size not in cells.index:
            found.append(f"-: {size} pixels: this run scored nothing at x{facts.side / size:g}.")
            continue
        rows = cells.loc[size]
        if (reasons := rows[rows.undefined > 0]).size:
            left = "" if not reasons.images.sum() else f"{int(reasons.undefined.max())} images are left out: "
            found.append(f"-: {size} pixels: {left}{reasons.reason.iloc[0]}.")
    if cells.marked.any():
        found.append("*: some of these scores are marked: few patches, or far from what the machine was trained on.")
    return found


def _order(facts: Facts) -> list[str]:
    """Measures in the order of the tables: ours, what is missing, the score, and what only the paper has."""
    ours = [name for name in facts.labels if name != "ida-rd"]
    return list(dict.fromkeys([*ours, *facts.missing, "ida-rd", *facts.paper]))


def _title(facts: Facts, measure: str) -> str:
    if measure not in facts.labels:
        return f"{measure.upper()} (Table 12 alone)"
    return f"{facts.labels[measure]}, {facts.better[measure]} is better"


def page(facts: Facts) -> str:
    """The Markdown page."""
    count = counted(facts.photographs, facts.images)
    lines = [f"# Measures of one image: {facts.data}", ""]
    about = f"LR images of {count}, from HR images of {facts.side} pixels; means over photographs"
    about += f" with Student's {facts.confidence:.0%} intervals. The paper's cells are of other images."
    lines += [about, ""]
    lines += [" ".join(findings(facts)), ""]
    for measure in _order(facts):
        paper = measure in facts.paper
        measured = measure in facts.labels
        head = ["LR", *(["rests on", *_blurs(facts)] if measured else [])]
        head += [f"Table 12: {blur}" for blur in _blurs(facts) if paper]
        sizes = facts.sizes if measured else sorted(facts.paper.get(measure, {}), reverse=True)
        rows = []
        for size in sizes:
            ours, theirs = _cells(facts, measure, size)
            own = [_basis(facts, measure, size), *ours] if measured else []
            rows.append([str(size), *own, *(theirs if paper else [])])
        lines += [f"## {_title(facts, measure)}", "", *markdown_table(head, rows), ""]
        lines += [f"{note}\n" for note in _notes(facts, measure)]
    return "\n".join([*lines, "![each measure by the size of the LR image](nr-iqa.png)"]) + "\n"


def latex(facts: Facts) -> str:
    """One tabular, a block per measure; the paper's cells in a column of their own."""
    blocks = []
    for measure in _order(facts):
        rows = []
        for size in facts.sizes:
            ours, theirs = _cells(facts, measure, size)
            pairs = [cell for pair in zip(ours, theirs, strict=True) for cell in pair]
            rows.append([latex_text(facts.labels.get(measure, measure.upper())), str(size), *map(latex_text, pairs)])
        blocks.append(rows)
    head = ["measure", "LR", *(cell for blur in _blurs(facts) for cell in (latex_text(blur), "Table 12"))]
    note = [f"{facts.data}: {counted(facts.photographs, facts.images)}", *findings(facts)]
    return latex_tabular("lr" + "rr" * len(facts.blurs), head, blocks, note=note)


def draw(facts: Facts) -> Figure:
    """A panel per measure: its value by the side of the LR image, a line per blur; the paper's hollow, dashed."""
    shown = [name for name in _order(facts) if name in facts.labels or name in facts.missing]
    ticks = sorted({*facts.sizes, *(size for name in shown for size in facts.paper.get(name, {}))})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * len(shown) + 0.4, 3.3), layout="constrained")
        for axis, measure in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for i, (name, blur) in enumerate(zip(facts.blurs, _blurs(facts), strict=True)):
                look: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 4, "linewidth": 1}
                if measure in facts.labels:
                    cells = facts.cells(measure)["mean"].unstack("downscaler")
                    axis.plot(cells.index, cells[name], label=blur, **look)
                printed = {size: values[i] for size, values in facts.paper.get(measure, {}).items() if i < len(values)}
                if printed:
                    places = sorted(printed)
                    axis.plot(places, [printed[x] for x in places], "--", markerfacecolor="none", alpha=0.6, **look)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_locator(FixedLocator(ticks))
            axis.set_xlim(0.8 * ticks[0], 1.25 * ticks[-1])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xticklabels([str(tick) for tick in ticks], fontsize=7)
            axis.set_xlabel("side of the LR image, pixels", fontsize=8)
            title = facts.labels.get(measure, f"{measure.upper()} (not measured)")
            axis.set_title(title.replace(" (", "\n("), fontsize=8)
            axis.grid(axis="y", color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        first = figure.axes[0].get_legend_handles_labels()
        figure.legend(*first, loc="outside upper center", ncols=len(facts.blurs), frameon=False, fontsize=8)
        write_below(
            figure,
            f"{facts.data}: {counted(facts.photographs, facts.images)}; dashed and hollow: Table 12, of other images",
            "where a line ends, the measure is not defined, or no upscaler is for that factor",
        )
        return figure

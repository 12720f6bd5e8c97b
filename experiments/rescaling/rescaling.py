"""Rescaling with a decoder of one's own: the source's Figure 2 and Table 1 on our data.

Sigma sweeps give curves of perception (LPIPS) against distortion (PSNR of Y), with intervals over photographs; beside
them stand bicubic LR images read by blind decoders. The laws of an adjustable decoder are judged by paired differences.
Reads this run, and those in the folders that ``rescaling.yaml`` names as far as they were made; writes
``results/<data>``.

Pan, Learning adjustable image rescaling with joint optimization of perception and distortion, ICASSP 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from dial import Dial, Mean, Run, dial_of, opened  # type: ignore[import-not-found]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from ida_rd.aggregate.statistics import paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.tables import marked_name, write_table
from ida_rd.core.typeset import counted, interval, markdown_table, number, p_value
from ida_rd.report.figures import save
from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below
from ida_rd.study.record import write_record

SHOWN = ("lpips", "psnr", "ssim")  # columns, as in the paper's table
NAMES = {"lpips": "LPIPS", "psnr": "PSNR", "ssim": "SSIM"}
LABELS = {"lpips": "LPIPS", "psnr": "PSNR (Y), dB", "ssim": "SSIM (Y)"}


class Measures(Parameters):
    """Names of distortions in ``params.yaml``."""

    psnr: str
    ssim: str
    lpips: str


class Curve(Parameters):
    """A sweep of sigma."""

    run: str
    downscaler: str
    upscalers: list[str] = Field(min_length=2)


class Row(Parameters):
    """A branch."""

    run: str
    downscaler: str
    upscaler: str


class Source(Parameters):
    """LR images: a downscaler of a run."""

    run: str
    downscaler: str


class Read(Parameters):
    """Whose LR images are read by whom."""

    run: str
    downscaler: str
    blind: str
    own: list[str]
    baseline: Source


class Beside(Parameters):
    """Which of our numbers stands beside a published row."""

    curve: str
    sigma: float


class Paper(Parameters):
    """LPIPS, PSNR and SSIM by row and data set."""

    source: str
    rows: dict[str, dict[str, tuple[float, float, float]]]
    beside: dict[str, Beside] = Field(default_factory=dict)


class Comparison(Parameters):
    """``rescaling.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    factor: int
    measures: Measures
    curves: dict[str, Curve] = Field(min_length=1)
    points_compared: tuple[str, str] | None = None
    alone: str | None = None
    rows: dict[str, Row] = Field(default_factory=dict)
    baseline: str
    ahead: float
    read: Read | None = None
    paper: Paper | None = None


def runs_of(compared: Comparison) -> dict[str, Run]:
    """The runs that were made, by folder; this one must be among them, and all are of the same images."""
    wanted = [one.run for one in compared.curves.values()] + [one.run for one in compared.rows.values()]
    wanted += [compared.read.run, compared.read.baseline.run] if compared.read else []
    folders = dict.fromkeys([".", *wanted])
    runs = {folder: run for folder in folders if (run := opened(folder)) is not None}
    if "." not in runs:
        raise UserError("metrics/tables/images.csv does not exist: run `dvc repro aggregate` here first")
    for folder, run in runs.items():
        if set(run.photographs) != set(runs["."].photographs):
            raise UserError(
                f"{folder}: is of other images than the run here: give both the same, and `dvc repro` there"
            )
    return runs


def _differs(run: Run, less: pd.Series, more: pd.Series) -> dict[str, Any]:
    return asdict(paired_difference(less, more, run.photographs, **run.statistics()))


def laws(compared: Comparison, dials: dict[str, Dial], rows: dict[str, dict[str, pd.Series]]) -> list[dict[str, Any]]:
    """What must hold of the subject, the first curve, and of what it is compared with: one record per law."""
    subject = next(iter(dials.values()))
    ends = (subject.sigmas[0], subject.sigmas[-1])
    found = []
    for measure in ("psnr", "lpips"):
        for law, holds in (("falls", subject.falls(measure)), ("is monotone", subject.monotone(measure))):
            text = f"{NAMES[measure]} {law} from sigma {ends[0]:g} to {ends[1]:g}"
            change = asdict(subject.change(measure, *ends))
            found.append({"law": text, "of": subject.name, "holds": holds, "change": change})
    if compared.baseline in rows:
        change = _differs(subject.run, rows[compared.baseline]["psnr"], subject.values["psnr"][ends[0]])
        holds = change["low"] is not None and change["mean"] >= compared.ahead and change["low"] > 0
        text = f"sigma {ends[0]:g} is above {compared.baseline} by {compared.ahead:g} dB or more"
        found.append({"law": text, "of": subject.name, "holds": holds, "change": change})
    if compared.alone in dials:
        other = dials[compared.alone]
        dial = all(other.falls(measure) and other.monotone(measure) for measure in ("psnr", "lpips"))
        change = asdict(other.change("lpips", other.sigmas[0], other.sigmas[-1]))
        text = "sigma is no such dial (PSNR and LPIPS do not both fall)"
        found.append({"law": text, "of": other.name, "holds": not dial, "change": change})
    return found


def _cell(mean: Mean, measure: str) -> str:
    """A mean and its interval; of SSIM, whose distortion is one minus it."""
    if measure != "ssim":
        return interval(mean.value, mean.low, mean.high)
    low, high = (None if end is None else 1 - end for end in (mean.high, mean.low))
    return interval(1 - mean.value, low, high)


def _change(found: Mapping[str, Any]) -> str:
    """A paired difference and its interval."""
    return interval(found["mean"], found["low"], found["high"], signed=True)


def _marks(run: Run, upscaler: str, factor: int) -> str:
    """What must be known about an upscaler."""
    return ", ".join(run.recipe["upscalers"][f"x{factor}/{upscaler}"]["marks"])


def table_of(
    compared: Comparison, dials: dict[str, Dial], rows: dict[str, dict[str, pd.Series]], runs: dict[str, Run]
) -> list[str]:
    """Our numbers, and the paper's in columns of their own."""
    paper = compared.paper
    sets = list(dict.fromkeys(name for row in paper.rows.values() for name in row)) if paper else []

    def published(name: str | None) -> list[str]:
        theirs = paper.rows.get(name, {}) if paper and name else {}
        return [
            f"{number(theirs[one][0], 4)} / {number(theirs[one][1], 2)} / {number(theirs[one][2], 3)}"
            if one in theirs
            else ""
            for one in sets
        ]

    lines, used = [], set()
    for label, branch in rows.items():
        run = runs[compared.rows[label].run]
        name = marked_name(label, _marks(run, compared.rows[label].upscaler, compared.factor))
        lines.append([name, *(_cell(run.mean(branch[measure]), measure) for measure in SHOWN), *published(None)])
    for dial in dials.values():
        means = {measure: dial.means(measure) for measure in SHOWN}
        for sigma in dial.sigmas:
            beside = paper.beside if paper else {}
            theirs = [key for key, one in beside.items() if (one.curve, one.sigma) == (dial.name, sigma)]
            used |= set(theirs)
            cells = [_cell(means[measure][sigma], measure) for measure in SHOWN]
            name = marked_name(f"{dial.name}; sigma {sigma:g}", dial.marks[sigma])
            lines.append([name, *cells, *published(theirs[0] if theirs else None)])
    for name in paper.rows if paper else {}:
        if name not in used:
            lines.append([f"{name} (published)", *[""] * len(SHOWN), *published(name)])
    head = [None, *(LABELS[measure] for measure in SHOWN), *(f"published, {one}" for one in sets)]
    return markdown_table(head, lines)


def points_text(compared: Comparison, dials: dict[str, Dial]) -> list[str]:
    """More points of sigma in training against fewer, sigma by sigma."""
    names = compared.points_compared or ("", "")
    if not all(name in dials for name in names):
        return []
    more, fewer = (dials[name] for name in names)
    rows = []
    for sigma in (one for one in more.sigmas if one in fewer.sigmas):
        cells = []
        for measure in ("psnr", "lpips"):
            found = _differs(more.run, more.values[measure][sigma], fewer.values[measure][sigma])
            cells += [_change(found), p_value(found["p"])]
        rows.append([f"{sigma:g}", *cells])
    head = ["sigma", f"{LABELS['psnr']}: difference", "p", "LPIPS: difference", "p"]
    return [f"## {names[1]} beyond {names[0]}", "", *markdown_table(head, rows), ""]


def read_text(compared: Comparison, runs: dict[str, Run]) -> tuple[list[str], list[dict[str, Any]]]:
    """The score of the same LR images by a blind decoder and by their own."""
    read = compared.read
    if read is None or not {read.run, read.baseline.run} <= runs.keys():
        return [], []
    measure, mine, theirs = compared.measures.lpips, read.downscaler, read.baseline.downscaler
    run, other = runs[read.run], runs[read.baseline.run]
    blind = run.of(mine, read.blind, compared.factor, measure)
    found = [
        {"of": mine, "by": read.blind, "beyond": f"{theirs} by {read.blind}"}
        | _differs(run, other.of(theirs, read.blind, compared.factor, measure), blind)
    ]
    for upscaler in read.own:
        own = run.of(mine, upscaler, compared.factor, measure)
        record = {"of": mine, "by": read.blind, "beyond": f"its own decoder, {upscaler}"}
        found.append(record | _differs(run, own, blind))
    scores = [(other, theirs, read.blind), *((run, mine, name) for name in (read.blind, *read.own))]
    cells = [
        [
            name,
            marked_name(by, _marks(of, by, compared.factor)),
            _cell(of.mean(of.of(name, by, compared.factor, measure)), "lpips"),
        ]
        for of, name, by in scores
    ]
    rows = [[f"{one['of']} by {one['by']}", one["beyond"], _change(one), p_value(one["p"])] for one in found]
    lines = ["## How much of what it keeps can nobody else read?", ""]
    lines += [*markdown_table(["LR images of", "read by", "score (LPIPS)"], cells), ""]
    return [*lines, *markdown_table(["score of", "beyond", "difference", "p"], rows), ""], found


def _plot(axis: Axes, i: int, name: str, sides: list[list[Mean]], *, line: bool) -> None:
    """PSNR and LPIPS with their intervals, in the i-th colour."""
    bars = [
        [
            [max(one.value - one.low, 0.0) if one.low is not None else 0.0 for one in side],
            [max(one.high - one.value, 0.0) if one.high is not None else 0.0 for one in side],
        ]
        for side in sides
    ]
    x, y = ([one.value for one in side] for side in sides)
    axis.errorbar(
        *(x, y),
        xerr=bars[0],
        yerr=bars[1],
        color=COLOURS[i % len(COLOURS)],
        marker=MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
        markerfacecolor=COLOURS[i % len(COLOURS)] if line else "white",
        linestyle="-" if line else "",
        markersize=4.5,
        elinewidth=0.6,
        linewidth=1.1,
        label=name,
    )


def _changes(dial: Dial, measure: str) -> list[Mean]:
    """From the first sigma to each, paired: what photographs differ by is not in the intervals."""
    first, *others = dial.sigmas
    found = [dial.change(measure, first, sigma) for sigma in others]
    return [Mean(0.0, None, None), *(Mean(one.mean, one.low, one.high) for one in found)]


def draw(
    dials: dict[str, Dial], rows: dict[str, dict[str, pd.Series]], run: Run, note: str, closer: list[str]
) -> Figure:
    """Perception against distortion: a curve per sweep, other rows as open marks; beside it, how sigma moves some."""
    shown = ("psnr", "lpips")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 4.8), layout="constrained")
        axis, paired = figure.subplots(1, 2, width_ratios=(3, 2))
        for i, (name, points) in enumerate([*dials.items(), *rows.items()]):
            if isinstance(points, Dial):
                _plot(axis, i, name, [list(points.means(measure).values()) for measure in shown], line=True)
                if name not in closer:
                    continue
                changes = [_changes(points, measure) for measure in shown]
                _plot(paired, i, name, changes, line=True)
                for j in (0, -1):
                    at = (changes[0][j].value, changes[1][j].value)
                    paired.annotate(f"{points.sigmas[j]:g}", at, xytext=(5, 5), textcoords="offset points")
            else:
                _plot(axis, i, name, [[run.mean(points[measure])] for measure in shown], line=False)
        axis.set_xlabel(f"{LABELS['psnr']} (higher is better)")
        axis.set_ylabel("LPIPS (lower is better)")
        paired.set_xlabel(f"change of {LABELS['psnr']}, from the least sigma")
        paired.set_ylabel("change of LPIPS")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        write_below(figure, note)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Comparison, read_yaml(Path("rescaling.yaml"), hint=here), where="rescaling.yaml")
    runs, factor = runs_of(compared), compared.factor
    named = {measure: getattr(compared.measures, measure) for measure in SHOWN}
    shown = {**compared.curves, **compared.rows}
    missing = [f"{name} (`dvc repro` in {one.run})" for name, one in shown.items() if one.run not in runs]
    dials = {}
    for name, curve in compared.curves.items():
        if curve.run not in runs:
            continue
        found = dial_of(name, runs[curve.run], curve.downscaler, curve.upscalers, factor, list(named.values()))
        dials[name] = replace(found, values={key: found.values[value] for key, value in named.items()})
    if next(iter(compared.curves)) not in dials:
        raise UserError(f"rescaling.yaml: curves: the first was not made: run {missing[0]}")
    rows = {
        name: {key: runs[row.run].of(row.downscaler, row.upscaler, factor, value) for key, value in named.items()}
        for name, row in compared.rows.items()
        if row.run in runs
    }
    run = runs["."]
    judged = laws(compared, dials, rows)
    about = counted(len(set(run.photographs.values())), len(run.photographs))
    note = f"{about}; {run.recipe['confidence']:.0%} intervals over photographs"
    verdicts = [
        [one["law"], one["of"], "holds" if one["holds"] else "**does not hold**", _change(one["change"])]
        for one in judged
    ]
    reading, read = read_text(compared, runs)
    lines = [
        f"# Rescaling with a decoder of its own: {compared.data}",
        "",
        f"{note}. PSNR and SSIM are of Y, LPIPS of RGB.",
    ]
    lines += [f"Not made: {'; '.join(missing)}.", ""] if missing else [""]
    lines += ["![Perception against distortion, by sigma](rescaling.png)", "", "## Laws", ""]
    lines += [*markdown_table(["law", "of", "", "change"], verdicts), "", "## Table 1", ""]
    if compared.paper:
        lines += [
            f"Published: {compared.paper.source}; LPIPS / PSNR / SSIM, of whole images and networks of full size.",
            "",
        ]
    lines += [*table_of(compared, dials, rows, runs), "", *points_text(compared, dials), *reading]
    records = [
        {"curve": dial.name, "sigma": sigma, "measure": measure, **asdict(mean)}
        for dial in dials.values()
        for measure in SHOWN
        for sigma, mean in dial.means(measure).items()
    ] + [
        {"curve": name, "sigma": None, "measure": measure, **asdict(run.mean(branch[measure]))}
        for name, branch in rows.items()
        for measure in SHOWN
    ]
    networks = {
        folder: {
            path: {key: recipe.get(key) for key in ("files", "weights")}
            for path, recipe in one.recipe["recipes"].items()
            if recipe.get("method") == "irn"
        }
        for folder, one in runs.items()
    }
    with atomic_folder(Path("results") / compared.data) as folder:
        for name, one in runs.items():
            write_record(one.recipe, folder / name, project=Project(Path(name)))
        write_text(folder / "rescaling.md", "\n".join(lines).rstrip() + "\n")
        write_table(folder / "table.csv", pd.DataFrame(records))
        write_json(folder / "rescaling.json", {"laws": judged, "read": read, "networks": networks})
        closer = list(compared.points_compared or [next(iter(dials))])
        save(draw(dials, rows, run, f"{compared.data}: {note}", closer), folder / "rescaling")
    print("\n".join(lines))


if __name__ == "__main__":
    exit_with_line(main)

"""The table, the figure and the words of ``running-times``: every number in them is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from scipy import stats

from ida_rd.core.errors import printable
from ida_rd.core.typeset import latex_tabular, latex_text, markdown_table
from ida_rd.report.figures import COLOURS, MARKERS, STYLE
from ida_rd.report.style import write_below

STAGES = ("downscale", "upscale", "distort")
REST, WHOLE = "the rest", "whole run"
KEYS = ["upscaler", "size", "workers", "stage"]
FIT = ("a", "a_low", "a_high", "b", "b_low", "b_high")
FACTS = ("samples", "memory", "gpu_memory", "processes", "threads", "loading_s")  # of a stage's processes: the most


@dataclass(frozen=True)
class Facts:
    """All that is told; `rows` are the raw ones by name of their file, `table` has a row per `KEYS`."""

    data: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    left_out: dict[str, str]
    source: str
    paper: dict[str, dict[int, float]]
    rows: dict[str, pd.DataFrame]
    table: pd.DataFrame


def fitted(counts: np.ndarray, seconds: np.ndarray, confidence: float) -> dict[str, float]:
    """The line a + b N by least squares, with Student's intervals; none where the points leave no freedom."""
    line = stats.linregress(counts, seconds)
    freedom = len(counts) - 2
    t = stats.t.isf((1 - confidence) / 2, freedom) if freedom > 0 else np.nan
    a, b = float(line.intercept), float(line.slope)
    half_a, half_b = t * float(line.intercept_stderr), t * float(line.stderr)
    return dict(zip(FIT, (a, a - half_a, a + half_a, b, b - half_b, b + half_b), strict=True))


def divided(minutes: dict[int, float]) -> list[float]:
    """Seconds per image as the paper's totals divide, by N."""
    return [60 * minutes[count] / count for count in sorted(minutes)]


def summarised(
    rows: dict[str, pd.DataFrame],
    methods: dict[str, str],
    minutes: dict[str, dict[int, float]],
    confidence: float,
    before: pd.DataFrame | None,
) -> pd.DataFrame:
    """One row per upscaler, size, workers and stage; the paper's figures, and those of an earlier day, last."""
    runs, units, latency = rows["runs"], rows["units"], rows["latency"]
    runs = runs.assign(group=runs.stage.where(runs.stage.isin(STAGES), REST))
    found = []
    for (upscaler, size, workers), part in runs.groupby(KEYS[:3], sort=False):
        for stage in (*STAGES, REST, WHOLE):
            some = part if stage == WHOLE else part[part.group == stage]
            sums = some.groupby(["count", "repetition"]).seconds.sum().reset_index()
            row: dict[str, Any] = dict(zip(KEYS, (upscaler, size, workers, stage), strict=True))
            row |= {"method": methods[str(upscaler)], "runs": len(sums), "least": int(sums["count"].min())}
            row |= {"most": int(sums["count"].max())}
            row |= fitted(sums["count"].to_numpy(float), sums.seconds.to_numpy(float), confidence)
            row |= {name: pd.to_numeric(some[name]).max() for name in FACTS}
            row["device"] = ", ".join(sorted(set(some.device.dropna())))
            own = units[(units[KEYS[:3]] == [upscaler, size, workers]).all(axis=1) & (units.stage == stage)]
            row |= _quantiles("unit", own.seconds)
            calls = latency[(latency.upscaler == upscaler) & (latency["size"] == size) & (latency.stage == stage)]
            row |= _quantiles("latency", calls[calls.phase == "counted"].seconds)
            for phase in ("load", "first"):
                row[f"latency_{phase}"] = calls[calls.phase == phase].seconds.max()
            if stage == WHOLE:
                largest = part[part["count"] == part["count"].max()].dropna(subset=["score"])
                row |= {"score": largest.score.mean(), "scored_by": largest.scored_by.iloc[0]}
                if row["method"] in minutes:
                    row["paper"] = float(np.mean(divided(minutes[row["method"]])))
            found.append(row)
    for method in minutes:
        if method not in {row["method"] for row in found}:
            each = float(np.mean(divided(minutes[method])))
            found.append({"upscaler": method, "stage": WHOLE, "method": method, "paper": each})
    table = pd.DataFrame(found)
    table = table if "paper" in table else table.assign(paper=np.nan)
    if before is not None:
        earlier = before.dropna(subset=["size"])[[*KEYS, "b"]].rename(columns={"b": "b_before"})
        table = table.merge(earlier, on=KEYS, how="left")
    return table


def _quantiles(name: str, seconds: pd.Series) -> dict[str, float]:
    values = seconds.to_numpy(float)
    if not len(values):
        return {f"{name}_median": np.nan, f"{name}_p90": np.nan, f"{name}_sd": np.nan, f"{name}_count": 0}
    spread = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    median, most = (float(np.quantile(values, q)) for q in (0.5, 0.9))
    return {f"{name}_median": median, f"{name}_p90": most, f"{name}_sd": spread, f"{name}_count": len(values)}


def _seconds(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}"


def _with_ends(row: Any, name: str) -> str:
    if pd.isna(row[name]):
        return "-"
    if pd.isna(row[f"{name}_low"]):
        return _seconds(row[name])
    return f"{_seconds(row[name])} [{_seconds(row[f'{name}_low'])}, {_seconds(row[f'{name}_high'])}]"


def _ours(facts: Facts) -> pd.DataFrame:
    return facts.table.dropna(subset=["size"])


def findings(facts: Facts) -> list[str]:
    """What the runs show, a sentence or two each."""
    return [*_lines(facts), *_scaling(facts), *_single(facts), *_paper(facts)]


def _lines(facts: Facts) -> list[str]:
    found = []
    for (upscaler, size, workers), part in _ours(facts).groupby(KEYS[:3], sort=False):
        row = part.set_index("stage")
        whole, each = row.loc[WHOLE], row.b / row.b[WHOLE]
        plural = "s" if workers > 1 else ""
        found.append(
            f"{upscaler}, {size:.0f} pixels, {workers:.0f} worker{plural}: a run takes {_with_ends(whole, 'a')} s and"
            f" {_with_ends(whole, 'b')} s per image, {each['upscale']:.0%} of that in upscale."
        )
    return found


def _scaling(facts: Facts) -> list[str]:
    """More workers and larger images, by what an image costs."""
    found = []
    whole = _ours(facts).query("stage == @WHOLE")
    for (upscaler, size), part in whole.groupby(["upscaler", "size"], sort=False):
        few, many = part.loc[part.workers.idxmin()], part.loc[part.workers.idxmax()]
        if few.workers < many.workers and many.b > 0:
            found.append(
                f"{upscaler}, {size:.0f} pixels: {many.workers:.0f} workers in the place of {few.workers:.0f} make an"
                f" image cost {few.b / many.b:.2f} times less."
            )
    for (upscaler, workers), part in whole.groupby(["upscaler", "workers"], sort=False):
        small, large = part.loc[part["size"].idxmin()], part.loc[part["size"].idxmax()]
        if small["size"] < large["size"] and small.b > 0:
            ratio = (large["size"] / small["size"]) ** 2
            found.append(
                f"{upscaler}, {workers:.0f} workers: an image of {large['size']:.0f} pixels, {ratio:.3g} times as many,"
                f" costs {large.b / small.b:.3g} times as much as one of {small['size']:.0f}."
            )
    return found


def _single(facts: Facts) -> list[str]:
    found = []
    rows = _ours(facts).query("stage == 'upscale'").drop_duplicates(["upscaler", "size"])
    for row in rows.to_dict("records"):
        if row["latency_count"]:
            found.append(
                f"{row['upscaler']}, {row['size']:.0f} pixels, one image at a time: a sample takes"
                f" {_seconds(row['latency_median'])} s (median of {row['latency_count']:.0f};"
                f" {_seconds(row['latency_p90'])} s at the 90th percentile), the first"
                f" {_seconds(row['latency_first'])} s, after {_seconds(row['latency_load'])} s of loading."
            )
    return found


def _paper(facts: Facts) -> list[str]:
    found = []
    for method, minutes in facts.paper.items():
        counts = sorted(minutes)
        each = ", ".join(f"{value:.1f}" for value in divided(minutes))
        line = fitted(np.array(counts, float), np.array([60 * minutes[count] for count in counts], float), 0.95)
        found.append(
            f"{facts.source}: {method} divides to {each} s per image at N of {', '.join(map(str, counts))}; by a line"
            f" through these, {line['a']:.0f} s and {line['b']:.1f} s per image."
        )
    return found


def _memory(row: Any) -> str:
    host = "" if pd.isna(row["memory"]) else f"{row['memory'] / 1e9:.2g} GB"
    gpu = "" if pd.isna(row["gpu_memory"]) else f"{row['gpu_memory'] / 1e9:.2g} GB on the GPU"
    return ", ".join(filter(None, (host, gpu))) or "-"


def _where(row: Any) -> str:
    if not row["device"]:
        return "-"
    threads = "" if pd.isna(row["threads"]) else f" x {row['threads']:.0f} threads"
    return f"{row['processes']:.0f}{threads}, {row['device']}"


def _head(facts: Facts) -> list[str]:
    head = ["upscaler", "K", "stage", "a, s", "b, s per image", "an image: median, s", "90 %, s", "memory", "processes"]
    head += ["score", "Table 1, s per image"]
    return head + (["b of an earlier day"] if "b_before" in facts.table else [])


def _cells(facts: Facts, row: dict[str, Any]) -> list[str]:
    samples = "" if pd.isna(row["samples"]) else f"{row['samples']:.0f}"
    cells = [str(row["upscaler"]), samples, str(row["stage"]), _with_ends(row, "a"), _with_ends(row, "b")]
    cells += [_seconds(row["unit_median"]), _seconds(row["unit_p90"]), _memory(row), _where(row)]
    cells.append("-" if pd.isna(row["score"]) else f"{row['score']:.4g} ({row['scored_by']})")
    cells.append("" if pd.isna(row["paper"]) else f"{row['paper']:.1f}")
    return cells + ([_seconds(row["b_before"])] if "b_before" in row else [])


def _latency(facts: Facts) -> list[str]:
    rows = []
    for row in _ours(facts).drop_duplicates(["upscaler", "size", "stage"]).to_dict("records"):
        if row["latency_count"]:
            names = ("load", "first", "median", "p90", "sd")
            times = [_seconds(row[f"latency_{name}"]) for name in names]
            rows.append([row["upscaler"], f"{row['size']:.0f}", row["stage"], *times, f"{row['latency_count']:.0f}"])
    head = ["upscaler", "pixels", "stage", "loading, s", "first, s", "median, s", "90 %, s", "spread, s", "calls"]
    return markdown_table(head, rows)


def about(facts: Facts) -> str:
    """What was run, on what."""
    s, machine = facts.settings, facts.machine
    counts = ", ".join(map(str, s["counts"]))
    known = "; ".join(f"{key} {value}" for key, value in machine.items() if key != "program")
    program = machine["program"]
    how = ", ".join(map(str, s["downscaler"].values()))
    return (
        f"N of {counts}, each {s['repetitions']} times; K = {s['samples']} (of a deterministic upscaler 1), factor"
        f" {s['factor']}, one downscaler ({how}); distances: {', '.join(s['distortions'])}. Every stage a process, the"
        f" store empty, no page. Measured on: {known}; this program {program['version']}, {program['commit']}."
    )


def page(facts: Facts) -> str:
    """The Markdown page."""
    lines = [f"# Running times: {facts.data}", "", printable(about(facts)), "", " ".join(findings(facts)), ""]
    for (size, workers), part in _ours(facts).groupby(["size", "workers"], sort=False):
        title = f"HR images of {size:.0f} pixels, {workers:.0f} worker{'s' if workers > 1 else ''}"
        lines += [f"## {title}", ""]
        lines += [*markdown_table(_head(facts), (_cells(facts, row) for row in part.to_dict("records"))), ""]
    only = facts.table[facts.table["size"].isna()].to_dict("records")
    lines += [f"{row['upscaler']}: not run here; Table 1: {row['paper']:.1f} s per image.\n" for row in only]
    lines += [
        "a: start-up, loading and all that does not grow with N; b: what one image more costs, with all K samples; by"
        f" a line through all runs, with Student's {facts.settings['confidence']:.0%} intervals. An image: seconds of"
        " one worker, without start-up and loading. Memory: the most that one process has had. Table 1 states no size,"
        " factor, K, batch, threads or spread, and is of another machine: its column is no yardstick.",
        "",
        "## One image at a time",
        "",
        "One process of one thread (or a GPU), one sample per image; the first call is apart, and some more are not"
        " counted. Without start-up of the program.",
        "",
        *_latency(facts),
        "",
    ]
    lines += [f"**Left out: {name}**, because {printable(reason)}.\n" for name, reason in facts.left_out.items()]
    lines += ["![seconds of whole runs by N](times.png)"]
    return "\n".join(lines) + "\n"


def latex(facts: Facts) -> str:
    """One tabular, a block per size and number of workers."""
    blocks = []
    for (size, workers), part in facts.table.groupby(["size", "workers"], sort=False, dropna=False):
        at = ["", ""] if pd.isna(size) else [f"{size:.0f}", f"{workers:.0f}"]
        rows = [_cells(facts, row) for row in part.to_dict("records")]
        blocks.append([[latex_text(cell) for cell in (*at, *cells)] for cells in rows])
    head = [latex_text(cell) for cell in ("pixels", "workers", *_head(facts))]
    note = [printable(about(facts)), *findings(facts), "Needs \\usepackage{booktabs}."]
    return latex_tabular("rrlrl" + "r" * (len(head) - 5), head, blocks, note=note)


def draw(facts: Facts) -> Figure:
    """A panel per size: seconds of whole runs by N, a colour per upscaler and a line style per number of workers."""
    ours, runs = _ours(facts).query("stage == @WHOLE"), facts.rows["runs"]
    sizes, names = list(dict.fromkeys(ours["size"])), list(dict.fromkeys(ours.upscaler))
    workers = sorted(set(ours.workers))
    counts = facts.settings["counts"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(sizes) + 0.6, 3.6), layout="constrained")
        for axis, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
            for row in ours[ours["size"] == size].to_dict("records"):
                place = names.index(row["upscaler"])
                look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)]}
                mine = runs[(runs[KEYS[:3]] == [row["upscaler"], size, row["workers"]]).all(axis=1)]
                sums = mine.groupby(["count", "repetition"]).seconds.sum().reset_index()
                marker = MARKERS[place % len(MARKERS)]
                axis.plot(sums["count"], sums.seconds, marker, markersize=4, markerfacecolor="none", **look)
                style = ("-", "--", ":", "-.")[workers.index(row["workers"]) % 4]
                label = f"{row['upscaler']}, {row['workers']:.0f} worker{'s' if row['workers'] > 1 else ''}"
                ends = np.array([0, max(counts)])
                axis.plot(ends, row["a"] + row["b"] * ends, style, linewidth=1, label=label, **look)
            axis.set_title(f"{size:.0f} x {size:.0f} pixels", fontsize=9)
            axis.set_xlabel("N, images", fontsize=8)
            axis.set_ylabel("seconds of a whole run", fontsize=8)
            axis.xaxis.set_major_locator(FixedLocator([0, *counts]))
            axis.set_ylim(bottom=0)
            axis.grid(axis="y", color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        processor = str(facts.machine.get("gpu") or facts.machine.get("processor", ""))
        write_below(
            figure,
            f"{facts.data}: K = {facts.settings['samples']}, x{facts.settings['factor']}; {printable(processor)}",
            "lines: a + b N by least squares; where they meet N = 0, a",
        )
        return figure

"""Does the order of downscalers depend on the decoder? ``python decoders.py``, after ``python -m ida_rd.study``.

Reads the scores of every image in ``results/<data>`` and adds to that folder: Kendall's tau between all decoders, with
intervals over photographs; which downscalers two decoders order otherwise; ranks by decoder; and tau with the paper's
rows, which are of other images and settings, and stand in columns of their own. Nothing else is read, so that results
that are committed can be judged again.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from alike import (  # type: ignore[import-not-found]
    Decoder,
    Pair,
    Tau,
    decoders_of,
    pairs_of,
    printed_taus,
    ranks_of,
    tau_of,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.core.errors import UserError, exit_with_line, printable_lines
from ida_rd.core.files import write_json, write_text
from ida_rd.core.methods import validate
from ida_rd.core.pairs import FEWEST
from ida_rd.core.readers import read_yaml
from ida_rd.core.tables import write_table
from ida_rd.core.typeset import interval, latex_tabular, latex_text, markdown_table, number
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.report.style import write_below
from ida_rd.study.judge import Setting
from ida_rd.study.settings import Study

Means = dict[str, dict[str, float]]


def _cell(tau: Tau) -> str:
    if tau.value is None:
        return ""
    return interval(tau.value, tau.low, tau.high, places=2, signed=True)


def _names(decoders: list[Decoder]) -> list[str]:
    """Downscalers, by their mean rank over the decoders."""
    ranks = pd.DataFrame({d.name: ranks_of({n: d.result.loss(n) for n in d.result.conditions}) for d in decoders})
    return [str(name) for name in ranks.mean(axis=1).sort_values(kind="stable").index]


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _said(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{less} < {more}" for less, more in pairs)


def verdict(decoders: list[Decoder], pairs: list[Pair]) -> str:
    """What the decoders of one factor say of the claim that the order does not depend on them."""
    asked = [decoder for decoder in decoders if decoder.stochastic]  # the claim is of these
    names, networks = {decoder.name for decoder in asked}, len({decoder.network for decoder in asked})
    text = f"{_several(len(asked), 'stochastic decoder')} of {_several(networks, 'network')}."
    if len(asked) < len(decoders):
        text += f" What follows is of these, without {len(decoders) - len(asked)} that are deterministic."
    compared = [p for p in pairs if {p.a, p.b} <= names and p.tau.value is not None]
    other = [pair for pair in compared if not pair.same]
    if networks < 2:
        text += " **One network cannot say whether the order depends on the network**: at_hand.py enters others."
        other = compared
        if not other:
            return text
    if not other:
        return f"{text} There are too few downscalers in common to compare rankings."
    least = min(other, key=lambda pair: pair.tau.value)
    of = "settings" if networks < 2 else "networks"
    of_several = f", the least of {_several(len(other), 'pair')}" if len(other) > 1 else ""
    text += f" The least tau between two {of} is {_cell(least.tau)}, of {least.a} and {least.b}{of_several}."
    against = [pair for pair in other if pair.otherwise]
    if against:
        what = "setting" if networks < 2 else "decoder"
        text += (
            f" {len(against)} of {_several(len(other), 'pair')} of {of} order{'s' if len(against) == 1 else ''} some"
            " downscalers the other way round, each of the two significantly: the order"
            f" **depends on the {what}** here."
        )
    else:
        text += (
            f" None of {_several(len(other), 'pair')} of {of} orders two downscalers the other way round, each of the"
            " two significantly: nothing here contradicts the claim, which does not prove it."
        )
        if not all(decoder.order for decoder in asked):
            text += " By some decoder no two downscalers differ significantly, so that nothing could contradict it."
    return text


def ranking_table(decoders: list[Decoder], paper: Means) -> pd.DataFrame:
    """Rank and score by downscaler: our decoders, then the paper's rows."""
    names = _names(decoders)
    columns: dict[str, Any] = {"downscaler": names}
    for decoder in decoders:
        ranks = ranks_of({name: decoder.result.loss(name) for name in decoder.result.conditions})
        columns |= {decoder.name: [decoder.result.conditions[n].score.mean if n in ranks else None for n in names]}
        columns |= {f"{decoder.name}, rank": [ranks.get(name) for name in names]}
    for title, means in paper.items():
        ranks = ranks_of(means)
        columns |= {f"paper: {title}": [means.get(n) for n in names]}
        columns |= {f"paper: {title}, rank": [ranks.get(name) for name in names]}
    return pd.DataFrame(columns)


def _ranked(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table of ranks."""
    titles = [column for column in table if column != "downscaler" and not column.endswith(", rank")]
    rows = [
        [
            str(row["downscaler"]),
            *(
                "" if pd.isna(row[title]) else f"{row[f'{title}, rank']:g} ({number(row[title], 3)})"
                for title in titles
            ),
        ]
        for _, row in table.iterrows()
    ]
    return titles, rows


def text_of(factor: int, decoders: list[Decoder], pairs: list[Pair], paper: Means, setting: Setting) -> list[str]:
    """What is said of one factor."""
    lines = [f"## x{factor}", "", verdict(decoders, pairs), "", f"![ranks and tau](alike-x{factor}.png)", ""]
    titles, rows = _ranked(ranking_table(decoders, paper))
    lines += ["Rank, and in brackets the score; 1 loses least.", ""]
    lines += [*markdown_table([None, *titles], rows), ""]
    if pairs:
        rows = [
            [p.a, p.b, "one network" if p.same else "two", _cell(p.tau), str(p.tau.downscalers), _said(p.otherwise)]
            for p in pairs
        ]
        head = [
            "decoder",
            "and",
            "of",
            "Kendall's tau [interval]",
            "downscalers",
            "ordered so by the first, otherwise by",
        ]
        lines += [*markdown_table([*head[:-1], f"{head[-1]} the second, both significantly"], rows), ""]
    rows = []
    for decoder in decoders:
        halves = decoder.halves
        own = (
            "" if halves is None else interval(*(halves[k] for k in ("kendall", "low", "high")), places=2, signed=True)
        )
        shown = f"{len(decoder.order)} of {len(decoder.losses.columns) * (len(decoder.losses.columns) - 1) // 2}"
        theirs = [_cell(tau_of(decoder.losses, pd.Series(means), setting)) for means in paper.values()]
        marks = decoder.result.marks or ""
        rows.append([decoder.name, marks, f"{len(decoder.losses)}", shown, own, *theirs])
    head = ["decoder", "is", "photographs", "pairs of downscalers that differ", "tau of halves of its photographs"]
    lines += [*markdown_table([*head, *(f"tau with paper: {title}" for title in paper)], rows), ""]
    return lines


def page(study: Study, setting: Setting, found: dict[int, tuple[list[Decoder], list[Pair]]], paper: Means) -> str:
    """The whole of ``alike.md``."""
    lines = [f"# Does the order of downscalers depend on the decoder? {study.data}", ""]
    lines += [f"By {setting.label}. Scores, and the paper's claim decoder by decoder: [study.md](study.md).", ""]
    for factor, (decoders, pairs) in found.items():
        lines += text_of(factor, decoders, pairs, paper, setting)
    lines += [
        f"Tau: Kendall's tau-b of the decoders' mean scores; in brackets {setting.confidence:.0%} intervals, each of"
        f" its pair alone, by the percentiles over {setting.resamples} draws of the photographs, the same for both"
        " decoders, at which a mean's interval would be Student's; none for fewer than"
        f" {FEWEST} photographs. Significant: Holm's method over all pairs of downscalers of all decoders of a factor,"
        " more than in the tables of a run, which are of one decoder: fewer pairs may differ here. Decoders that have"
        " all their files in common are one network. Tau of halves: mean, and 95% of random halves of the photographs,"
        " which rank worse than all of them do; two decoders see the same photographs, so that they may agree more."
    ]
    if study.paper and paper:
        lines += [
            "",
            f"Paper: {study.paper.source}; of other images, with other settings. Tau with it: its means are taken as"
            " they are printed, and our photographs alone are drawn.",
        ]
        told = [f"{a} and {b} {value:+.2f}" for (a, b), value in printed_taus(paper).items()]
        if told:
            lines += ["", f"Kendall's tau between the paper's own rows, as printed: {'; '.join(told)}."]
    lines += [f"\n{note}" for note in study.notes]
    return "\n".join(lines).rstrip() + "\n"


def latex(found: dict[int, tuple[list[Decoder], list[Pair]]], paper: Means) -> str:
    """Ranks and scores by decoder, with the paper's rows in columns of their own; then tau."""
    text = ""
    for factor, (decoders, pairs) in found.items():
        titles, rows = _ranked(ranking_table(decoders, paper))
        head = [rf"$\times{factor}$", *(latex_text(title) for title in titles)]
        note = ["Rank (score). The paper's columns are of other images: orders can be compared, numbers cannot."]
        cells = [[latex_text(row[0]), *row[1:]] for row in rows]
        text += latex_tabular("l" + "c" * len(titles), head, [cells], note=[*note, "Needs \\usepackage{booktabs}."])
        if pairs:
            blocks = [[latex_text(p.a), latex_text(p.b), f"${_cell(p.tau)}$", str(len(p.otherwise))] for p in pairs]
            text += latex_tabular("llcc", ["", "", r"Kendall's $\tau$", "reversed"], [blocks])
    return text


def _matrix(axis: Axes, decoders: list[Decoder], pairs: list[Pair]) -> None:
    """Tau of every two of our decoders."""
    names = [decoder.name for decoder in decoders]
    values = np.eye(len(names))
    for pair in pairs:
        i, j = names.index(pair.a), names.index(pair.b)
        values[i, j] = values[j, i] = np.nan if pair.tau.value is None else pair.tau.value
    axis.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
    for i, j in combinations(range(len(names)), 2):
        for row, column in ((i, j), (j, i)):
            if not np.isnan(values[i, j]):
                shade = "white" if abs(values[i, j]) > 0.6 else "black"
                axis.text(column, row, f"{values[i, j]:.2f}", ha="center", va="center", color=shade, fontsize=7)
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title("Kendall's tau", fontsize=9)


def _lines(axis: Axes, decoders: list[Decoder], paper: Means) -> None:
    """Rank of every downscaler by our decoders, and after a gap by the paper's rows."""
    columns = {d.name: ranks_of({n: d.result.loss(n) for n in d.result.conditions}) for d in decoders}
    theirs = {f"paper: {title}": ranks_of(means) for title, means in paper.items()}
    ours, gap = list(range(len(columns))), len(columns) + 0.5
    for i, name in enumerate(_names(decoders)):
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[(i + i // 6) % len(MARKERS)]}
        axis.plot(ours, [c.get(name, np.nan) for c in columns.values()], label=name, markersize=5, **style)
        if theirs:
            at = [gap + k for k in range(len(theirs))]
            ranks = [c.get(name, np.nan) for c in theirs.values()]
            axis.plot(at, ranks, linestyle=":", markerfacecolor="white", markersize=5, **style)
    ticks = [*ours, *(gap + k for k in range(len(theirs)))]
    axis.set_xticks(ticks, [*columns, *theirs], rotation=60, ha="right", fontsize=7)
    if theirs:
        axis.axvline(gap - 0.75, color="0.7", linewidth=0.8)
    axis.set_xlim(-0.4, max(ticks) + 0.4)
    axis.invert_yaxis()
    axis.set_ylabel("rank (1 loses least)")


def draw(decoders: list[Decoder], pairs: list[Pair], paper: Means, note: str) -> Figure:
    """Tau of every two decoders, and ranks by decoder."""
    count = len(decoders)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 + 0.65 * (2 * count + len(paper)), 3.6 + 0.1 * count), layout="constrained")
        widths = [1 + 0.5 * count, 2 + 0.6 * (count + len(paper))]
        matrix, lines = figure.subplots(1, 2, width_ratios=widths)
        _matrix(matrix, decoders, pairs)
        _lines(lines, decoders, paper)
        figure.legend(*lines.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
        write_below(figure, note)
        return figure


def _row(pair: Pair) -> dict[str, Any]:
    tau = pair.tau
    return {
        "a": pair.a,
        "b": pair.b,
        "one_network": pair.same,
        "kendall": tau.value,
        "low": tau.low,
        "high": tau.high,
        "downscalers": tau.downscalers,
        "photographs": tau.photographs,
        "otherwise": _said(pair.otherwise),
    }


def main() -> None:
    study = validate(
        Study, read_yaml("study.yaml", hint="run this in the folder of the experiment"), where="study.yaml"
    )
    folder = Path("results") / study.data
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: run `dvc repro`, or `python -m ida_rd.study` first")
    setting, by_factor = decoders_of(study, folder)
    paper = study.paper.means() if study.paper else {}
    found = {factor: (decoders, pairs_of(decoders, setting)) for factor, decoders in by_factor.items()}
    tables, ranks, beside = [], [], []
    for factor, (decoders, pairs) in found.items():
        tables.append(pd.DataFrame([_row(pair) for pair in pairs]).assign(factor=factor))
        ranks.append(ranking_table(decoders, paper).assign(factor=factor))
        beside += [
            {"factor": factor, "decoder": decoder.name, "paper": title}
            | vars(tau_of(decoder.losses, pd.Series(means), setting))
            for decoder in decoders
            for title, means in paper.items()
        ]
        note = f"{study.data}, x{factor}: {decoders[0].result.counts}; {setting.label}"
        save(draw(decoders, pairs, paper, note), folder / f"alike-x{factor}")
    text = page(study, setting, found, paper)
    write_text(folder / "alike.md", text)
    write_text(folder / "alike.tex", latex(found, paper))
    write_table(folder / "alike.csv", pd.concat(tables))
    write_table(folder / "ranks.csv", pd.concat(ranks))
    write_table(folder / "paper.csv", pd.DataFrame(beside))
    write_json(
        folder / "alike.json",
        {
            f"x{factor}": {
                "networks": len({decoder.network for decoder in decoders}),
                "kendall": {f"{p.a} and {p.b}": p.tau.value for p in pairs},
                "otherwise": {f"{p.a} and {p.b}": len(p.otherwise) for p in pairs},
            }
            for factor, (decoders, pairs) in found.items()
        },
    )
    print(printable_lines(text))


if __name__ == "__main__":
    exit_with_line(main)

"""The figure of all questions: how much worse the second of each pair scores, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ida_rd.core.pairs import FEWEST
from ida_rd.report.figures import save
from ida_rd.report.style import COLOURS, MARKERS, STYLE, write_below

__all__ = ["draw", "draw_all", "drawable"]

APART = 0.8  # of the distance of two pairs: what the groups of a pair take
SCORES = {"s": "S", "star": "S*"}


def draw(
    answers: pd.DataFrame, titles: Mapping[str, str], groups: Mapping[str, str], *, filled: str, note: str
) -> Figure:
    """Draw the answers of one factor, a panel per question.

    Parameters
    ----------
    answers : DataFrame
        Rows of ``answers.csv``. S* is drawn where there is any, otherwise S.
    titles, groups : mapping
        Of questions, and of groups of images, by name.
    filled : str
        What it means that a point is filled: what is shown, by the columns ``s_shown`` and ``star_shown``.
    note : str
        Stands below.
    """
    by = _by(answers)
    asked = [name for name in titles if name in set(answers.question)]
    shown = [name for name in groups if name in set(answers.group)]
    pairs = {name: list(dict.fromkeys(_pairs(answers[answers.question == name]))) for name in asked}
    across = min(2, len(asked))
    height = [0.9 + 0.34 * max(len(pairs[name]) for name in asked[k : k + 2]) for k in range(0, len(asked), 2)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.7 + sum(height)), layout="constrained")
        axes = figure.subplots(len(height), across, squeeze=False, height_ratios=height).ravel()
        for axis, name in zip(axes, asked, strict=False):
            _panel(axis, answers[answers.question == name], pairs[name], shown, by)
            axis.set_title(titles[name], fontsize=9)
        for axis in axes[len(asked) :]:
            axis.set_visible(False)
        keys = [
            Line2D([], [], color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)], ls="", label=groups[name])
            for k, name in enumerate(shown)
        ]
        figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False, fontsize=8)
        what = f"{SCORES[by]} of the second minus that of the first, with intervals: right of 0 the first is better"
        write_below(figure, f"{what}; filled: shown ({filled})", note)
        return figure


def drawable(answers: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """What is drawn, by factor: answers with an interval, of groups that are large enough for one."""
    if answers.empty:
        return {}
    kept = answers[answers["count"] >= FEWEST]
    return {int(factor): rows[rows[_by(rows)].notna()] for factor, rows in kept.groupby("factor")}


def _by(answers: pd.DataFrame) -> str:
    return "star" if answers.star.notna().any() else "s"


def draw_all(answers: pd.DataFrame, settings: Any, label: str, filled: str, folder: Path) -> None:
    """Write ``answers-x<factor>`` into `folder`; `settings` are those of ``resizers.yaml``."""
    for factor, rows in drawable(answers).items():
        counts = rows.groupby("group", sort=False)["count"].max()
        images = ", ".join(f"{count} {settings.groups[group]}" for group, count in counts.items())
        titles = {name: _title(question, factor) for name, question in settings.questions.items()}
        note = f"{settings.data}, x{factor}, by {settings.preset}, {label}; {images}"
        if left := int((answers[(answers.factor == factor) & (answers["count"] >= FEWEST)][_by(rows)].isna()).sum()):
            note += f"; {left} without {SCORES[_by(rows)]} are not drawn"
        save(draw(rows, titles, settings.groups, filled=filled, note=note), folder / f"answers-x{factor}")


def _title(question: Any, factor: int) -> str:
    asked = question.factor
    return question.title if asked in (None, factor) else f"{question.title} (asked of x{asked})"


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows.less, rows.more, strict=True))


def _panel(axis: Axes, rows: pd.DataFrame, pairs: Sequence[tuple[str, str]], shown: Sequence[str], by: str) -> None:
    for k, group in enumerate(shown):
        mine, colour = rows[rows.group == group], COLOURS[k % len(COLOURS)]
        for one in mine.to_dict("records"):
            y = pairs.index((one["less"], one["more"])) + APART * ((k + 0.5) / len(shown) - 0.5)
            axis.plot([one[f"{by}_low"], one[f"{by}_high"]], [y, y], color=colour, linewidth=1)
            face = colour if one[f"{by}_shown"] else "white"
            axis.plot(one[by], y, marker=MARKERS[k % len(MARKERS)], markersize=4, color=colour, markerfacecolor=face)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.set_yticks(range(len(pairs)), [f"{less}, {more}" for less, more in pairs], fontsize=7)
    axis.set_ylim(len(pairs) - 0.5, -0.5)
    axis.grid(axis="x", color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)

"""What is lost, and what is only unreadable: the decomposition of the score as a figure and for the page."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ida_rd.core.pairs import AWAY
from ida_rd.report.style import COLOURS, STYLE, write_below

__all__ = ["away_from_home", "matched_figure", "matched_parts"]

LOST, BLIND = COLOURS[0], COLOURS[1]
FAMILY = ["blind", "adapted", "factor"]


def matched_figure(table: pd.DataFrame, label: str, note: str = "") -> Figure | None:
    """Draw, per downscaler, what lies beyond the control: for the blind decoder, and for the adapted one.

    A panel per blind decoder and factor, rows sorted by what is lost, all on one axis. None without a control.

    Parameters
    ----------
    table : DataFrame
        ``matched.csv``, of one distortion.
    label : str
        The distortion's.
    note : str
        What stands below.
    """
    cells = [(key, group) for key, group in table.groupby(FAMILY, sort=False) if group.excess.notna().any()]
    if not cells:
        return None
    rows = max(len(group) for _, group in cells)
    with matplotlib.rc_context(STYLE):
        size = (1.4 + 4.6 * len(cells) if len(cells) < 3 else 1.4 + 2.6 * len(cells), 1.9 + 0.3 * rows)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(cells), sharex=True, sharey=True, squeeze=False)[0]
        order = list(cells[0][1].sort_values("lost", kind="stable").downscaler)
        for axis, ((blind, _, factor), group) in zip(axes, cells, strict=True):
            _panel(axis, group.set_index("downscaler").reindex(order), str(cells[0][1].control.iloc[0]))
            axis.set_title(f"{blind}, x{factor}", fontsize=9)
        axes[0].set_yticks(range(len(order)), order)
        axes[0].invert_yaxis()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        control = cells[0][1].control.iloc[0]
        below = f"{label} beyond {control}'s; {control} adapted to {control} is the control"
        write_below(figure, below, note)
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, control: str) -> None:
    y = np.arange(len(rows))
    axis.axvline(0, color="0.4", linewidth=0.9, zorder=1)
    axis.hlines(y, rows.lost, rows.excess, color=BLIND, alpha=0.35, linewidth=5, zorder=1, label="unreadable, not lost")
    for key, colour, marker, face, name in (
        ("excess", BLIND, "s", "white", "blind decoder"),
        ("lost", LOST, "o", LOST, "adapted decoder: lost"),
    ):
        mean, low, high = (rows[k].to_numpy(np.float64) for k in (key, f"{key}_low", f"{key}_high"))
        given = np.isfinite(low) & (rows.index != control)
        axis.errorbar(
            mean[given], y[given], xerr=[(mean - low)[given], (high - mean)[given]], fmt="none", ecolor=colour,
            elinewidth=1.1, capsize=2.5, zorder=3,
        )  # fmt: skip
        look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 5, "zorder": 4}
        axis.plot(mean, y, marker, linestyle="none", label=name, **look)
    axis.grid(axis="x", color="0.92", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.locator_params(axis="x", nbins=5)


def matched_parts(table: pd.DataFrame, families: list[dict[str, Any]], better: str) -> list[dict[str, Any]]:
    """Make what the page shows of each family: rows by S*, the ranks by S, the control.

    Parameters
    ----------
    table : DataFrame
        ``matched.csv``, of the leading distortion.
    families : list of dict
        ``matched`` of the aggregation's recipe.
    better : str
        The distortion's direction.
    """
    found = []
    for family in families:
        mine = table[
            (table.blind == family["blind"])
            & (table.factor == family["factor"])
            & (table.adapted == ", ".join(family["adapted"]))
        ]
        ascending = better == "lower"
        ranks = {name: i for i, name in enumerate(mine.sort_values("s", ascending=ascending).downscaler, 1)}
        rows = mine.sort_values("s_star", ascending=ascending).to_dict("records")
        control = next((row for row in rows if row["downscaler"] == row["control"]), None)
        found.append(
            {
                **family,
                "rows": [{**row, "rank": i, "rank_blind": ranks[row["downscaler"]]} for i, row in enumerate(rows, 1)],
                "control": control,
                "trainings": int(rows[0]["trainings"]),
                "training_sd": rows[0]["training_sd"],
                "parts": any(not pd.isna(row["gap_error"]) for row in rows),
            }
        )
    return found


def away_from_home(surprise: pd.DataFrame | None, upscaler: str, factor: int) -> list[dict[str, Any]]:
    """Which downscalers an upscaler is not at home on, and its latents' mean square there, the furthest first.

    Parameters
    ----------
    surprise : DataFrame or None
        ``surprise.csv``; None: no upscaler has a likelihood.
    """
    if surprise is None:
        return []
    mine = surprise[(surprise.upscaler == upscaler) & (surprise.factor == factor) & (surprise.z2 > AWAY)]
    return mine.sort_values("z2", ascending=False, kind="stable")[["downscaler", "z2"]].to_dict("records")

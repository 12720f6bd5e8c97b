"""The decomposition into lost and unreadable, in Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ida_rd.core.typeset import interval, markdown_table, p_value

__all__ = ["budget_text", "matched_markdown"]


def matched_markdown(
    table: pd.DataFrame, families: list[dict[str, Any]], distortion: str, descriptor: dict[str, Any], confidence: float
) -> str:
    """Set the decomposition by one distortion: a table per family, and below it what its numbers are."""
    lines: list[str] = []
    for family in families:
        mine = table[
            (table.blind == family["blind"])
            & (table.factor == family["factor"])
            & (table.adapted == ", ".join(family["adapted"]))
            & (table.distortion == distortion)
        ]
        lines += _family(mine, family, descriptor, confidence)
    return "\n".join(lines) + "\n"


def _family(mine: pd.DataFrame, family: dict[str, Any], descriptor: dict[str, Any], confidence: float) -> list[str]:
    ascending = descriptor["better"] == "lower"
    control = mine.control.iloc[0]
    by_blind = list(mine.sort_values("s", ascending=ascending, kind="stable").downscaler)
    level = 1 - confidence
    rows = []
    for place, row in enumerate(mine.sort_values("s_star", ascending=ascending, kind="stable").to_dict("records"), 1):
        name = row["downscaler"]
        cells = [name, f"{place} ({by_blind.index(name) + 1})"]
        cells += [
            interval(row["s"], row["s_low"], row["s_high"]),
            interval(row["s_star"], row["s_star_low"], row["s_star_high"]),
        ]
        cells += [interval(row["gap"], row["gap_low"], row["gap_high"])]
        if isinstance(control, str):
            if name == control:
                cells += ["control", "", "", ""]
            else:
                cells += [interval(row[k], row[f"{k}_low"], row[f"{k}_high"]) for k in ("lost", "unreadable")]
                cells += [_share(row), p_value(row["lost_p_holm"])]
        rows.append(cells)
    label = descriptor["label"]
    head = ["downscaler", "rank by S* (by S)", f"S, {label}", "S*", "gap"]
    if isinstance(control, str):
        head += [f"lost beyond {control}", "unreadable", "share lost", "p (Holm)"]
    trainings = int(mine.trainings.iloc[0])
    lines = [
        f"**Lost, or only unreadable? {family['blind']}, x{family['factor']}**, beside the same decoder adapted to each"
        f" downscaler ({budget_text(family['budget'])}{f'; {trainings} trainings' if trainings > 1 else ''}).",
        "",
        *markdown_table(head, rows),
        "",
        f"S: score of the blind decoder; S*: of the adapted one; gap: S - S*, what was unreadable to the blind one."
        f" [{confidence:.0%} intervals over photographs{_spread(mine, trainings)}]. S* is no bound of what is lost:"
        " it moves with the budget.",
    ]
    if isinstance(control, str):
        gain = mine.set_index("downscaler").loc[control]
        lines += [
            f"The control, {control} adapted to {control} by the same budget, has a gap too,"
            f" {interval(gain['gap'], gain['gap_low'], gain['gap_high'])}, which is no mismatch: it is subtracted in"
            f" the columns that follow. share lost: of what lies beyond {control} by the blind decoder, where that is"
            f" clear of zero. p: that nothing is lost beyond {control}, over the downscalers at {level:.2g}.",
        ]
    else:
        lines += [
            "Without a downscaler named bicubic there is no control: how far training alone moves S is not known."
        ]
    if mine.gap_error.notna().any():
        parts = "; ".join(
            f"{row.downscaler} {row.gap_variance:+.3f} and {row.gap_error:+.3f}" for row in mine.itertuples()
        )
        lines += [f"The gap's two parts, spread of the samples and squared error of their mean: {parts}."]
    return [*lines, ""]


def _spread(mine: pd.DataFrame, trainings: int) -> str:
    if trainings < 2:
        return "; one training, whose spread is not in them"
    return (
        f" and trainings: the standard deviation of S* over them is {mine.training_sd.iloc[0]:.2g}, of which"
        " differences of downscalers do not see what moves all alike"
    )


def _share(row: dict[str, Any]) -> str:
    if row["share"] is None or pd.isna(row["share"]):
        return ""
    return f"{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]"


def budget_text(budget: dict[str, Any]) -> str:
    """A budget in a few words."""
    by = ", likelihood" if "energy" in budget else ""  # of a method without an energy score, the losses are its own
    energy = f"{by} and {budget['energy']:g} times the energy score" if budget.get("energy") else by
    return f"{budget['steps']} steps of {budget['batch']} patches of {budget['patch']} x {budget['patch']}{energy}"

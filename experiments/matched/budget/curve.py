"""What is lost to an adapted decoder, against the steps of its adaptation: where does it flatten?

A budget is flat for a downscaler if twice as many steps find again less than a stated share of what the blind decoder
scores beyond the control; ``budget.yaml`` states it. Each budget is a training of its own, since the learning rate
falls over all of its steps. Writes table, figure and text into ``results/<data>``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from pydantic import Field

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted, interval, markdown_table
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record

HINT = "run `dvc repro aggregate`"


class Settings(Parameters):
    """``budget.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    flat: float = Field(gt=0, lt=1)


def curve_of(matched: pd.DataFrame, families: list[dict], distortion: str) -> pd.DataFrame:
    """Rows of ``matched.csv`` of one distortion, with the steps and the energy score's weight of their budget."""
    budgets = {", ".join(f["adapted"]): f["budget"] for f in families}
    rows = matched[matched.distortion == distortion].copy()
    rows["steps"] = [budgets[name]["steps"] for name in rows.adapted]
    rows["energy"] = [budgets[name]["energy"] for name in rows.adapted]
    return rows.sort_values(["energy", "downscaler", "steps"], ascending=[False, True, True], kind="stable")


def found_by_doubling(rows: pd.DataFrame) -> pd.DataFrame:
    """By energy, downscaler and steps: the share of the blind excess that twice as many steps find again."""
    lost = rows.set_index(["energy", "downscaler", "steps"])
    found = []
    for (energy, downscaler, steps), row in lost.iterrows():
        twice = (energy, downscaler, 2 * steps)
        if twice in lost.index and row.downscaler_is_control is False:
            share = (row.lost - lost.lost[twice]) / row.excess
            found.append({"energy": energy, "downscaler": downscaler, "steps": steps, "share": share})
    return pd.DataFrame(found, columns=["energy", "downscaler", "steps", "share"])


def flat_from(doubling: pd.DataFrame, flat: float) -> int | None:
    """The fewest steps that are flat for every downscaler, and after which all are; None: none of these."""
    worst = doubling.groupby("steps").share.max().sort_index()
    good = [int(steps) for steps in worst.index if (worst[worst.index >= steps] < flat).all()]
    return good[0] if good else None


def draw(rows: pd.DataFrame, label: str, note: str) -> Figure:
    """What is lost beyond the control, and the control's own S*, against the steps."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, (name, mine) in enumerate(rows.groupby("downscaler", sort=True)):
            for energy, part in mine.groupby("energy"):
                look = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 4, "linewidth": 1.2}
                look |= {"linestyle": "-" if energy else ":", "markerfacecolor": COLOURS[i] if energy else "white"}
                text = f"{name}{'' if energy else ', likelihood alone'}"
                if not part.downscaler_is_control.all():
                    left.plot(part.steps, part.lost, label=text, **look)
                    left.fill_between(
                        part.steps, part.lost_low, part.lost_high, color=COLOURS[i], alpha=0.12, linewidth=0
                    )
                right.plot(part.steps, part.s_star, label=text, **look)
        control = rows[rows.downscaler_is_control].downscaler.iloc[0]
        left.set_ylabel(f"lost beyond {control}, {label}")
        right.set_ylabel(f"S*, {label}")
        for axis in (left, right):
            axis.set_xscale("log")
            axis.set_xticks(sorted(set(rows.steps)))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xlabel("steps of adaptation")
            axis.grid(color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        left.axhline(0, color="0.4", linewidth=0.9)
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        figure.supxlabel(note, fontsize=8, color="0.35")
    return figure


def text_of(rows: pd.DataFrame, doubling: pd.DataFrame, settings: Settings, confidence: float) -> list[str]:
    """Table, and what it says of the budget."""
    lines = []
    control = rows[rows.downscaler_is_control].downscaler.iloc[0]
    for energy, part in rows.groupby("energy", sort=False):
        kind = f"Likelihood and {energy:g} times the energy score" if energy else "Likelihood alone"
        mine = doubling[doubling.energy == energy].set_index(["downscaler", "steps"]).share
        table = []
        for row in part.to_dict("records"):
            lost = (
                "control" if row["downscaler_is_control"] else interval(row["lost"], row["lost_low"], row["lost_high"])
            )
            again = mine.get((row["downscaler"], row["steps"]))
            table.append(
                [
                    row["downscaler"],
                    str(row["steps"]),
                    interval(row["s_star"], row["s_star_low"], row["s_star_high"]),
                    lost,
                    "" if pd.isna(row["share"]) else f"{row['share']:.0%}",
                    "" if again is None else f"{again:+.1%}",
                ]
            )
        head = [
            "downscaler",
            "steps",
            "S*",
            f"lost beyond {control}",
            "of the blind excess",
            "found by as many steps again",
        ]
        lines += [f"## {kind}", "", *markdown_table(head, table), ""]
        pairs = doubling[doubling.energy == energy]
        flat = flat_from(pairs, settings.flat)
        if pairs.empty:
            continue
        if flat is None:
            said = (
                f"**No budget here is flat**: after {pairs.steps.max():g} steps, too, as many again find"
                f" {settings.flat:.0%} or more of the blind excess of some downscaler. What is called lost is"
                " less with a larger budget."
            )
        else:
            said = (
                f"From {flat} steps on, as many steps again find less than {settings.flat:.0%} of the blind excess of"
                " any downscaler."
            )
        lines += [said, ""]
    return [*lines, f"One training each, whose spread is not in the {confidence:.0%} intervals over photographs."]


def main() -> None:
    settings: Settings = validate(
        Settings, read_yaml(Path("budget.yaml"), hint="run this in the folder of the experiment"), where="budget.yaml"
    )
    project = Project()
    recipe = read_recipe(project, "aggregate")
    families = recipe.get("matched")
    if not families:
        raise UserError("params.yaml: no entry of `adapted` has a blind upscaler of its kind: give both")
    lead, confidence = recipe["distortion_order"][0], recipe["confidence"]
    label = recipe["distortions"][lead]["label"]
    rows = curve_of(read_table(project.tables / "matched.csv", hint=HINT), families, lead)
    rows["downscaler_is_control"] = rows.downscaler == rows.control
    if not rows.downscaler_is_control.any():
        raise UserError("params.yaml: downscalers: there is no bicubic, which is the control: add it")
    doubling = found_by_doubling(rows)
    count = int(rows.photographs.max())
    heat = recipe["upscalers"][f"x{rows.factor.iloc[0]}/{rows.blind.iloc[0]}"]["settings"]["heat"]
    note = f"{counted(count, count)}; {confidence:.0%} intervals over photographs, one training each"
    lines = [
        f"# What is lost against the budget: {settings.data}",
        "",
        f"{counted(count, count)}; {label}; the flow at heat {heat:g}.",
        "",
        "![What is lost against the steps of adaptation](curve.png)",
        "",
        *text_of(rows, doubling, settings, confidence),
    ]
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(recipe, folder)
        write_text(folder / "curve.md", "\n".join(lines) + "\n")
        write_table(folder / "curve.csv", rows.drop(columns="downscaler_is_control"))
        save(draw(rows, label, note), folder / "curve")


if __name__ == "__main__":
    exit_with_line(main)

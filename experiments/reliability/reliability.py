"""How far does the score depend on what should not matter? A generalisability study, and a retest.

The downscaler is what is measured. Facets are the photograph, the decoder, its heat (or what else is set) and the
distortion; all cross. Sample is nested in photograph and, with K = 1, part of every component that holds the
photograph: the retest's variant ``seed`` shows it by itself. Values of each distortion are turned so that more is
worse, centred, and divided by their standard deviation: five units become one, and the distortions' own means are zero.

Four universes are asked about, from the narrowest: the primary distortion at the preset heat (photographs vary); at any
heat (and decoder); the mean of the distortions, which are then all there are; any distortion like these. For
each, the coefficients for ranking and for level of a run with n photographs, and one of everything that is not fixed
(Brennan, Generalizability Theory, 2001). For every two neighbours in the ranking, how probable it is that two sets of n
photographs order them differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from crossed import coefficients, flip_probability, label, resampled_flips, study  # type: ignore[import-not-found]
from matplotlib.figure import Figure
from numpy.typing import NDArray
from retest import Settings, check, primary  # type: ignore[import-not-found]

from ida_rd.aggregate.comparisons import rank_agreement
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, by_photograph
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import markdown_table, number
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record

AXES = ("downscaler", "photograph", "decoder", "heat", "distortion")
UNIT = "photograph"


class Cells(NamedTuple):
    """The crossed design: one loss per cell, and the names of each facet's levels."""

    values: NDArray[np.float64]  # axes as AXES
    levels: dict[str, list[str]]
    left_out: int  # photographs that lack a value


class Universe(NamedTuple):
    """What a score is to say something of."""

    title: str
    values: NDArray[np.float64]
    names: tuple[str, ...]
    fixed: Mapping[str, int] = {}


def crossed_cells(plan: dict[str, Any], settings: Settings, photographs: Photographs) -> Cells:
    """Photograph means of all branches as one array.

    Raises
    ------
    UserError
        Decoders with different numbers of settings, or fewer than three photographs that have all values.
    """
    if len({len(names) for names in settings.decoders.values()}) > 1:
        raise UserError("reliability.yaml: decoders: give each as many heats, so that they cross")
    factor = plan["branches"][0]["factor"]
    downscalers = list(dict.fromkeys(branch["downscaler"] for branch in plan["branches"]))
    columns = {}
    for downscaler in downscalers:
        for decoder, names in settings.decoders.items():
            for setting, upscaler in enumerate(names):
                path = f"data/distortion/{upscaler}/x{factor}/{downscaler}.csv"
                rows = read_table(path, hint="run `dvc repro distort`")
                means = rows[rows.finite].groupby("image_id")[plan["distortion_order"]].mean()
                for name in plan["distortion_order"]:
                    sign = -1 if plan["distortions"][name]["better"] == "higher" else 1
                    columns[downscaler, decoder, setting, name] = sign * by_photograph(means[name], photographs)
    table = pd.DataFrame(columns)
    complete = table.dropna()
    if len(complete) < 3:
        raise UserError(f"{len(complete)} photographs have all values; at least three are needed: raise balance.size")
    shape = (len(complete), len(downscalers), len(settings.decoders), -1, len(plan["distortion_order"]))
    values = np.moveaxis(complete.to_numpy(np.float64).reshape(shape), 0, 1)
    levels = {
        "downscaler": downscalers,
        "photograph": list(complete.index),
        "decoder": list(settings.decoders),
        "heat": [str(i) for i in range(values.shape[3])],
        "distortion": list(plan["distortion_order"]),
    }
    return Cells(values, levels, len(set(photographs.values())) - len(complete))


def standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each distortion (the last axis) with mean 0 and standard deviation 1 over all its cells."""
    others = tuple(range(values.ndim - 1))
    spread = values.std(axis=others, keepdims=True)
    return (values - values.mean(axis=others, keepdims=True)) / np.where(spread > 0, spread, 1)


def universes(cells: Cells, settings: Settings, lead: str) -> list[Universe]:
    """The questions, from the narrowest; facets of one level are no facets."""
    values = standardised(cells.values)
    at = cells.levels["distortion"].index(lead)
    decoder = next(i for i, names in enumerate(settings.decoders.values()) if settings.preset in names)
    setting = list(settings.decoders.values())[decoder].index(settings.preset)
    found = [Universe(f"{lead}, {settings.preset}", values[:, :, decoder, setting, at], AXES[:2])]
    kept = [i for i, name in enumerate(AXES) if values.shape[i] > 1]
    wide = values.reshape([values.shape[i] for i in kept])
    names = tuple(AXES[i] for i in kept)
    any_of = " and ".join(name for name in names if name in ("decoder", "heat"))
    last = "distortion" in names
    if any_of:
        narrow = names[:-1] if last else names
        found.append(Universe(f"{lead}, any {any_of}", wide[..., at] if last else wide, narrow))
    if last:
        joined = f", any {any_of}" if any_of else ""
        count = values.shape[-1]
        found.append(Universe(f"mean of these {count} distortions{joined}", wide, names, {"distortion": count}))
        found.append(Universe(f"any distortion{joined}", wide, names))
    return found


def decide(universe: Universe, parts: Mapping[Any, float], photographs: list[int]) -> list[dict[str, Any]]:
    """Coefficients of runs with so many photographs, and one level of every other facet that is not fixed."""
    rows = []
    for count in photographs:
        numbers = {name: universe.fixed.get(name, 1) for name in universe.names} | {"photograph": count}
        relative, absolute = coefficients(parts, numbers, "downscaler", set(universe.fixed))
        row = {"universe": universe.title, "photographs": count}
        rows.append(row | {"ranking": relative, "level": absolute})
    return rows


def flips(wide: pd.DataFrame, settings: Settings, seed: int) -> pd.DataFrame:
    """How probable it is that two sets of photographs disagree about neighbours: rows by pair and number.

    Parameters
    ----------
    wide : DataFrame
        (N photographs, D downscalers), losses.
    """
    order = list(wide.mean().sort_values(kind="stable").index)
    half = len(wide) // 2
    rows = []
    for less, more in pairwise(order):
        values = (wide[more] - wide[less]).to_numpy(np.float64)
        for count in sorted({*settings.photographs, half}):
            row = {"less": less, "more": more, "photographs": count, "difference": float(values.mean())}
            found = resampled_flips(values, count, settings.splits, seed)
            rows.append(row | {"flips": flip_probability(values, count), "resampled": found})
    return pd.DataFrame(rows)


def changes(table: pd.DataFrame, baseline: str, photographs: Photographs) -> pd.DataFrame:
    """What each variant of the retest changes, by variant.

    Returns
    -------
    DataFrame
        photographs; score: mean absolute change of the downscalers' scores; score_photograph: of a photograph's;
        difference, difference_photograph: of the paired differences to the baseline; largest: the largest of the
        former; kendall: agreement of the two rankings.
    """
    rows = []
    for variant, group in table.groupby("variant", sort=False):
        before, after = (
            pd.DataFrame(
                {n: by_photograph(g.set_index("image_id")[when], photographs) for n, g in group.groupby("downscaler")}
            )
            for when in ("before", "after")
        )
        change = (after - before).dropna()
        beyond = change.drop(columns=baseline).sub(change[baseline], axis=0)
        agreement = rank_agreement(before.loc[change.index].mean(), after.loc[change.index].mean())
        rows.append(
            {
                "variant": variant,
                "photographs": len(change),
                "score": float(change.mean().abs().mean()),
                "score_photograph": float(change.abs().to_numpy().mean()),
                "difference": float(beyond.mean().abs().mean()),
                "difference_photograph": float(beyond.abs().to_numpy().mean()),
                "largest": float(beyond.mean().abs().max()),
                "kendall": agreement["kendall"] if agreement else None,
            }
        )
    return pd.DataFrame(rows)


def long(found: dict[str, tuple[Universe, pd.DataFrame]]) -> pd.DataFrame:
    """Components of all universes, one row each."""
    rows = []
    for title, (universe, table) in found.items():
        for effect, row in table.iterrows():
            rows.append({"universe": title, "effect": label(effect, universe.names), **row.drop("ss")})
    return pd.DataFrame(rows)


def text(
    cells: Cells,
    settings: Settings,
    parts: pd.DataFrame,
    decisions: pd.DataFrame,
    flipping: pd.DataFrame,
    changed: pd.DataFrame,
    distance: str,
) -> str:
    """The tables, and what they say."""
    shape = dict(zip(AXES, cells.values.shape, strict=True))
    facets = " x ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in shape.items())
    lines = [f"# How reliable is the score? {settings.data}", "", f"{facets}; one sample per cell."]
    if cells.left_out:
        lines.append(f"{cells.left_out} photographs that lack a value are left out.")
    if shape["decoder"] == 1:
        lines.append("There is one decoder: how far the score depends on the decoder is not measured here.")
    wide = parts[parts.universe == parts.universe.iloc[-1]]
    top = wide.sort_values("share", ascending=False, kind="stable").head(4)
    said = "; ".join(f"{row.effect} {row.share:.0%}" for row in top.itertuples())
    below = [row.effect for row in wide.itertuples() if row.estimate < 0 and row.effect != "distortion"]
    lines += ["", f"Of the variance of a single standardised value, the largest parts are: {said}."]
    if below:
        lines.append(f"Estimates below zero count as zero: {', '.join(below)} (and the distortion's own, by its unit).")
    lines += [
        "",
        "## Variance components",
        "",
        f"Universe: {wide.universe.iloc[0]}. Errors: one photograph left out at a time.",
    ]
    cell = [
        [row.effect, str(int(row.df)), number(row.estimate, 4), number(row.error, 4), f"{row.share:.1%}"]
        for row in wide.itertuples()
    ]
    lines += ["", *markdown_table(["effect", "df", "estimate", "standard error", "share"], cell)]
    lines += ["", "## Coefficients by the number of photographs", ""]
    lines.append("For ranking (generalisability) / for the level (dependability), with one of all that is not fixed.")
    counts = sorted(set(decisions.photographs))
    cell = []
    for title, group in decisions.groupby("universe", sort=False):
        values = group.set_index("photographs")
        both = [f"{values.ranking[n]:.3f} / {values.level[n]:.3f}" for n in counts]
        cell.append([str(title), *both])
    lines += ["", *markdown_table(["universe", *(f"n = {n}" for n in counts)], cell)]
    lines += ["", "## Would other photographs order two neighbours alike?", "", _flip_text(flipping, cells), ""]
    counts = sorted(set(flipping.photographs))
    cell = []
    for (less, more), group in flipping.groupby(["less", "more"], sort=False):
        values = group.set_index("photographs")
        row = [f"{less} < {more}", number(values.difference.iloc[0], 4)]
        for n in counts:
            again = values.resampled[n]
            row.append(f"{values.flips[n]:.3f}" + (f" ({again:.3f})" if pd.notna(again) else ""))
        cell.append(row)
    lines += markdown_table(["pair", "difference", *(f"n = {n}" for n in counts)], cell)
    lines += ["", "## The same photographs again", "", *_changes_text(changed, settings, distance)]
    return "\n".join(lines) + "\n"


def _flip_text(flipping: pd.DataFrame, cells: Cells) -> str:
    count = len(cells.levels["photograph"])
    most = flipping[flipping.photographs == flipping.photographs.max()].sort_values("flips").iloc[-1]
    return (
        "Probability that two sets of n photographs disagree, by the normal approximation; in brackets, the share of"
        f" random disjoint sets among the {count} photographs that do. The approximation takes the observed difference"
        f" for the true one and is too small for near ties. With {most.photographs} photographs, {most.less} and"
        f" {most.more} flip most: probability {most.flips:.2f}."
    )


def _changes_text(changed: pd.DataFrame, settings: Settings, distance: str) -> list[str]:
    over = [row.variant for row in changed.itertuples() if row.largest > settings.smallest]
    within = [row.variant for row in changed.itertuples() if row.largest <= settings.smallest]
    lines = [
        f"{distance}, at {settings.preset}; downscalers {', '.join(settings.retest.downscalers)}; paired differences to"
        f" {settings.baseline}. The smallest difference claimed is {settings.smallest:g}. The largest change of a"
        f" paired difference is above it for {', '.join(over) or 'no variant'}; at or below it for"
        f" {', '.join(within) or 'none'}.",
        "A crop that shows other pixels is another image: what it changes is no error of the instrument.",
        "",
    ]
    head = ["variant", "photographs", "score", "a photograph's score", "difference", "a photograph's difference"]
    head += ["largest change of a difference", "in smallest claims", "Kendall's tau"]
    rows = []
    for row in changed.itertuples():
        values = (row.score, row.score_photograph, row.difference, row.difference_photograph, row.largest)
        tau = "" if row.kendall is None or pd.isna(row.kendall) else number(row.kendall, 2)
        cells = [*(number(value, 4) for value in values), number(row.largest / settings.smallest, 1), tau]
        rows.append([row.variant, str(row.photographs), *cells])
    return [*lines, "Mean absolute changes:", "", *markdown_table(head, rows)]


def draw(parts: pd.DataFrame, decisions: pd.DataFrame, flipping: pd.DataFrame, title: str) -> Figure:
    """Shares of the variance; coefficients for ranking, and flips, by the number of photographs."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 4.2), layout="constrained")
        shares, ranking, pairs = figure.subplots(1, 3)
        counts = sorted(set(decisions.photographs))
        wide = parts[parts.universe == parts.universe.iloc[-1]].iloc[::-1]
        unit = 100 / wide.component.sum()
        shares.barh(wide.effect, unit * wide.component, xerr=unit * wide.error, color=COLOURS[0], ecolor="0.4")
        shares.set_xlim(left=0)
        shares.set_xlabel("% of the variance of one value\n(and standard errors)", fontsize=8)
        shares.tick_params(axis="y", labelsize=7)
        for i, (name, group) in enumerate(decisions.groupby("universe", sort=False)):
            look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4}
            ranking.plot(group.photographs, group.ranking, label=str(name), **look)
        ranking.set_ylabel("coefficient for ranking")
        ranking.set_ylim(np.floor(10 * decisions.ranking.min()) / 10, 1.01)
        drawn = flipping[flipping.photographs.isin(counts)]
        for i, ((less, more), group) in enumerate(drawn.groupby(["less", "more"], sort=False)):
            look = {
                "color": COLOURS[i % len(COLOURS)],
                "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
                "markersize": 4,
            }
            pairs.plot(group.photographs, group.flips, label=f"{less} < {more}", **look)
        pairs.set_ylabel("probability that two sets disagree")
        pairs.set_ylim(-0.01, 0.55)
        for axis in (ranking, pairs):
            axis.set_xscale("log")
            axis.set_xticks(counts, [str(count) for count in counts])
            axis.minorticks_off()
            axis.set_xlabel("photographs")
            axis.legend(fontsize=7, frameon=False)
        figure.suptitle(title, fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    settings = validate(Settings, read_yaml("reliability.yaml", hint=here), where="reliability.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    check(settings, plan)
    photographs = photographs_in(read_table("data/subset.csv", hint="run `dvc repro balance`"))
    lead = primary(plan)
    distance = plan["distortions"][lead]["label"]
    cells = crossed_cells(plan, settings, photographs)
    asked = universes(cells, settings, lead)
    found = {universe.title: (universe, study(universe.values, universe.names, UNIT)) for universe in asked}
    decisions = pd.DataFrame(
        [row for u, table in found.values() for row in decide(u, dict(table.component), settings.photographs)]
    )
    # In the distortion's own unit: a standardised difference is nothing that anybody claims.
    decoder = next(i for i, names in enumerate(settings.decoders.values()) if settings.preset in names)
    setting = list(settings.decoders.values())[decoder].index(settings.preset)
    own = cells.values[:, :, decoder, setting, cells.levels["distortion"].index(lead)]
    wide = pd.DataFrame(own.T, index=cells.levels["photograph"], columns=cells.levels["downscaler"])
    flipping = flips(wide, settings, plan["seed"])
    again = read_table("data/retest.csv", hint="run `dvc repro retest`")
    changed = changes(again, settings.baseline, photographs)
    parts = long(found)
    page = text(cells, settings, parts, decisions, flipping, changed, distance)
    title = f"Reliability on {settings.data}: {len(cells.levels['photograph'])} photographs, one sample per cell"
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(plan, folder)
        write_text(folder / "reliability.md", f"{page}\n![shares, coefficients and flips](figure.png)\n")
        tables = {"decisions": decisions, "flips": flipping, "retest": changed}
        records = {
            name: table.astype(object).where(table.notna(), None).to_dict("records") for name, table in tables.items()
        }
        write_json(folder / "reliability.json", {"photographs": len(wide), "left_out": cells.left_out, **records})
        write_table(folder / "components.csv", parts)
        save(draw(parts, decisions, flipping, title), folder / "figure")
    print(page)


if __name__ == "__main__":
    exit_with_line(main)

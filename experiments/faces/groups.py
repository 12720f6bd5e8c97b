"""Scores of each group of a balanced set of faces, and whether a downscaler loses more on one than on another.

Two questions, for every attribute by which the set was balanced:

* Do the groups' *scores* differ? They may, for reasons that have nothing to do with the downscaler: smooth skin is
  easier to reconstruct than wrinkles and beards, a sharp photograph harder than a blurred one.
* Does what a downscaler loses *beyond the reference* differ, image by image? That is the downscaler's doing.

The groups of one attribute are compared within the cells of all others: labels are shuffled among the photographs of
one cell only, so that age is not mistaken for gender. Groups hold different faces, so nothing is paired between them,
and the sign flips by which downscalers are compared do not apply; shuffled labels test that a face of any group could
have had any other's value. The statistic is the between-group sum of squares; the p-value, the share of shuffles (and
the labels as they are) that reach it; Holm's correction is over all downscalers and attributes of a question. The
effect, eta squared, is the share of the sum of squares that lies between groups. A photograph counts once, whatever
its tiles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import by_photograph, mean_interval, summarise
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.seeds import generator
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import interval, markdown_table, number, p_value, share
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record


class Comparison(Parameters):
    """``groups.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    reference: str
    shuffles: int = Field(default=10000, ge=100)


def shuffle_test(values: NDArray[np.float64], group: pd.Series, stratum: pd.Series, shuffles: int, seed: int) -> float:
    """Test whether the means of groups differ, by shuffling labels within strata.

    Parameters
    ----------
    values : ndarray
        (N,), one value per image.
    group, stratum : Series
        (N,), labels.
    shuffles : int
    seed : int

    Returns
    -------
    float
        p-value, from 1 / (shuffles + 1) up; 1 where there is one group.
    """
    labels, names = pd.factorize(group, sort=True)
    strata, _ = pd.factorize(stratum, sort=True)
    counts = np.bincount(labels, minlength=len(names))
    centred = values - values.mean()

    def between(shuffled: NDArray[np.int64]) -> float:
        return float(np.sum(np.bincount(shuffled, centred, len(names)) ** 2 / counts))

    random = generator("groups", seed, len(values))
    places = [np.flatnonzero(strata == i) for i in range(strata.max() + 1)]
    observed = between(labels)
    reached = 1
    for _ in range(shuffles):
        shuffled = labels.copy()
        for place in places:
            shuffled[place] = random.permutation(labels[place])
        # Sums in a different order differ in their last digits.
        reached += between(shuffled) >= observed * (1 - 1e-9)
    return reached / (shuffles + 1)


def compare(
    means: dict[str, pd.Series],
    subset: pd.DataFrame,
    attributes: list[str],
    compared: Comparison,
    settings: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores by group, and the tests, of one upscaler and factor.

    Parameters
    ----------
    means : dict
        Photograph means by downscaler; more is worse.
    subset : DataFrame
        ``data/subset.csv``, a row per photograph, with the group of each attribute.
    attributes : list of str
    compared : Comparison
    settings : dict
        ``confidence`` of the intervals, and ``seed``.

    Returns
    -------
    groups : DataFrame
        One row per downscaler, attribute and group: photographs, score and beyond the reference, with intervals.
    tests : DataFrame
        One row per question, downscaler and attribute: range of the groups' means, effect, p and p by Holm.

    Raises
    ------
    UserError
        A group with fewer than two photographs.
    """
    groups, tests = [], []
    reference = means[compared.reference]
    for name, values in means.items():
        quantities = {"score": values} | ({"beyond": values - reference} if name != compared.reference else {})
        for attribute in attributes:
            others = [other for other in attributes if other != attribute]
            labels = subset.loc[values.index, attribute]
            stratum = (
                subset.loc[values.index, others].astype(str).agg(" ".join, axis=1)
                if others
                else pd.Series("", index=labels.index)
            )
            by_group: dict[str, dict[str, Any]] = {}
            for quantity, series in quantities.items():
                found = {}
                for group in sorted(labels.unique()):
                    part = series[labels == group]
                    score = _summary(part, settings["confidence"])
                    found[group] = score["mean"]
                    row = by_group.setdefault(group, {"group": group, "photographs": len(part)})
                    row |= {f"{quantity}_{key}": value for key, value in score.items()}
                spread = {"range": max(found.values()) - min(found.values())}
                extremes = {"least": min(found, key=found.__getitem__), "most": max(found, key=found.__getitem__)}
                p = shuffle_test(series.to_numpy(), labels, stratum, compared.shuffles, settings["seed"])
                found_here = {"effect": eta_squared(series.to_numpy(), labels), "p": p}
                where = {"question": quantity, "downscaler": name, "attribute": attribute}
                tests.append(where | spread | extremes | found_here)
            groups += [{"downscaler": name, "attribute": attribute} | row for row in by_group.values()]
    table = pd.DataFrame(tests)
    for question, part in table.groupby("question"):
        table.loc[table.question == question, "p_holm"] = holm(list(part.p))
    return pd.DataFrame(groups), table


def eta_squared(values: NDArray[np.float64], group: pd.Series) -> float:
    """Share of the values' sum of squares that lies between groups; 0 where all are alike."""
    labels, names = pd.factorize(group, sort=True)
    centred = values - values.mean()
    between = np.sum(np.bincount(labels, centred, len(names)) ** 2 / np.bincount(labels, minlength=len(names)))
    total = float(np.square(centred).sum())
    return float(between) / total if total > 0 else 0.0


def _summary(values: pd.Series, confidence: float) -> dict[str, float]:
    if len(values) < 2:
        raise UserError("a group of the test set has fewer than two photographs; raise balance.size")
    low, high = mean_interval(values.to_numpy(np.float64), confidence)
    ends = (np.nan if end is None else end for end in (low, high))
    return {"mean": float(values.mean()), **dict(zip(("ci_low", "ci_high"), ends, strict=True))}


def once(
    means: dict[str, pd.Series], subset: pd.DataFrame, attributes: list[str]
) -> tuple[dict[str, pd.Series], pd.DataFrame]:
    """Count each photograph once: means over its tiles, and its groups."""
    photographs = photographs_in(subset)
    subset = subset.assign(photograph=subset.image_id.map(str).map(photographs))
    mixed = subset.groupby("photograph")[attributes].nunique().max(axis=1) > 1
    if mixed.any():
        raise UserError(
            f"data/subset.csv: tiles of photograph {mixed.idxmax()} are in different groups: balance by attributes"
            " that a photograph's tiles share"
        )
    tables = {name: by_photograph(values, photographs) for name, values in means.items()}
    return tables, subset.drop_duplicates("photograph").set_index("photograph")


def text(groups: pd.DataFrame, tests: pd.DataFrame, compared: Comparison, label: str, title: str, alpha: float) -> str:
    """The tables, and what they say."""
    order = list(dict.fromkeys(groups.sort_values("score_mean", kind="stable").downscaler))
    attributes = list(dict.fromkeys(groups.attribute))
    count = int(groups[(groups.downscaler == order[0]) & (groups.attribute == attributes[0])].photographs.sum())
    lines = [
        f"# Groups of faces: {title}",
        "",
        f"{count} photographs of {compared.data}; {label}, higher is worse.",
        "",
    ]
    for question, about in (("score", "The score"), ("beyond", f"What is lost beyond {compared.reference}")):
        part = tests[tests.question == question]
        if part.empty:
            continue
        seen = part[part.p_holm < alpha]
        if len(seen):
            said = "; ".join(
                f"{row.attribute} for {row.downscaler} (least {row.least}, most {row.most}, {row['range']:.3f} apart,"
                f" {share(row.effect)} of the variance, p {p_value(row.p_holm)})"
                for _, row in seen.iterrows()
            )
            lines += [f"**{about}** differs between groups in {len(seen)} of {len(part)} comparisons: {said}.", ""]
        else:
            lines += [f"**{about}** is not shown to differ between groups in any of {len(part)} comparisons.", ""]
    ranked = {
        (attribute, group): tuple(part.sort_values("score_mean", kind="stable").downscaler)
        for (attribute, group), part in groups.groupby(["attribute", "group"])
    }
    overall = _overall(groups)
    odd = [f"{attribute} {group}" for (attribute, group), ranks in ranked.items() if ranks != overall]
    lines.append(
        f"{len(ranked) - len(odd)} of {len(ranked)} groups rank the downscalers as all faces together do:"
        f" {' < '.join(overall)}.{' Not: ' + ', '.join(odd) + '.' if odd else ''}"
    )
    for attribute in attributes:
        part = groups[groups.attribute == attribute]
        names = list(dict.fromkeys(part.group))
        counts = part.drop_duplicates("group").set_index("group").photographs
        table = []
        for question, prefix in (("score", ""), ("beyond", f"beyond {compared.reference}: ")):
            for name in order:
                test = tests[(tests.question == question) & (tests.downscaler == name) & (tests.attribute == attribute)]
                if test.empty:
                    continue
                rows = part[part.downscaler == name].set_index("group")
                columns = [f"{question}_{key}" for key in ("mean", "ci_low", "ci_high")]
                cells = [interval(*rows.loc[g, columns]) for g in names]
                last = [number(test["range"].iloc[0], 3), share(test.effect.iloc[0]), p_value(test.p_holm.iloc[0])]
                table.append([prefix + name, *cells, *last])
        head = [None, *(f"{name} ({counts[name]})" for name in names), "range", "eta squared", "p (Holm)"]
        lines += ["", f"## {attribute}", "", *markdown_table(head, table)]
    return "\n".join(lines) + "\n"


def _overall(groups: pd.DataFrame) -> tuple[str, ...]:
    """Downscalers by their score over all photographs: means of one attribute's groups, weighted by their size."""
    first = groups[groups.attribute == groups.attribute.iloc[0]]
    totals = (first.score_mean * first.photographs).groupby(first.downscaler).sum()
    return tuple(totals.sort_values(kind="stable").index)


def draw(groups: pd.DataFrame, compared: Comparison, label: str, title: str) -> Figure:
    """One column per attribute: scores above, what is lost beyond the reference below; one colour per group."""
    attributes = list(dict.fromkeys(groups.attribute))
    order = list(_overall(groups))
    with matplotlib.rc_context(STYLE):
        quantities = ["score", "beyond"][: 1 + ("beyond_mean" in groups)]  # the reference alone has nothing beyond it
        size = (1.2 + 2.9 * len(attributes), 0.4 + 2.6 * len(quantities))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(quantities), len(attributes), sharey="row", squeeze=False)
        for column, attribute in enumerate(attributes):
            part = groups[groups.attribute == attribute]
            names = list(dict.fromkeys(part.group))
            for row, quantity in enumerate(quantities):
                axis = axes[row, column]
                shown = [name for name in order if row == 0 or name != compared.reference]
                for i, group in enumerate(names):
                    rows = part[part.group == group].set_index("downscaler").loc[shown]
                    mean, low, high = (rows[f"{quantity}_{key}"].to_numpy() for key in ("mean", "ci_low", "ci_high"))
                    at = np.arange(len(shown)) + (i - (len(names) - 1) / 2) * 0.6 / len(names)
                    error = np.nan_to_num(np.array([mean - low, high - mean])).clip(0)
                    look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "fmt": MARKERS[i % len(MARKERS)]}
                    axis.errorbar(at, mean, yerr=error, markersize=3.5, capsize=1.5, linewidth=1, label=group, **look)
                axis.set_xticks(range(len(shown)), shown, rotation=45, ha="right", fontsize=7)
                axis.grid(axis="y", color="0.92", linewidth=0.7)
                axis.set_axisbelow(True)
                if row == 0:
                    axis.set_title(attribute, fontsize=9)
                    axis.legend(frameon=False, fontsize=7, ncols=2)
        axes[0, 0].set_ylabel(label)
        if "beyond" in quantities:
            axes[1, 0].set_ylabel(f"{label} beyond {compared.reference}")
        figure.suptitle(f"Groups of faces, {title}", fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Comparison, read_yaml("groups.yaml", hint=here), where="groups.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    if compared.reference not in {branch["downscaler"] for branch in plan["branches"]}:
        raise UserError(f"groups.yaml: reference: params.yaml has no downscaler {compared.reference}")
    attributes = list(plan["balance"]["attributes"])
    if not attributes:
        raise UserError("params.yaml: balance.attributes: name the attributes whose groups are to be compared")
    lead = plan["distortion_order"][0]
    label, sign = plan["distortions"][lead]["label"], 1 if plan["distortions"][lead]["better"] == "lower" else -1
    settings = {key: plan[key] for key in ("confidence", "seed")}
    subset = read_table("data/subset.csv", hint="run `dvc repro balance`")
    with atomic_folder(Path("results") / compared.data) as folder:
        write_record(plan, folder)
        pages, all_groups, all_tests = [], [], []
        figures: dict[str, dict[str, Any]] = {}
        for upscaler, factor in sorted({(b["upscaler"], b["factor"]) for b in plan["branches"]}):
            names = [b["downscaler"] for b in plan["branches"] if (b["upscaler"], b["factor"]) == (upscaler, factor)]
            means = {}
            for name in names:
                rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
                means[name] = summarise(rows, lead, confidence=plan["confidence"])[1] * sign
            common = sorted(set.intersection(*(set(values.index) for values in means.values())))
            means = {name: values[common] for name, values in means.items()}
            groups, tests = compare(*once(means, subset, attributes), attributes, compared, settings)
            title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
            minus = "" if sign == 1 else "minus "
            page = text(groups, tests, compared, minus + label, title, 1 - plan["confidence"])
            pages.append(page + f"\n![scores by group]({file}.png)\n")
            save(draw(groups, compared, minus + label, f"{compared.data}, {title}"), folder / file)
            where = {"upscaler": upscaler, "factor": factor}
            all_groups.append(groups.assign(**where))
            all_tests.append(tests.assign(**where))
            counts = tests.assign(seen=tests.p_holm < 1 - plan["confidence"]).groupby("question").seen
            figures.setdefault(upscaler, {})[f"x{factor}"] = {
                question: {"differ": int(seen.sum()), "comparisons": len(seen)} for question, seen in counts
            }
        write_text(folder / "groups.md", "\n".join(pages))
        write_json(folder / "groups.json", figures)
        write_table(folder / "groups.csv", pd.concat(all_groups))
        write_table(folder / "tests.csv", pd.concat(all_tests))
    print("\n".join(pages))


if __name__ == "__main__":
    exit_with_line(main)

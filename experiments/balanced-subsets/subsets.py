"""Table 8 of the supplement: joint entropy and counts of balanced subsets, by K-means and by exact cells.

dvc repro         # in this folder, with the label tables in labels/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from ida_rd.balance.groups import Cells, cells, entropy, maximum_entropy
from ida_rd.balance.stage import select
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.methods import validate
from ida_rd.core.readers import read_yaml
from ida_rd.core.seeds import generator
from ida_rd.core.tables import write_table
from ida_rd.core.typeset import markdown_table, number
from ida_rd.plan.schema import AttributeGroups
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import program

METHODS = {
    "kmeans": "K-means on the features",
    "kmeans-of-cells": "K-means on codes of the cells",
    "stratified": "exact cells",
}
SUMMARY = ("joint_entropy_bits", "empty_cells")
DRAWS = 10000


def read_pool(folder: Path, pool: dict[str, Any]) -> pd.DataFrame:
    """Read a label table; image_id, and one column per attribute."""
    path = folder / pool["file"]
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: put the label tables there, or name their folder in params.yaml (labels)"
        )
    table = pd.read_csv(path, dtype={pool["index"]: str})
    return table.rename(columns={pool["index"]: "image_id"})[["image_id", *pool["attributes"]]]


def measure(table: pd.DataFrame, rules: dict[str, Any], sizes: list[int], *, clusters: int, seed: int) -> pd.DataFrame:
    """Select every size by all methods; one row each: entropies, then images per group of each attribute."""
    known = table.dropna().reset_index(drop=True)
    joint = cells(known, rules)
    place = pd.Series(joint.of, index=known.image_id)
    pool, rows = joint.counts(), []
    for method in METHODS:
        recipe = {"method": method.split("-")[0], "groups": clusters, "seed": seed, "attributes": rules}
        given = table
        if method == "kmeans":  # it sees ages and labels, not in which group we count them
            recipe["attributes"], given = {}, known[joint.of >= 0]
        found = select(given, recipe | {"least_probability": 0.0, "size": max(sizes)}).subset
        order = place[found.sort_values("order").image_id].to_numpy()
        for size in sizes:  # the sequence is nested: the largest set holds the smaller ones
            counts = np.bincount(order[:size], minlength=len(joint.table))
            row = {"method": method, "size": size, "pool_allows_bits": maximum_entropy(size, pool)}
            rows.append(row | _margins(joint, rules, counts))
    rows.append({"method": "pool", "size": int(pool.sum()), **_margins(joint, rules, pool)})
    return pd.DataFrame(rows)


def _margins(joint: Cells, rules: dict[str, Any], counts: NDArray[np.int64]) -> dict[str, float]:
    found: dict[str, float] = {"joint_entropy_bits": entropy(counts), "empty_cells": int((counts == 0).sum())}
    for name in rules:
        for group, count in pd.Series(counts).groupby(joint.table[name].to_numpy(), sort=False).sum().items():
            found[f"{name} {group}"] = int(count)
    return found


def random_draws(size: int, cell_count: int) -> tuple[float, float]:
    """Joint entropy of `size` draws, each from any cell alike: its expectation, exact, and its 1st percentile."""
    count = np.arange(1, size + 1)
    chance = stats.binom.pmf(count, size, 1 / cell_count)
    expected = -cell_count * float((chance * count / size * np.log2(count / size)).sum())
    drawn = generator("uniform", size, cell_count).multinomial(size, np.full(cell_count, 1 / cell_count), DRAWS)
    return expected, float(np.quantile([entropy(counts) for counts in drawn], 0.01))


def markdown(title: str, table: pd.DataFrame, cell_count: int, paper: dict[int, dict[str, Any]]) -> str:
    """Set a pool's table: one row per size, the ways to choose side by side, the paper's entropy beside ours."""
    three = cell_count == 24
    by = {(row["method"], row["size"]): row for row in table.to_dict("records")}
    head = ["images", *METHODS.values(), "most this pool allows", "most possible", "uniform random draws"]
    head += ["paper (another pool)"] if three else []
    rows = []
    for size, row in paper.items():
        most = entropy(np.full(cell_count, size // cell_count) + (np.arange(cell_count) < size % cell_count))
        values = [by[method, size]["joint_entropy_bits"] for method in METHODS]
        values += [by["stratified", size]["pool_allows_bits"], most, random_draws(size, cell_count)[0]]
        values += [row["entropy"]] if three else []
        printed = "" if row["printed"] == size else f" (the paper prints {row['printed']})"
        rows.append([f"{size}{printed}", *(number(value, 4) for value in values)])
    lines = [f"## {title}", "", *markdown_table(head, rows)]
    pool = table[table.method == "pool"].iloc[0]
    lines += ["", f"Joint entropy in bits over {cell_count} cells; the whole pool ({pool['size']:,} faces) has"]
    lines[-1] += f" {pool.joint_entropy_bits:.4f}. Uniform random draws: the expectation."
    margins = [c for c in table.columns if c not in ("method", "size", "pool_allows_bits", *SUMMARY)]
    rows = [
        [METHODS.get(row["method"], row["method"]), str(row["size"]), *(f"{row[name]:,.0f}" for name in margins)]
        for row in table.to_dict("records")
    ]
    return "\n".join([*lines, "", *markdown_table([None, "images", *margins], rows)]) + "\n"


def findings(tables: dict[str, pd.DataFrame], cell_counts: dict[str, int], paper: dict[int, dict[str, Any]]) -> str:
    """What the tables say of the paper's rows, and of its clusters."""
    cell_count = 24
    draws = {size: random_draws(size, cell_count) for size in paper}
    below = [size for size, row in paper.items() if row["entropy"] < draws[size][1]]
    above = [size for size in paper if size not in below]
    rows = [
        f"{size:,}: {row['entropy']:.4f}, draws {draws[size][0]:.4f} (1st percentile {draws[size][1]:.4f})"
        for size, row in paper.items()
    ]
    odd = [f"{row['printed']} sums to {size}" for size, row in paper.items() if row["printed"] != size]
    reached = []
    for name, table in tables.items():
        if cell_counts[name] != cell_count:
            continue
        for method in ("kmeans", "kmeans-of-cells"):
            bits = table[table.method == method].set_index("size").joint_entropy_bits
            least = sum(bits[size] < row["entropy"] for size, row in paper.items())
            reached.append(f"{METHODS[method]} is below the paper at {least} of {len(paper)} sizes in {name}")
    first = min(paper)
    even = entropy(np.full(cell_count, first // cell_count) + (np.arange(cell_count) < first % cell_count))
    were = "were not" if paper[first]["entropy"] < even else "may be"
    return (
        f"The paper's rows are compared at the sizes that their counts sum to: {'; '.join(odd) or 'as printed'}.\n\n"
        f"The paper's entropy lies below 99 % of sets drawn uniformly at random from {cell_count} cells at"
        f" {_sizes(below)}{f', not at {_sizes(above)}' if above else ''} ({'; '.join(rows)}). An even choice from cells"
        f" that have faces enough reaches the most possible, at {first} images {even:.4f}, where the paper has"
        f" {paper[first]['entropy']:.4f} and no cell need have more than {-(-first // cell_count)} faces. So its"
        f" clusters {were} the cells.\n\n"
        "K-means on the features, as the supplement describes it, clusters ages as they are and labels as one-hot"
        " columns. K-means on one-hot codes of the cells clusters as many distinct points as there are clusters, and so"
        f" it is the cells. {'; '.join(reached)}.\n"
    )


def _sizes(sizes: list[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes) or "no size"


def draw(tables: dict[str, pd.DataFrame], cell_counts: dict[str, int], paper: dict[int, dict[str, Any]]) -> Figure:
    """Entropy against the size of the set, one panel per pool."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(tables) + 0.4, 3.2), layout="constrained")
        axes = figure.subplots(1, len(tables), squeeze=False)[0]
        for axis, (name, table) in zip(axes, tables.items(), strict=True):
            for i, (method, label) in enumerate(METHODS.items()):
                rows = table[table.method == method]
                ring = {"markerfacecolor": "none", "markersize": 10} if "cells" in method else {"markersize": 4}
                axis.plot(
                    rows["size"], rows.joint_entropy_bits, MARKERS[i] + "-", color=COLOURS[i], label=label, **ring
                )
            expected = [random_draws(size, cell_counts[name])[0] for size in paper]
            axis.plot(list(paper), expected, color="0.6", linewidth=0.8, label="uniform random draws")
            if cell_counts[name] == 24:
                bits = [row["entropy"] for row in paper.values()]
                axis.plot(list(paper), bits, MARKERS[3] + ":", color=COLOURS[3], label="paper (another pool)")
            pool = float(table[table.method == "pool"].joint_entropy_bits.iloc[0])
            axis.axhline(pool, color="0.6", linewidth=0.8, linestyle="--", label="whole pool")
            axis.axhline(np.log2(cell_counts[name]), color="0.6", linewidth=0.8, linestyle=":", label="even")
            axis.set_title(f"{name}, {cell_counts[name]} cells", fontsize=9)
            axis.set_xscale("log")
            axis.set_xticks(list(paper), [str(size) for size in paper], fontsize=6)
            axis.minorticks_off()
            axis.set_xlabel("images")
        axes[0].set_ylabel("joint entropy (bits)")
        handles = axes[-1].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def main() -> None:
    parameters = read_yaml("params.yaml", hint="run this in experiments/balanced-subsets")
    paper = {sum(row["ages"]): row for row in parameters["paper"]}
    tables, cell_counts, texts = {}, {}, []
    for name, pool in parameters["pools"].items():
        rules = {
            attribute: validate(AttributeGroups, rule, where=f"pools.{name}.{attribute}").model_dump()
            for attribute, rule in pool["attributes"].items()
        }
        table = read_pool(Path(parameters["labels"]), pool)
        joint = cells(table.dropna().reset_index(drop=True), rules)
        cell_counts[name] = len(joint.table)
        clusters = min(parameters["clusters"], int((joint.counts() > 0).sum()))  # some cells may be empty
        tables[name] = measure(table, rules, list(paper), clusters=clusters, seed=parameters["seed"])
        texts.append(markdown(pool["title"], tables[name], cell_counts[name], paper))
    found = findings(tables, cell_counts, paper)
    made = {"program": program(), **{key: parameters[key] for key in ("clusters", "seed", "pools")}}
    files = {pool["file"] for pool in parameters["pools"].values()}
    made["labels"] = {name: sha256_file(Path(parameters["labels"]) / name) for name in files}
    with atomic_folder("results") as folder:
        write_json(folder / "provenance.json", made)
        for name, table in tables.items():
            write_table(folder / f"{name}.csv", table)
        write_text(folder / "table.md", "\n".join(["# Balanced subsets of faces\n", found, *texts]))
        save(draw(tables, cell_counts, paper), folder / "entropy")
    print("\n".join([found, *texts]))


if __name__ == "__main__":
    exit_with_line(main)

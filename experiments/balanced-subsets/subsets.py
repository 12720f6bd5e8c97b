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

from ida_rd.balance.groups import cells, entropy, maximum_entropy
from ida_rd.balance.stage import Selection, select
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_text
from ida_rd.core.methods import validate
from ida_rd.core.readers import read_yaml
from ida_rd.core.tables import write_table
from ida_rd.core.typeset import markdown_table, number
from ida_rd.plan.schema import AttributeGroups
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save

METHODS = ("kmeans", "stratified")
SUMMARY = ("joint_entropy_bits", "empty_cells")


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
    """Select every size by both methods; one row each: entropies, then images per group of each attribute."""
    rows = []
    for method in METHODS:
        # The sequence is nested: the largest set holds the smaller ones.
        recipe = {"method": method, "groups": clusters, "seed": seed, "attributes": rules, "least_probability": 0.0}
        largest = select(table, recipe | {"size": max(sizes)})
        available = largest.groups.pool.to_numpy(np.int64)
        rows += [
            {
                "method": method,
                "size": size,
                "pool_allows_bits": maximum_entropy(size, available),
                **_counts(largest, rules, size),
            }
            for size in sizes
        ]
    pool = select(table, recipe | {"size": max(sizes)}).groups
    rows.append({"method": "pool", "size": int(pool.pool.sum()), **_margins(pool, rules, "pool")})
    return pd.DataFrame(rows)


def _counts(found: Selection, rules: dict[str, Any], size: int) -> dict[str, float]:
    subset = found.subset[found.subset.order <= size]
    groups = found.groups.drop(columns=["chosen"]).merge(
        subset.groupby(list(rules)).size().rename("chosen").reset_index(), how="left", on=list(rules)
    )
    return _margins(groups.fillna({"chosen": 0}), rules, "chosen")


def _margins(groups: pd.DataFrame, rules: dict[str, Any], column: str) -> dict[str, float]:
    counts = groups[column].to_numpy(np.int64)
    found: dict[str, float] = {"joint_entropy_bits": entropy(counts), "empty_cells": int((counts == 0).sum())}
    for name in rules:
        for group, count in groups.groupby(name, sort=False)[column].sum().items():
            found[f"{name} {group}"] = int(count)
    return found


def markdown(title: str, table: pd.DataFrame, cell_count: int, paper: dict[int, float]) -> str:
    """Set a pool's table: one row per size, K-means and exact cells side by side, the paper's entropy beside ours."""
    three = cell_count == 24
    by = {(row["method"], row["size"]): row for row in table.to_dict("records")}
    sizes = sorted({size for method, size in by if method == "kmeans"})
    head = ["images", "K-means", "exact cells", "most this pool allows", "most possible"]
    head += ["paper (another pool)"] if three else []
    rows = []
    for size in sizes:
        most = entropy(np.full(cell_count, size // cell_count) + (np.arange(cell_count) < size % cell_count))
        values = [by[method, size]["joint_entropy_bits"] for method in METHODS]
        values += [by["stratified", size]["pool_allows_bits"], most]
        values += [paper[size]] if three else []
        rows.append([str(size), *(number(value, 4) for value in values)])
    lines = [f"## {title}", "", *markdown_table(head, rows)]
    pool = table[table.method == "pool"].iloc[0]
    lines += ["", f"Joint entropy in bits over {cell_count} cells; the whole pool ({pool['size']:,} faces) has"]
    lines[-1] += f" {pool.joint_entropy_bits:.4f}."
    margins = [c for c in table.columns if c not in ("method", "size", "pool_allows_bits", *SUMMARY)]
    rows = [
        [row["method"], str(row["size"]), *(f"{row[name]:,.0f}" for name in margins)]
        for row in table.to_dict("records")
    ]
    return "\n".join([*lines, "", *markdown_table([None, "images", *margins], rows)]) + "\n"


def draw(tables: dict[str, pd.DataFrame], cell_counts: dict[str, int], paper: dict[int, float]) -> Figure:
    """Entropy against the size of the set, one panel per pool."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(tables) + 0.4, 2.9), layout="constrained")
        axes = figure.subplots(1, len(tables), squeeze=False)[0]
        for axis, (name, table) in zip(axes, tables.items(), strict=True):
            for i, method in enumerate(METHODS):
                rows = table[table.method == method]
                label = {"kmeans": "K-means", "stratified": "exact cells"}[method]
                ring = {"markerfacecolor": "none", "markersize": 10} if method == "kmeans" else {"markersize": 4}
                axis.plot(
                    rows["size"], rows.joint_entropy_bits, MARKERS[i] + "-", color=COLOURS[i], label=label, **ring
                )
            if cell_counts[name] == 24:
                axis.plot(
                    list(paper), list(paper.values()), MARKERS[2] + ":", color=COLOURS[2], label="paper (another pool)"
                )
            pool = float(table[table.method == "pool"].joint_entropy_bits.iloc[0])
            axis.axhline(pool, color="0.6", linewidth=0.8, linestyle="--", label="whole pool")
            axis.axhline(np.log2(cell_counts[name]), color="0.6", linewidth=0.8, linestyle=":", label="even")
            axis.set(title=name, xlabel="images")
        axes[0].set_ylabel("joint entropy (bits)")
        figure.legend(
            *axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8
        )
    return figure


def main() -> None:
    parameters = read_yaml("params.yaml", hint="run this in experiments/balanced-subsets")
    sizes = [int(size) for size in parameters["sizes"]]
    paper = dict(zip(sizes, parameters["paper"], strict=True))
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
        tables[name] = measure(table, rules, sizes, clusters=clusters, seed=parameters["seed"])
        texts.append(markdown(pool["title"], tables[name], cell_counts[name], paper))
    with atomic_folder("results") as folder:
        for name, table in tables.items():
            write_table(folder / f"{name}.csv", table)
        write_text(folder / "table.md", "# Balanced subsets of faces\n\n" + "\n".join(texts))
        save(draw(tables, cell_counts, paper), folder / "entropy")
    print("\n".join(texts))


if __name__ == "__main__":
    exit_with_line(main)

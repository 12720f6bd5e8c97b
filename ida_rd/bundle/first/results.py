"""From distortion rows to scores and comparisons, as version 1 had it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.comparisons import rank_agreement
from ida_rd.aggregate.results import FLAT, Rates, Results, check_rows, image_means
from ida_rd.aggregate.statistics import Photographs
from ida_rd.aggregate.tables import mean_std_csv
from ida_rd.bundle.first.comparisons import differences, halves, ranks
from ida_rd.bundle.first.power import components
from ida_rd.bundle.first.statistics import summarise
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.project import Branch
from ida_rd.core.tables import write_table

__all__ = ["aggregate_1", "write_tables_1"]


def aggregate_1(
    recipe: dict[str, Any],
    photographs: Photographs,
    rows_of: Callable[[Branch], pd.DataFrame],
    rates: Rates,
    flat: Collection[str] = (),
) -> Results:
    """Score every branch of a run, and compare the branches.

    Parameters
    ----------
    recipe : dict
        ``data/plan/aggregate.json``.
    photographs : mapping
        Image ids of the test set; which photographs they are of, version 1 did not know.
    rows_of : callable
        Gives the rows of a branch: see `rows_in`.
    rates : dict
        (downscaler, factor, image id) to bits per HR pixel.
    flat : collection of str
        Ids of the images without structure: see `without_structure`.
    """
    names = recipe["distortion_order"]
    images = list(photographs)
    settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
    summary: dict[str, Any] = {"schema": 3, "skipped": recipe["skipped"]}
    scores, per_image, variance = [], [], []
    for record in recipe["branches"]:
        branch = Branch.of(record)
        columns = asdict(branch)
        rows = rows_of(branch)
        check_rows(rows, branch, images, names)
        upscaler = recipe["upscalers"][f"x{branch.factor}/{branch.upscaler}"]
        rate = pd.Series({i: rates[branch.downscaler, branch.factor, i] for i in sorted(images)})
        counts = {
            "stochastic": bool(upscaler["stochastic"]),
            "marks": ", ".join(upscaler["marks"]),
            "images": int(rows[rows.finite].image_id.nunique()),
            "samples": int(rows.groupby("image_id").size().max()),
            "rate_bpp": float(rate.mean()),
            "nonfinite_rate": float((~rows.finite).mean()),
            "clipped_rate": float(rows.clipped[rows.finite].mean()),
        }
        entry: dict[str, Any] = dict(counts)
        means = pd.DataFrame({"samples": rows[rows.finite].groupby("image_id").size(), "rate_bpp": rate}, rate.index)
        means["samples"] = means["samples"].fillna(0).astype(int)
        for name in names:
            try:
                score, means[name] = summarise(rows, name, **settings)
            except UserError as error:
                raise UserError(f"{branch.path}.csv: {error}") from None
            entry[name] = asdict(score)
            scores.append({**columns, "distortion": name, **asdict(score), **counts})
            parts = components(rows[rows.finite], name)
            variance.append({**columns, "distortion": name, **asdict(parts), "sample_share": parts.share_of_samples()})
        level = summary.setdefault(branch.upscaler, {}).setdefault(f"x{branch.factor}", {})
        level[branch.downscaler] = entry
        means = means.rename_axis("image_id").reset_index()
        per_image.append(pd.DataFrame([columns] * len(means)).join(means))
    table = pd.concat(per_image, ignore_index=True)
    return Results(
        summary=summary,
        scores=pd.DataFrame(scores),
        images=table.assign(**{FLAT: table.image_id.isin(flat)}) if flat else table,
        **_compare(table, recipe["distortions"], names, settings),
        variance=pd.DataFrame(variance).rename(
            columns={"between": "between_images", "within": "between_samples", "samples": "K", "images": "N"}
        ),
    )


def _compare(
    table: pd.DataFrame, distortions: dict[str, Any], names: list[str], settings: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    tested, ranked, agreement = [], [], []
    means = {
        (upscaler, factor, name): wide
        for name in names
        for (upscaler, factor), wide in image_means(table, name, distortions[name]["better"]).items()
    }
    for (upscaler, factor, name), wide in means.items():
        cell = {"upscaler": upscaler, "factor": factor, "distortion": name}
        tested.append(differences(wide, **settings).assign(**cell))
        rank = ranks(wide, settings["confidence"])
        tests = {"friedman_p": rank.friedman_p, "critical_difference": rank.critical_difference, "images": rank.images}
        ranked += [{**cell, "downscaler": d, "mean_rank": float(r), **tests} for d, r in rank.mean.items()]
        split = halves(wide, settings["seed"])
        if split is not None:
            agreement.append({"between": "halves of the images", "a": "", "b": "", **cell, **split})
    for (u, f, d), (v, g, e) in combinations(means, 2):
        if f != g or (u != v) == (d != e):  # one thing differs at a time
            continue
        found = rank_agreement(means[u, f, d].mean(), means[v, g, e].mean())
        if found is not None:
            kind, a, b = ("upscalers", u, v) if u != v else ("distortions", d, e)
            cell = {"upscaler": "" if u != v else u, "factor": f, "distortion": d if u != v else ""}
            agreement.append({"between": kind, "a": a, "b": b, **cell, **found})
    front = ["upscaler", "factor", "distortion"]
    columns = ["between", "a", "b", *front, "downscalers", "kendall", "spearman", "low", "high"]
    joined = pd.concat(tested, ignore_index=True)
    return {
        "differences": joined[[*front, *(c for c in joined if c not in front)]],
        "ranks": pd.DataFrame(ranked),
        "agreement": pd.DataFrame(agreement, columns=columns).sort_values("between", kind="stable", ascending=False),
    }


def write_tables_1(folder: Path, recipe: dict[str, Any], results: Results) -> None:
    """Write the tables that are numbers; of texts, version 1 promised no wording."""
    for stem, table in results.tables().items():
        write_table(folder / f"{stem}.csv", table)
    write_json(folder / "ida_rd.json", results.summary)
    order = recipe["distortion_order"]
    write_table(folder / "leading.csv", results.leading(order[0]))
    write_table(folder / "mean_std.csv", mean_std_csv(results.scores, recipe["distortions"], order))

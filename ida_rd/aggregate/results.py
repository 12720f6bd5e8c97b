"""From distortion rows to scores and comparisons: the numbers of a run, and where they came from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.comparisons import differences, halves, losses, mean_ranks, rank_agreement, wide_by_photograph
from ida_rd.aggregate.power import components
from ida_rd.aggregate.statistics import Photographs, by_photograph, summarise
from ida_rd.core.amounts import rungs_of
from ida_rd.core.errors import UserError
from ida_rd.core.project import Branch
from ida_rd.core.readers import read_json
from ida_rd.core.tables import failed_column, read_table

__all__ = [
    "METRICS_SCHEMA",
    "Results",
    "aggregate",
    "check_rows",
    "environments_in",
    "first_draw_failures",
    "flat_images",
    "photographs_in",
    "provenance",
    "rows_in",
    "without_structure",
]

METRICS_SCHEMA = 4
FLAT = "without_structure"  # column of the manifest, if any image is; see `ida_rd.balance.structure`
# What provenance.json repeats of the recipe.
REPEATED = ("seed", "images", "attributes", "balance", "confidence", "primary", "resamples", "upscalers", "skipped")
VARIANCE = {
    "between": "between_photographs",
    "tiles": "between_images",
    "within": "between_samples",
    "samples": "K",
    "images_each": "M",
    "images": "N",
}
Rates = dict[tuple[str, int, str], float]


@dataclass(frozen=True)
class Results:
    """What is computed from the rows of a run.

    Attributes
    ----------
    summary : dict
        ``summary[upscaler][x<factor>][downscaler]`` holds stochastic, marks, photographs, images, samples,
        rate_bpp, first_draw_failures, nonfinite_rate, clipped_rate, and per distortion the fields of `Score` and
        mean_with_failures.
    scores : DataFrame
        The same, one row per branch and distortion.
    images : DataFrame
        One row per branch and image: its photograph, means over samples of every distortion, and the LR image's rate;
        if any image is without structure, which.
    differences, ranks, agreement, variance : DataFrame
        See `ida_rd.aggregate.comparisons` and `ida_rd.aggregate.power`.
    rungs : frozenset of str
        Downscalers that are rungs of a ladder: they are scored, and compared with none.
    """

    summary: dict[str, Any]
    scores: pd.DataFrame
    images: pd.DataFrame
    differences: pd.DataFrame
    ranks: pd.DataFrame
    agreement: pd.DataFrame
    variance: pd.DataFrame
    rungs: frozenset[str] = frozenset()

    @property
    def shown(self) -> pd.DataFrame:
        """The scores that are compared: without the rungs of a ladder."""
        return self.scores[~self.scores.downscaler.isin(self.rungs)]

    @property
    def flat(self) -> int:
        """How many images are without structure."""
        return flat_images(self.images)

    def metrics(self) -> dict[str, Any]:
        """Scores alone, as scalars: few enough for `dvc metrics diff` and `dvc exp show` to be read."""
        shown = self.shown
        keys = zip(shown.upscaler, shown.factor, shown.downscaler, strict=True)
        metrics: dict[str, Any] = {}
        for (upscaler, factor, downscaler), name, mean in zip(keys, shown.distortion, shown["mean"], strict=True):
            branch = metrics.setdefault(upscaler, {}).setdefault(f"x{factor}", {}).setdefault(downscaler, {})
            branch[name] = float(mean)
        return metrics

    def leading(self, lead: str) -> pd.DataFrame:
        """One row per branch, by the leading distortion: what `dvc plots` draws."""
        keys = ["upscaler", "factor", "downscaler"]
        scores = self.scores[self.scores.distortion == lead]
        ranked = self.ranks[self.ranks.distortion == lead]
        table = scores.merge(ranked[[*keys, "mean_rank"]], on=keys)
        name = table.upscaler + " x" + table.factor.astype(str) + " " + table.downscaler
        columns = ["mean", "ci_low", "ci_high", "rate_bpp", "mean_rank"]
        return pd.concat([name.rename("branch"), table[columns].rename(columns={"mean": "score"})], axis=1)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by the stem of their file."""
        return {
            "ida_rd": self.scores,
            "images": self.images,
            "differences": self.differences,
            "ranks": self.ranks,
            "agreement": self.agreement,
            "variance": self.variance,
        }


def rows_in(folder: Path) -> Callable[[Branch], pd.DataFrame]:
    """The function that reads a branch's rows in ``data/distortion``."""
    return partial(_read_rows, folder)


def _read_rows(folder: Path, branch: Branch) -> pd.DataFrame:
    return read_table(folder / f"{branch.path}.csv", hint="run `dvc repro distort`")


def check_rows(rows: pd.DataFrame, branch: Branch, images: list[str], distortions: list[str]) -> None:
    """Refuse rows that are not of the test set, or lack a distortion."""
    if sorted(set(rows.image_id)) != sorted(images):
        raise UserError(f"{branch.path}.csv: its images are not those of data/subset.csv: run `dvc repro distort`")
    if missing := [name for name in distortions if name not in rows]:
        raise UserError(f"{branch.path}.csv: has no column {', '.join(missing)}: run `dvc repro distort`")


def without_structure(manifest: pd.DataFrame) -> frozenset[str]:
    """Ids of the images without structure, from ``subset.csv``."""
    return frozenset(manifest.image_id[manifest[FLAT].astype(bool)]) if FLAT in manifest else frozenset()


def photographs_in(manifest: pd.DataFrame) -> dict[str, str]:
    """Which photograph each image of ``subset.csv`` is a tile of; before there was that column, each was its own."""
    column = "photograph" if "photograph" in manifest else "image_id"
    return dict(zip(manifest.image_id.map(str), manifest[column].map(str), strict=True))


def first_draw_failures(rows: pd.DataFrame) -> pd.Series:
    """Which samples were not finite when they were first drawn."""
    return (rows.attempts > 1) | ~rows.finite


def flat_images(images: pd.DataFrame) -> int:
    """How many images are without structure, from the table of images."""
    return int(images.image_id[images[FLAT]].nunique()) if FLAT in images else 0


def aggregate(
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
        Image ids of the test set, to the photographs that they are tiles of: see `photographs_in`.
    rows_of : callable
        Gives the rows of a branch: see `rows_in`.
    rates : dict
        (downscaler, factor, image id) to bits per HR pixel.
    flat : collection of str
        Ids of the images without structure: see `without_structure`.
    """
    names = recipe["distortion_order"]
    images = list(photographs)
    summary: dict[str, Any] = {"schema": METRICS_SCHEMA, "skipped": recipe["skipped"]}
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
            "photographs": len({photographs[str(i)] for i in rows[rows.finite].image_id}),
            "images": int(rows[rows.finite].image_id.nunique()),
            "samples": int(rows.groupby("image_id").size().max()),
            "rate_bpp": float(rate.mean()),
            "first_draw_failures": float(first_draw_failures(rows).mean()),
            "nonfinite_rate": float((~rows.finite).mean()),
            "clipped_rate": float(rows.clipped[rows.finite].mean()),
        }
        entry: dict[str, Any] = dict(counts)
        means = pd.DataFrame({"samples": rows[rows.finite].groupby("image_id").size(), "rate_bpp": rate}, rate.index)
        means["samples"] = means["samples"].fillna(0).astype(int)
        means.insert(0, "photograph", [photographs[i] for i in means.index])
        for name in names:
            try:
                score, means[name] = summarise(rows, name, photographs, confidence=recipe["confidence"])
            except UserError as error:
                raise UserError(f"{branch.path}.csv: {error}") from None
            entry[name] = asdict(score) | {"mean_with_failures": _with_failures(rows, name, photographs)}
            scores.append({**columns, "distortion": name, **entry[name], **counts})
            parts = components(rows[rows.finite], name, photographs)
            shares = {"sample_share": parts.share_of_samples(), "design_effect": parts.design_effect()}
            variance.append({**columns, "distortion": name, **asdict(parts), **shares})
        level = summary.setdefault(branch.upscaler, {}).setdefault(f"x{branch.factor}", {})
        level[branch.downscaler] = entry
        means = means.rename_axis("image_id").reset_index()
        per_image.append(pd.DataFrame([columns] * len(means)).join(means))
    table = pd.concat(per_image, ignore_index=True)
    return Results(
        summary=summary,
        scores=pd.DataFrame(scores),
        images=table.assign(**{FLAT: table.image_id.isin(flat)}) if flat else table,
        **_compare(table[~table.downscaler.isin(rungs_of(recipe))], photographs, recipe),
        variance=pd.DataFrame(variance).rename(columns=VARIANCE),
        rungs=rungs_of(recipe),
    )


def _with_failures(rows: pd.DataFrame, name: str, photographs: Photographs) -> float | None:
    """The score if every sample whose first draw was not finite were black, as the official code takes it.

    It does not draw again: NaN becomes 0. None without such samples.
    """
    failed = first_draw_failures(rows)
    column = failed_column(name)
    if not failed.any() or column not in rows:
        return None
    values = rows[name].where(~failed, rows[column])
    return float(by_photograph(values.groupby(rows.image_id).mean(), photographs).mean())


def image_means(table: pd.DataFrame, distortion: str, better: str) -> dict[tuple[str, int], pd.DataFrame]:
    """Losses (N images, D downscalers) by upscaler and factor, from the table of images."""
    found = {}
    for (upscaler, factor), group in table.groupby(["upscaler", "factor"], sort=False):
        wide = group.pivot_table(distortion, "image_id", "downscaler", sort=True, dropna=False)
        found[upscaler, factor] = losses(wide[list(dict.fromkeys(group.downscaler))], better)
    return found


def _compare(table: pd.DataFrame, photographs: Photographs, recipe: dict[str, Any]) -> dict[str, pd.DataFrame]:
    tested, ranked, agreement = [], [], []
    means = {
        (upscaler, factor, name): wide
        for name in recipe["distortion_order"]
        for (upscaler, factor), wide in image_means(table, name, recipe["distortions"][name]["better"]).items()
    }
    settings = {key: recipe[key] for key in ("confidence", "resamples", "seed")}
    for (upscaler, factor, name), wide in means.items():
        cell = {"upscaler": upscaler, "factor": factor, "distortion": name}
        tested.append(differences(wide, photographs, **settings).assign(**cell))
        rank = mean_ranks(wide, photographs)
        ranked += [
            {**cell, "downscaler": d, "mean_rank": float(r), "photographs": rank.photographs}
            for d, r in rank.mean.items()
        ]
        split = halves(wide, photographs, recipe["seed"])
        if split is not None:
            agreement.append({"between": "halves of the photographs", "a": "", "b": "", **cell, **split})
    for (u, f, d), (v, g, e) in combinations(means, 2):
        if f != g or (u != v) == (d != e):  # one thing differs at a time
            continue
        found = rank_agreement(*(wide_by_photograph(means[key], photographs).mean() for key in ((u, f, d), (v, g, e))))
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


def environments_in(folder: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    """What computed the rows of every branch, by its path below ``data/distortion``."""
    paths = [Branch.of(record).path for record in recipe["branches"]]
    return {path: read_json(folder / f"{path}.json", hint="run `dvc repro distort`") for path in paths}


def provenance(recipe: dict[str, Any], dataset_sha256: str, environments: dict[str, Any]) -> dict[str, Any]:
    """Collect what a reader needs to trust or repeat the numbers: recipes, data set, environments.

    Parameters
    ----------
    recipe : dict
        ``data/plan/aggregate.json``.
    dataset_sha256 : str
        Of ``data/subset.csv``.
    environments : dict
        From `environments_in`.
    """
    return {
        "schema": METRICS_SCHEMA,
        "dataset_sha256": dataset_sha256,
        "methods": recipe["recipes"],
        "environments": environments,
        **{key: recipe[key] for key in REPEATED if key in recipe},
    }

"""From distortion rows to scores: the numbers of a run, and where they came from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from stages.aggregate.statistics import summarise
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file
from stages.core.tables import read_table

__all__ = ["METRICS_SCHEMA", "aggregate", "provenance", "read_rows"]

METRICS_SCHEMA = 1


def branch_path(folder: Path, branch: dict[str, Any]) -> Path:
    """Path of a branch's rows below `folder`, without suffix."""
    return folder / branch["upscaler"] / f"x{branch['factor']}" / branch["downscaler"]


def read_rows(folder: Path, branch: dict[str, Any], images: list[str], distortions: list[str]) -> pd.DataFrame:
    """Read a branch's rows and check that they are of the test set and have the distortions."""
    path = Path(f"{branch_path(folder, branch)}.csv")
    rows = read_table(path, hint="run `dvc repro distort`")
    if sorted(set(rows.image_id)) != sorted(images):
        raise UserError(f"{path}: its images are not those of data/subset.csv: run `dvc repro distort`")
    if missing := [name for name in distortions if name not in rows]:
        raise UserError(f"{path}: has no column {', '.join(missing)}: run `dvc repro distort`")
    return rows


def aggregate(
    recipe: dict[str, Any], subset: pd.DataFrame, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score every branch of a run.

    Parameters
    ----------
    recipe : dict
        ``data/plan/aggregate.json``.
    subset : DataFrame
        The test set's manifest.
    folder : Path
        ``data/distortion``.

    Returns
    -------
    metrics : dict
        Scalars only: ``metrics[upscaler][x<factor>][downscaler]`` holds stochastic, images, samples,
        nonfinite_rate, clipped_rate, and per distortion the fields of `Score`.
    results : list of dict
        The same, a row per branch and distortion.
    """
    metrics: dict[str, Any] = {"schema": METRICS_SCHEMA, "skipped": recipe["skipped"]}
    results = []
    names = recipe["distortion_order"]
    for branch in recipe["branches"]:
        rows = read_rows(folder, branch, list(subset.image_id), names)
        upscale = recipe["recipes"][f"upscale/x{branch['factor']}/{branch['upscaler']}"]
        counts = {
            "stochastic": bool(upscale["descriptor"]["stochastic"]),
            "images": int(rows[rows.finite].image_id.nunique()),
            "samples": int(rows.groupby("image_id").size().max()),
            "nonfinite_rate": float((~rows.finite).mean()),
            "clipped_rate": float(rows.clipped[rows.finite].mean()),
        }
        entry: dict[str, Any] = dict(counts)
        for name in names:
            try:
                score, _ = summarise(
                    rows,
                    name,
                    confidence=recipe["confidence"],
                    resamples=recipe["resamples"],
                    seed=recipe["seed"],
                )
            except UserError as error:
                raise UserError(f"{branch_path(folder, branch)}.csv: {error}") from None
            entry[name] = asdict(score)
            results.append({**branch, "distortion": name, **asdict(score), **counts})
        level = metrics.setdefault(branch["upscaler"], {}).setdefault(f"x{branch['factor']}", {})
        level[branch["downscaler"]] = entry
    return metrics, results


def provenance(recipe: dict[str, Any], subset_path: Path, folder: Path) -> dict[str, Any]:
    """Collect what a reader needs to trust or repeat the numbers: recipes, data set, environments."""
    environments = {
        branch_path(Path(), branch).as_posix(): read_json(
            f"{branch_path(folder, branch)}.json", hint="run `dvc repro distort`"
        )
        for branch in recipe["branches"]
    }
    return {
        "schema": METRICS_SCHEMA,
        "seed": recipe["seed"],
        "images": recipe["images"],
        "balance": recipe["balance"],
        "dataset_sha256": sha256_file(subset_path),
        "confidence": recipe["confidence"],
        "resamples": recipe["resamples"],
        "methods": recipe["recipes"],
        "skipped": recipe["skipped"],
        "environments": environments,
    }

"""The test set and the rows of a bundle: are they whole, and may every value be what it is?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.balance.structure import WITHOUT_STRUCTURE
from ida_rd.bundle.folder import Bundle
from ida_rd.bundle.schema import Results
from ida_rd.core.candidates import photograph_of
from ida_rd.core.errors import UserError
from ida_rd.core.project import Branch
from ida_rd.core.tables import failed_column, spread_column
from ida_rd.plan.schema import RunParameters

__all__ = ["row_problems", "test_set"]

ROW = ["image_id", "sample", "finite", "attempts", "clipped"]
MANIFEST = ["image_id", "group", "order", "file", "x", "y", "width", "height", "pixels_sha256"]
MOST_ATTEMPTS = 3
HASH = re.compile(r"[0-9a-f]{64}")
# A float of another library's last digits may leave the range.
SLACK = 1e-6


def test_set(bundle: Bundle, parameters: RunParameters, results: Results) -> tuple[list[str], list[str]]:
    """Image ids of ``subset.csv``, and what is wrong with it."""
    name = "subset.csv"
    table = bundle.table(name)
    if bundle.sha256(name) != results.dataset_sha256:
        return [], [f"{name}: is not the test set whose hash results.json has"]
    wanted = [*MANIFEST, *(key for key in parameters.balance.attributes if key not in MANIFEST)]
    if WITHOUT_STRUCTURE in table:  # it is there if any image is
        wanted.append(WITHOUT_STRUCTURE)
        if table[WITHOUT_STRUCTURE].dtype != bool or not table[WITHOUT_STRUCTURE].any():
            return [], [f"{name}: {WITHOUT_STRUCTURE} is not True for some images and False for the others"]
    if results.schema_version > 1:  # version 1 did not know it
        wanted.append("photograph")
    if odd := sorted(set(table) ^ set(wanted)):
        return [], [f"{name}: {'has no' if odd[0] in wanted else 'has an unknown'} column {odd[0]}"]
    size = parameters.balance.size
    if len(table) != size:
        return [], [f"{name}: has {len(table)} images, params.yaml says {size}"]
    images = [str(i) for i in table.image_id]
    problems = []
    if len(set(images)) != len(images):
        problems.append(f"{name}: an image is in it twice")
    if list(table.order) != list(dict.fromkeys(table.order)) or set(table.order) != set(range(1, size + 1)):
        problems.append(f"{name}: order does not count the images")
    if results.schema_version > 1:
        before = parameters.images.photograph_before
        if list(table.photograph) != [photograph_of(str(file), before) for file in table.file]:
            problems.append(f"{name}: photograph is not what the files' names and images.photograph_before say")
    if not all(isinstance(sha, str) and HASH.fullmatch(sha) for sha in table.pixels_sha256):
        problems.append(f"{name}: pixels_sha256 are no hashes")
    reduced = parameters.images.resize
    if reduced is not None and not ((table.width == table.height) & (table.width >= reduced)).all():
        problems.append(f"{name}: its rectangles are not squares of at least images.resize = {reduced} pixels")
    for column in ("width", "height") if reduced is None else ():
        if any(
            int(side) != side or side < 1 or side % factor for side in table[column] for factor in parameters.factors
        ):
            problems.append(f"{name}: {column} is not a multiple of the factors")
    crop = parameters.images.crop
    if crop is not None and not ((table.width == crop) & (table.height == crop)).all():
        problems.append(f"{name}: the tiles are not of images.crop = {crop} pixels")
    return images, problems


def row_problems(
    bundle: Bundle, results: Results, images: list[str], samples: Mapping[Branch, int]
) -> tuple[dict[Branch, pd.DataFrame], list[str]]:
    """Rows of every branch, and what is wrong with them: every sample of every image, once, and values that may be.

    Parameters
    ----------
    bundle : Bundle
    results : Results
    images : list of str
        Ids of the test set.
    samples : mapping
        How many samples an image has in each branch, by the recipes.
    """
    rows, problems = {}, []
    own = {name: info.model_dump() for name, info in results.distortions.items()}
    for record in results.branches:
        name = record.file
        if name not in bundle.files:
            problems.append(f"{name}: missing")
            continue
        try:
            table = bundle.table(name)
        except UserError as error:
            problems.append(str(error))
            continue
        if bundle.sha256(name) != record.sha256:
            problems.append(f"{name}: its hash differs from results.json")
        if record.samples != samples[record.branch]:
            problems.append(f"{name}: has {record.samples} samples of each image, expected {samples[record.branch]}")
        problem = _shape(table, images, record.samples, results.distortion_order, own) or _values(
            table, results.distortion_order, own
        )
        if problem:
            problems.append(f"{name}: {problem}")
        rows[record.branch] = table
    return rows, problems


def _shape(
    table: pd.DataFrame, images: list[str], samples: int, order: list[str], known: dict[str, dict[str, object]]
) -> str | None:
    spreads = [spread_column(name) for name in order if known[name]["squared"]]
    failed = [failed_column(name) for name in order]
    if any(column in table for column in failed):  # they are there if a sample failed
        spreads += failed
    wanted = [*ROW, *order, *spreads]
    if absent := [column for column in wanted if column not in table]:
        return f"has no column {', '.join(absent)}"
    if extra := [column for column in table if column not in wanted]:
        return f"has an unknown column {extra[0]}"
    if len(table) > len(images) * samples:  # before a set is made of them
        return f"has {len(table)} rows, expected {len(images) * samples}"
    expected = {(image, k) for image in images for k in range(samples)}
    found = set(zip(table.image_id, table["sample"], strict=True))
    if gone := sorted(expected - found):
        return f"{len(gone)} rows are missing, the first of image {gone[0][0]}, sample {gone[0][1]}"
    if len(table) != len(expected):
        return f"has {len(table)} rows, expected {len(expected)}"
    return None


def _values(table: pd.DataFrame, order: list[str], known: dict[str, dict[str, object]]) -> str | None:
    if table.finite.dtype != bool:
        return "finite is neither True nor False everywhere"
    attempts, clipped = table.attempts.to_numpy(float), table.clipped.to_numpy(float)
    if not (np.isin(attempts, range(1, MOST_ATTEMPTS + 1))).all():
        return f"attempts are not from 1 to {MOST_ATTEMPTS}"
    if not ((clipped >= 0) & (clipped <= 1)).all():
        return "clipped is no share, from 0 to 1"
    finite = table.finite.to_numpy()
    if (attempts[~finite] != MOST_ATTEMPTS).any():
        return f"a sample was given up before it was drawn {MOST_ATTEMPTS} times"
    many = int(table["sample"].max()) > 0
    for name in order:
        info = known[name]
        values = table[name].to_numpy(float)
        if np.isnan(values[finite]).any():
            return "a finite sample has no distance"
        if not np.isnan(values[~finite]).all():
            return f"a sample that is not finite has a distance ({name})"
        low, high = (
            (float("-inf") if info["low"] is None else info["low"]),
            (float("inf") if info["high"] is None else info["high"]),
        )
        if not (np.isfinite(values[finite]) & (values[finite] >= low - SLACK) & (values[finite] <= high + SLACK)).all():  # type: ignore[operator]
            return f"{name} leaves its range, from {low} to {high}"
        if problem := _failed(table, name, finite & (attempts == 1), low, high):
            return problem
        if not info["squared"]:
            continue
        spread = table[spread_column(name)].to_numpy(float)
        per_image = table[finite].groupby("image_id").size().reindex(table.image_id).fillna(0).to_numpy()
        should = finite & (per_image > 1)
        if many and (np.isnan(spread[should]).any() or not (spread[should] >= -SLACK).all()):
            return f"{spread_column(name)} is missing or negative"
        if not np.isnan(spread[~should]).all():
            return f"{spread_column(name)} of a single sample, or of one that is not finite"
    return None


def _failed(table: pd.DataFrame, name: str, fine: NDArray[np.bool_], low: Any, high: Any) -> str | None:
    """What is wrong with what a black image scores: it stands beside every sample whose first draw failed."""
    column = failed_column(name)
    if column not in table:
        return None
    values = table[column].to_numpy(float)
    if np.isnan(values[~fine]).any() or not np.isnan(values[fine]).all() or fine.all():
        return f"{column} does not stand beside the samples that were drawn again, and those alone"
    held = values[~fine]
    return None if ((held >= low - SLACK) & (held <= high + SLACK)).all() else f"{column} leaves its range"

"""Choose a balanced test set: K-means groups, and as even a selection from them as they allow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.core.candidates import cut, read_candidate_file
from stages.core.errors import UserError
from stages.core.images import ImageError, pixels_sha256, write_png
from stages.core.seeds import generator

__all__ = ["even_quotas", "group_entropy", "k_means_groups", "select", "write_subset"]

PLACE = {"image_id", "file", "x", "y", "width", "height", "sha256"}


def k_means_groups(attributes: NDArray[np.float64], groups: int, seed: int) -> NDArray[np.int64]:
    """Cluster standardised attributes with K-means (20 starts).

    Parameters
    ----------
    attributes : ndarray
        (N, A), float64, any units.
    groups : int
        Number of clusters.
    seed : int

    Returns
    -------
    ndarray
        (N,) group of each row, 0-based. Groups are numbered by their centres (lexicographic), so
        the numbering does not depend on the starts.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    scale = attributes.std(axis=0)
    standard = (attributes - attributes.mean(axis=0)) / np.where(scale > 0, scale, 1)
    distinct = len(np.unique(standard, axis=0))
    if distinct < groups:
        raise UserError(
            f"balance.groups is {groups}, but the images have only {distinct} different sets of attributes:"
            " choose fewer groups"
        )
    with threadpool_limits(1):  # sums in one order, whatever the machine
        fit = KMeans(n_clusters=groups, n_init=20, random_state=seed).fit(standard)
    rank = np.empty(groups, dtype=np.int64)
    rank[np.lexsort(np.round(fit.cluster_centers_, 9).T[::-1])] = np.arange(groups)
    return rank[fit.labels_]


def even_quotas(available: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share `size` over groups as evenly as `available` members allow; leftovers go to the largest groups."""
    if size > available.sum():
        raise UserError(
            f"balance.size is {size}, but there are only {available.sum()} candidate images: choose fewer,"
            " a smaller images.crop, or more images"
        )
    quotas = np.zeros_like(available)
    while (left := size - quotas.sum()) > 0:
        open_groups = np.flatnonzero(quotas < available)
        share = left // len(open_groups)
        if share:
            quotas[open_groups] += np.minimum(share, (available - quotas)[open_groups])
        else:
            order = sorted(open_groups, key=lambda g: (-(available[g] - quotas[g]), g))
            quotas[order[:left]] += 1
    return quotas


def group_entropy(counts: NDArray[np.int64]) -> float:
    """Joint entropy of the selection over the groups, in bits: ``-sum p log2 p``."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0  # no negative zero


def select(table: pd.DataFrame, groups: int, size: int, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Select `size` images evenly over `groups` clusters of their attributes.

    Independent of the order of the rows. Within a group the images are taken in a seeded order.

    Returns
    -------
    subset : DataFrame
        The chosen rows with a column ``group``, sorted by image id.
    balance : dict
        Counts per group and the joint entropy, in bits, beside its maximum.
    """
    table = table.sort_values("image_id", ignore_index=True)
    names = [name for name in table.columns if name not in PLACE]
    table["group"] = k_means_groups(table[names].to_numpy(np.float64), groups, seed)
    available = np.bincount(table.group, minlength=groups)
    quotas = even_quotas(available, size)
    table["order"] = [generator("select", seed, image_id).random() for image_id in table.image_id]
    chosen = [
        table[table.group == group].sort_values(["order", "image_id"]).head(quota) for group, quota in enumerate(quotas)
    ]
    subset = pd.concat(chosen).sort_values("image_id", ignore_index=True).drop(columns="order")
    balance = {
        "candidates": len(table),
        "images": len(subset),
        "groups": groups,
        "joint_entropy_bits": group_entropy(quotas),
        "maximum_entropy_bits": math.log2(groups),
        "pool_entropy_bits": group_entropy(available),
        "per_group": {f"group-{g + 1:02d}": int(count) for g, count in enumerate(quotas)},
    }
    return subset, balance


def write_subset(subset: pd.DataFrame, folder: str | None, target: Path) -> pd.DataFrame:
    """Write the chosen rectangles as PNG files and return the data set's manifest.

    Raises
    ------
    UserError
        A file changed or vanished since its attributes were computed.
    """
    rows = []
    last: tuple[str, NDArray[np.uint8]] | None = None
    for row in subset.sort_values(["file", "y", "x"]).itertuples():
        if last is None or last[0] != row.file:
            try:
                last = (row.file, read_candidate_file(row.file, folder))
            except ImageError as error:
                raise UserError(f"{row.file}: {error}; run `make repro` again after mending it") from None
        image = cut(last[1], row.x, row.y, row.width, row.height)
        if image.shape != (row.height, row.width, 3):
            raise UserError(f"{row.file}: changed while the pipeline ran; run `make repro` again")
        write_png(target / f"{row.image_id}.png", image)
        place = {name: getattr(row, name) for name in ("image_id", "group", "file", "x", "y", "width", "height")}
        rows.append(place | {"pixels_sha256": pixels_sha256(image)})
    return pd.DataFrame(rows).sort_values("image_id", ignore_index=True)

"""Choose evenly: from clusters of the attributes, or from exact cells. The choice is a sequence.

The sequence goes round the groups, one image of each that has any left, so that every beginning of it is as
even as the groups allow: the first 30 of 300 are a balanced set of 30.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator

__all__ = ["even_quotas", "features", "k_means_groups", "sequence"]

STARTS = 20
ONE_HOT = 20_000_000  # numbers: labels that differ from image to image say nothing, and take much memory


def features(table: pd.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Attributes as numbers: numbers as they are, labels as one column each (one-hot).

    Returns
    -------
    ndarray
        (N, F), float64.
    """
    columns = []
    for name in names:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values):
            columns.append(values.to_numpy(np.float64)[:, None])
        else:
            labels = sorted(values.map(str).unique())
            if len(labels) * len(values) > ONE_HOT:
                raise UserError(
                    f"balance.attributes.{name}: {len(labels)} different labels are too many for K-means: group them"
                )
            columns.append((values.map(str).to_numpy()[:, None] == np.array(labels)[None]).astype(np.float64))
    return np.concatenate(columns, axis=1)


def k_means_groups(attributes: NDArray[np.float64], groups: int, seed: int) -> NDArray[np.int64]:
    """Cluster standardised attributes with K-means (20 starts).

    Identical rows become one row with a weight, which changes nothing but the time.

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
    _, first, inverse, counts = np.unique(standard, axis=0, return_index=True, return_inverse=True, return_counts=True)
    if len(first) < groups:
        raise UserError(
            f"balance.groups is {groups}, but the images have only {len(first)} different sets of attributes:"
            " choose fewer groups"
        )
    order = np.argsort(first)  # distinct rows in the order of the table
    with threadpool_limits(1):  # the same order of sums on every machine
        fit = KMeans(n_clusters=groups, n_init=STARTS, random_state=seed).fit(
            standard[first[order]], sample_weight=counts[order].astype(np.float64)
        )
    rank = np.empty(groups, dtype=np.int64)
    rank[np.lexsort(np.round(fit.cluster_centers_, 9).T[::-1])] = np.arange(groups)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return rank[fit.labels_][place[inverse.ravel()]]


def even_quotas(available: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share `size` over groups as evenly as `available` members allow; leftovers go to the largest groups."""
    if size > available.sum():
        raise UserError(
            f"balance.size is {size}, but there are only {available.sum()} candidate images: choose fewer,"
            " a smaller images.crop, or more images"
        )
    full = 0  # rounds in which every group that has one left gives one
    while np.minimum(available, full + 1).sum() <= size:
        full += 1
        if full >= available.max():
            break
    quotas = np.minimum(available, full)
    left = size - int(quotas.sum())
    open_groups = np.flatnonzero(available > full)
    order = sorted(open_groups, key=lambda group: (-available[group], group))
    quotas[order[:left]] += 1
    return quotas


def sequence(image_ids: pd.Series, group: NDArray[np.int64], seed: int, *, largest_first: bool) -> NDArray[np.int64]:
    """Return the order in which images are chosen: round by round, one of each group that has any left.

    Parameters
    ----------
    image_ids : Series
        (N,), distinct. The order depends on them and the seed, not on the order of rows.
    group : ndarray
        (N,), group of each; -1 is never chosen.
    seed : int
    largest_first : bool
        Within a round: the largest groups first; otherwise a seeded order of the groups.

    Returns
    -------
    ndarray
        Positions of the rows, at most N.
    """
    draws = np.array([generator("select", seed, image_id).random() for image_id in image_ids])
    table = pd.DataFrame({"image_id": image_ids.to_numpy(), "group": group, "draw": draws, "at": np.arange(len(draws))})
    table = table[table.group >= 0].sort_values(["group", "draw", "image_id"])
    table["round"] = table.groupby("group").cumcount()
    if largest_first:
        table["turn"] = -table.groupby("group")["group"].transform("size")
    else:
        count = int(table.group.max()) + 1 if len(table) else 0
        table["turn"] = generator("turns", seed, count).permutation(count)[table.group]
    return table.sort_values(["round", "turn", "group"])["at"].to_numpy(np.int64)

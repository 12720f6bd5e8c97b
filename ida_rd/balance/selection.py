"""Choose evenly: from clusters of the attributes, or from exact cells. The choice is a sequence.

The sequence goes round the groups, one image of each that has any left, so that every beginning of it is as
even as the groups allow: the first 30 of 300 are a balanced set of 30. Tiles of one photograph are no independent
observations: where a photograph has several, evenness over photographs comes first.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.core.errors import UserError
from ida_rd.core.seeds import generator

__all__ = ["even_quotas", "features", "k_means_groups", "sequence"]

# Of each photograph: its tiles by group, the next one last.
Left = dict[str, dict[int, list[int]]]

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


def sequence(
    image_ids: pd.Series,
    group: NDArray[np.int64],
    seed: int,
    *,
    largest_first: bool,
    photographs: pd.Series | None = None,
) -> NDArray[np.int64]:
    """Return the order in which images are chosen: round by round, one of each group that has any left.

    With photographs of several tiles, photographs come first and groups second. Each round takes one tile of every
    photograph that has any left, so that at every beginning of the sequence no photograph has given two more than
    another that still has some: among ``n`` images are at most ``m`` of a photograph, the smallest ``m`` for which the
    sum of ``min(tiles, m)`` over photographs reaches ``n``. Within a round the groups take turns, the one with the
    fewest images so far first; which tile stands for a photograph is matched so that every beginning of the round is
    as even over the groups as the photographs left in it allow. Where every image is a photograph of its own, this is
    the order by groups alone.

    Parameters
    ----------
    image_ids : Series
        (N,), distinct. The order depends on them and the seed, not on the order of rows.
    group : ndarray
        (N,), group of each; -1 is never chosen.
    seed : int
    largest_first : bool
        Within a round: the largest groups first; otherwise a seeded order of the groups.
    photographs : Series, optional
        (N,), of which photograph each is a tile; none: every image is its own.

    Returns
    -------
    ndarray
        Positions of the rows, at most N.
    """
    draws = np.array([generator("select", seed, image_id).random() for image_id in image_ids])
    table = pd.DataFrame({"image_id": image_ids.to_numpy(), "group": group, "draw": draws, "at": np.arange(len(draws))})
    table = table[table.group >= 0].sort_values(["group", "draw", "image_id"])
    if largest_first:
        table["turn"] = -table.groupby("group")["group"].transform("size")
    else:
        count = int(table.group.max()) + 1 if len(table) else 0
        table["turn"] = generator("turns", seed, count).permutation(count)[table.group]
    if photographs is not None:
        table["photograph"] = photographs.to_numpy()[table["at"]]
        if table.photograph.duplicated().any():
            return _photographs_first(table)
    table["round"] = table.groupby("group").cumcount()
    return table.sort_values(["round", "turn", "group"])["at"].to_numpy(np.int64)


def _photographs_first(table: pd.DataFrame) -> NDArray[np.int64]:
    """`sequence` by photographs, then groups.

    Parameters
    ----------
    table : DataFrame
        ``at``, ``group``, ``turn``, ``photograph``; within a group in the order in which its images are taken.
    """
    turn = dict(zip(table.group, table.turn, strict=True))
    taken = dict.fromkeys(turn, 0)
    place = {at: i for i, at in enumerate(table["at"])}
    left: Left = {}
    for photograph, group, at in list(zip(table.photograph, table.group, table["at"], strict=True))[::-1]:
        left.setdefault(photograph, {}).setdefault(group, []).append(at)
    found: list[int] = []
    while left:
        one = _Round(left, place)
        turns = [(taken[group], turn[group], group) for group in one.free]
        heapq.heapify(turns)
        while len(one.turns) < len(left):
            _, _, group = heapq.heappop(turns)
            if one.fill(group):  # otherwise it cannot be filled in this round any more
                taken[group] += 1
                heapq.heappush(turns, (taken[group], turn[group], group))
        for photograph, group in one.turns:
            tiles = left[photograph]
            found.append(tiles[group].pop())
            if not tiles[group]:
                del tiles[group]
            if not tiles:
                del left[photograph]
    return np.array(found, dtype=np.int64)


class _Round:
    """A round, in which every photograph fills one turn of a group that it has a tile in.

    The sets of turns that photographs can fill are a matroid (a transversal one). So to take the next turn whenever
    there is still a photograph for each turn taken gives the evenest beginnings.

    Attributes
    ----------
    free : dict
        Photographs with a tile in each group, the next one last; some that have a turn by now among them.
    turns : list of tuple
        Photograph and group of each turn.
    """

    def __init__(self, left: Left, place: dict[int, int]) -> None:
        self.left = left
        self.free: dict[int, list[str]] = {}
        for photograph, tiles in left.items():
            for group in tiles:
                self.free.setdefault(group, []).append(photograph)
        for group, names in self.free.items():
            names.sort(key=lambda name: -place[left[name][group][-1]])
        self.turns: list[tuple[str, int]] = []
        self.turn_of: dict[str, int] = {}
        # Of a group, and another one: photographs that gave to the other one and could give to this.
        self.movable: defaultdict[int, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))

    def fill(self, group: int) -> bool:
        """Take a turn of `group`, if there is a photograph for it; others may change their group, not their turn."""
        came: dict[int, tuple[str, int] | None] = {group: None}  # who could leave a group, and for which
        queue = deque([group])
        while queue:
            here = queue.popleft()
            names = self.free[here]
            while names and names[-1] in self.turn_of:
                names.pop()
            if names:
                self._move(names.pop(), here, came)
                return True
            for there, movers in self.movable[here].items():
                if there in came:
                    continue
                while movers and self.turns[self.turn_of[movers[-1]]][1] != there:
                    movers.pop()  # it moved on
                if movers:
                    came[there] = (movers[-1], here)
                    queue.append(there)
        return False

    def _move(self, name: str, here: int, came: dict[int, tuple[str, int] | None]) -> None:
        """Let `name` take the turn of who could leave `here`, and so on, until one takes the new turn."""
        while (leaving := came[here]) is not None:
            other, target = leaving
            self._give(name, here, self.turn_of[other])
            name, here = other, target
        self.turns.append((name, here))
        self._give(name, here, len(self.turns) - 1)

    def _give(self, name: str, group: int, turn: int) -> None:
        self.turns[turn], self.turn_of[name] = (name, group), turn
        for other in self.left[name]:
            if other != group:
                self.movable[other][group].append(name)

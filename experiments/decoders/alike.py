"""How alike decoders rank downscalers: Kendall's tau of every two, and which downscalers they order otherwise.

What is inferred is inferred from photographs, as everywhere. A photograph is drawn with all that the decoders make of
it, so that an interval of tau is of both rankings together; its ends are the percentiles at which a mean's would be
Student's (Hesterberg, The American Statistician 69, 2015, section 5.2). How alike halves of the photographs rank says
how much of a ranking is that of the photographs: two decoders see the same ones, and may agree more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ida_rd.aggregate.comparisons import differences, halves, holm, taus, wide_by_photograph
from ida_rd.core.pairs import FEWEST
from ida_rd.core.readers import read_json
from ida_rd.core.seeds import generator
from ida_rd.core.tables import read_table
from ida_rd.study.again import from_images
from ida_rd.study.judge import Result, Setting
from ida_rd.study.settings import Study

AT_ONCE = 4_000_000  # numbers of 8 bytes
DETERMINISTIC = "deterministic"  # the mark of `ida_rd.upscale.contract.Descriptor`
HINT = "run `dvc repro`"


@dataclass(frozen=True)
class Decoder:
    """An upscaler with its settings, at one factor.

    Attributes
    ----------
    result : Result
        Means and their intervals by downscaler, and what a reader must know.
    network : tuple of str
        Hashes of its files: decoders that have them in common are one network in several settings.
    losses : DataFrame
        (P photographs, D downscalers), more is worse.
    order : set of tuple of str
        Pairs of downscalers, of which the first is shown to lose less: see `orders`.
    halves : dict or None
        How alike random halves of the photographs rank: see `ida_rd.aggregate.comparisons.halves`.
    """

    result: Result
    network: tuple[str, ...]
    losses: pd.DataFrame
    order: frozenset[tuple[str, str]]
    halves: Mapping[str, float] | None

    @property
    def name(self) -> str:
        return self.result.upscaler

    @property
    def stochastic(self) -> bool:
        return DETERMINISTIC not in self.result.marks


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b over `downscalers`, and its interval; None where nothing is ranked, or photographs are few."""

    value: float | None
    low: float | None
    high: float | None
    downscalers: int
    photographs: int


@dataclass(frozen=True)
class Pair:
    """Two decoders.

    Attributes
    ----------
    same : bool
        They are one network.
    otherwise : list of tuple of str
        Pairs of downscalers that both order significantly, `a` as they stand here and `b` the other way round.
    """

    a: str
    b: str
    same: bool
    tau: Tau
    otherwise: list[tuple[str, str]]


def decoders_of(study: Study, folder: Path) -> tuple[Setting, dict[int, list[Decoder]]]:
    """Read the results of a study: its decoders by factor."""
    setting, results = from_images(study, folder)
    table = read_table(folder / "images.csv", hint=HINT)
    photographs = dict(zip(table.image_id, table.photograph.astype(str), strict=True))
    upscalers = read_json(folder / "provenance.json", hint=HINT)["upscalers"]
    settings: dict[str, Any] = {key: getattr(setting, key) for key in ("confidence", "resamples", "seed")}
    read: dict[int, list[tuple[Any, ...]]] = {}
    tested: dict[int, list[pd.DataFrame]] = {}
    for result in results:
        images = pd.DataFrame({name: result.sign * c.means for name, c in result.conditions.items()})
        tested.setdefault(result.factor, []).append(differences(images, photographs, **settings))
        network = tuple(sorted(set(_hashes(upscalers.get(f"x{result.factor}/{result.upscaler}", {})))))
        losses, alike = wide_by_photograph(images, photographs), halves(images, photographs, setting.seed)
        read.setdefault(result.factor, []).append((result, network or (result.upscaler,), losses, alike))
    return setting, {
        factor: [
            Decoder(result, network, losses, order, alike)
            for (result, network, losses, alike), order in zip(mine, orders(tested[factor], setting.level), strict=True)
        ]
        for factor, mine in read.items()
    }


def orders(tested: list[pd.DataFrame], level: float) -> list[frozenset[tuple[str, str]]]:
    """Which pairs of downscalers each decoder orders significantly.

    Parameters
    ----------
    tested : list of DataFrame
        Every decoder's `ida_rd.aggregate.comparisons.differences`. What is said of decoders is said of any of them and
        any two downscalers, so that Holm's method is over all of these at once.
    level : float

    Returns
    -------
    list of set of tuple of str
        Of each decoder (loses less, loses more). That any of them is wrong has at most the probability `level`.
    """
    family = pd.concat(tested, keys=range(len(tested)))
    shown = family[np.array(holm(list(family.p))) < level]
    of = shown.index.get_level_values(0)
    return [
        frozenset(zip(shown.loses_less[of == i], shown.loses_more[of == i], strict=True)) for i in range(len(tested))
    ]


def otherwise(a: frozenset[tuple[str, str]], b: frozenset[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of downscalers that one decoder orders so, and another the other way round."""
    return sorted((less, more) for less, more in a if (more, less) in b)


def _hashes(record: Mapping[str, Any]) -> list[str]:
    """Hashes of the files that the record of a method names; one that was adapted has a record for each downscaler."""
    found: list[str] = []
    for key, value in record.items():
        if isinstance(value, Mapping):  # the name of weights among parameters is no mapping
            found += map(str, value.values()) if key in ("weights", "files") else _hashes(value)
    return found


def tau_of(a: pd.DataFrame, b: pd.DataFrame | pd.Series, setting: Setting) -> Tau:
    """Agreement of two decoders, or of one with means that are given.

    Parameters
    ----------
    a : DataFrame
        (P, D), losses of photographs.
    b : DataFrame or Series
        The same of another decoder, or a value per downscaler, which is not drawn.
    setting : Setting

    Returns
    -------
    Tau
        Over the downscalers that both have and the photographs on which all of these have a value; the interval is of
        percentiles of ``resamples`` draws of the photographs.
    """
    fixed = isinstance(b, pd.Series)
    names = [name for name in a if name in (b.index if fixed else b.columns)]
    mine = a[names].dropna()
    if fixed:
        other = np.broadcast_to(b[names].to_numpy(np.float64), mine.shape)
    else:
        theirs = b[names].dropna()
        mine = mine.loc[mine.index.intersection(theirs.index)]
        other = theirs.loc[mine.index].to_numpy(np.float64)
    own, count = mine.to_numpy(np.float64), len(mine)
    if len(names) < 3 or not count:
        return Tau(None, None, None, len(names), count)
    given = other.mean(axis=0, keepdims=True)
    value = float(taus(own.mean(axis=0, keepdims=True), given)[0])
    if np.isnan(value):
        return Tau(None, None, None, len(names), count)
    if count < FEWEST:
        return Tau(value, None, None, len(names), count)
    rng, drawn, left = generator("decoders", setting.seed, count), [], setting.resamples
    while left:
        rows = min(left, max(1, AT_ONCE // (count * len(names))))
        at = rng.integers(0, count, (rows, count))
        means = own[at].mean(axis=1)
        drawn.append(taus(means, np.broadcast_to(given, means.shape) if fixed else other[at].mean(axis=1)))
        left -= rows
    student = float(stats.t.isf(setting.level / 2, count - 1))
    tail = float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * student))
    low, high = np.nanquantile(np.concatenate(drawn), [tail, 1 - tail])
    return Tau(value, float(low), float(high), len(names), count)


def pairs_of(decoders: list[Decoder], setting: Setting) -> list[Pair]:
    """Every two decoders of a factor."""
    return [
        Pair(
            a.name,
            b.name,
            a.network == b.network,
            tau_of(a.losses, b.losses, setting),
            otherwise(a.order, b.order),
        )
        for a, b in combinations(decoders, 2)
    ]


def printed_taus(columns: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], float]:
    """Kendall's tau of every two of the paper's rows."""
    found = {}
    for a, b in combinations(columns, 2):
        names = [name for name in columns[a] if name in columns[b]]
        both = [np.array([[column[name] for name in names]]) for column in (columns[a], columns[b])]
        if len(names) > 2 and not np.isnan(value := float(taus(*both)[0])):
            found[a, b] = value
    return found


def ranks_of(values: Mapping[str, float]) -> pd.Series:
    """Ranks of downscalers, 1 for the one that loses least; ties share theirs."""
    return pd.Series(values, dtype=float).rank()

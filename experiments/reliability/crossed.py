"""Variance components of a fully crossed design, and what they say of other designs (generalisability theory).

Every cell of downscaler x photograph x ... has one value. The analysis of variance divides their spread among the main
effects and all interactions; the expected mean squares of the random model give a component for each (Brennan,
Generalizability Theory, 2001, chapters 3 and 5). A decision study then asks what coefficient a run with so many
photographs would have. The highest interaction holds what is left: that, and all noise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ida_rd.core.seeds import generator

Effect = frozenset[str]


class Coefficients(NamedTuple):
    """Of one design: how much of the variance of its means is the object's own."""

    relative: float  # for ranking: generalisability, E rho^2
    absolute: float  # for the level: dependability, Phi


def effects(names: Sequence[str]) -> list[Effect]:
    """All main effects and interactions, lowest first."""
    return [frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]


def label(effect: Effect, names: Sequence[str]) -> str:
    """An effect as text, its facets in the order of `names`."""
    return " x ".join(name for name in names if name in effect)


def mean_squares(values: NDArray[np.float64], names: Sequence[str]) -> pd.DataFrame:
    """Analyse the variance of a crossed design with one value per cell.

    Parameters
    ----------
    values : ndarray
        One axis per facet, of two levels or more.
    names : sequence of str
        The facets, in the order of the axes.

    Returns
    -------
    DataFrame
        By effect (a frozenset of facets): df, ss, ms.
    """
    axes = {name: i for i, name in enumerate(names)}
    parts: dict[Effect, NDArray[np.float64]] = {frozenset(): values.mean(keepdims=True)}
    rows = {}
    for effect in effects(names):
        others = tuple(i for name, i in axes.items() if name not in effect)
        below = (part for inner, part in parts.items() if inner < effect)
        parts[effect] = values.mean(axis=others, keepdims=True) - sum(below)
        ss = float((parts[effect] ** 2).sum()) * prod(values.shape[i] for i in others)
        df = prod(values.shape[axes[name]] - 1 for name in effect)
        rows[effect] = {"df": df, "ss": ss, "ms": ss / df}
    return pd.DataFrame.from_dict(rows, orient="index")


def components(values: NDArray[np.float64], names: Sequence[str]) -> dict[Effect, float]:
    """Variance components by expected mean squares, all facets random; unbiased, so that some may be negative.

    The expected mean square of an effect S is the sum, over all effects T that hold S, of T's component times the
    number of values per level of T. Inclusion and exclusion solve it.
    """
    squares = mean_squares(values, names).ms
    sizes = dict(zip(names, values.shape, strict=True))
    found = {}
    for effect in squares.index:
        total = sum((-1) ** (len(other) - len(effect)) * squares[other] for other in squares.index if other >= effect)
        found[effect] = float(total / prod(size for name, size in sizes.items() if name not in effect))
    return found


def study(values: NDArray[np.float64], names: Sequence[str], unit: str) -> pd.DataFrame:
    """Components with standard errors (delete one level of `unit` at a time), and shares of their sum.

    Returns
    -------
    DataFrame
        By effect: df, ms, estimate (as computed), component (0 where the estimate is negative), error, share.
    """
    table = mean_squares(values, names)
    table["estimate"] = pd.Series(components(values, names))
    table["component"] = table.estimate.clip(lower=0)
    axis, count = list(names).index(unit), values.shape[list(names).index(unit)]
    if count > 2:
        without = [pd.Series(components(np.delete(values, i, axis), names)) for i in range(count)]
        spread = pd.DataFrame(without)
        table["error"] = np.sqrt((count - 1) * ((spread - spread.mean()) ** 2).mean())
    else:
        table["error"] = np.nan
    total = table.component.sum()
    table["share"] = table.component / total if total > 0 else np.nan
    return table


def coefficients(
    parts: Mapping[Effect, float], numbers: Mapping[str, int], objects: str, fixed: Collection[str] = ()
) -> Coefficients:
    """What a design with `numbers` levels of each facet would have (Brennan, 2001, sections 3.2, 4.4 and 5.3).

    Parameters
    ----------
    parts : mapping
        Effect to its component, at least 0.
    numbers : mapping
        Levels of each facet but the object's.
    objects : str
        The facet that is measured.
    fixed : collection of str
        Facets whose levels are all there are: what the object does on them in the mean is its own.
    """
    true, relative, absolute = 0.0, 0.0, 0.0
    for effect, part in parts.items():
        facets = effect - {objects}
        value = part / prod(numbers[name] for name in facets)
        if facets <= set(fixed):
            true += value if objects in effect else 0.0  # without the object: a constant
        else:
            relative += value if objects in effect else 0.0
            absolute += value
    if true == 0:
        return Coefficients(0.0, 0.0)
    return Coefficients(true / (true + relative), true / (true + absolute))


def flip_probability(differences: NDArray[np.float64], count: int) -> float:
    """Probability that two independent sets of `count` photographs order a pair differently.

    The mean difference of each set is taken to be normal, with the observed mean and the variance of the paired
    differences. A mean that is large by luck makes it too small, most for pairs that are nearly equal.
    """
    spread = float(differences.std(ddof=1))
    if spread == 0:
        return 0.0 if differences.mean() else 0.5
    wrong = float(stats.norm.sf(abs(differences.mean()) / spread * np.sqrt(count)))
    return 2 * wrong * (1 - wrong)


def resampled_flips(differences: NDArray[np.float64], count: int, splits: int, seed: int) -> float | None:
    """Share of random splits in which two disjoint sets of `count` photographs disagree; a mean of 0 is half a flip.

    None where there are fewer than twice as many. At half of the photographs its expectation over photographs is
    the probability itself; one set of photographs estimates it roughly.
    """
    if 2 * count > len(differences):
        return None
    rng = generator("flips", seed, len(differences), count)
    flips = 0.0
    for _ in range(splits):
        chosen = differences[rng.permutation(len(differences))[: 2 * count]]
        signs = np.sign(chosen[:count].mean()) * np.sign(chosen[count:].mean())
        flips += (1 - signs) / 2
    return flips / splits

"""A calibration card: the rows of one upscaler and downscaler, what departs from exact samples, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.aggregate.comparisons import holm
from ida_rd.calibration import ranks
from ida_rd.calibration.coverage import references, tarp_histogram
from ida_rd.calibration.measure import Measured
from ida_rd.calibration.resampling import Estimate, Settings, of_mean, of_means, of_ratio, of_share
from ida_rd.calibration.spread import energy_score
from ida_rd.core.errors import UserError
from ida_rd.core.pairs import FEWEST
from ida_rd.core.seeds import generator

__all__ = ["BALLS", "LEVELS", "OFF", "Card", "make_card"]

Array = NDArray[np.float64]
LEVELS = (0.5, 0.9)
REFERENCES = 8  # of each cell
OFF = 1.0  # levels: beyond it a sample does not fit its LR image; rounding twice gives about half a level
BALLS = "balls"
RATIO, LENGTHS, RANKS, REGIONS = "variance : bias²", "lengths", "ranks", "coverage"
OUTSIDE, MEAN_RANK, MISSES = "outside all samples", "mean rank", "misses LR"
NARROW, WIDE, SHIFTED, OTHER = "too narrow", "too wide", "shifted", "of another shape"
WORDS = (NARROW, WIDE, SHIFTED, OTHER, MISSES)


@dataclass(frozen=True)
class Card:
    """What a card says of an upscaler and a downscaler.

    Attributes
    ----------
    rows : DataFrame
        One row per space and quantity: value, what exact samples have (nan: unknown), interval; where it is a test, p
        and p_holm, corrected for all tests of the card.
    curves : DataFrame
        What the figure draws: rank histograms and coverage, with what exact samples have and the half width of its
        band.
    verdict : dict
        What is seen, of `WORDS`, each with the spaces in which it is; empty if nothing departs.
    samples, images, photographs : int
    energies : DataFrame
        The energy score of each photograph (rows) in each space.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame
    verdict: dict[str, tuple[str, ...]]
    samples: int
    images: int
    photographs: int
    energies: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: Settings = field(default_factory=Settings)


def make_card(measured: Mapping[str, Measured], photographs: Mapping[str, str], settings: Settings) -> Card:
    """Make the card of one upscaler and downscaler.

    Parameters
    ----------
    measured : mapping
        Image id to what was measured of it, all with one K.
    photographs : mapping
        Image id to the photograph that it is a tile of: what is resampled.
    settings : Settings

    Raises
    ------
    UserError
        There are fewer than five photographs.
    """
    ids = sorted(measured)
    names = [photographs[i] for i in ids]
    if len(set(names)) < FEWEST:
        raise UserError(
            f"calibrate: {len(set(names))} photographs: give at least {FEWEST}; an interval over fewer says nothing"
        )
    made = _Rows(settings, [measured[i] for i in ids], names)
    made.ranks()
    made.spread()
    made.balls([tarp_of(i, measured, photographs, settings.seed) for i in ids])
    made.consistency()
    rows = pd.DataFrame(made.rows)
    tested = rows.p.notna()
    rows.loc[tested, "p_holm"] = holm(list(rows.p[tested]))
    count = len(measured[ids[0]].sr)
    verdict = _verdict(rows, 1 - settings.confidence)
    energies = pd.DataFrame(made.energies, index=sorted(set(names)))
    return Card(rows, pd.DataFrame(made.curves), verdict, count, len(ids), len(set(names)), energies, settings)


def tarp_of(image_id: str, measured: Mapping[str, Measured], photographs: Mapping[str, str], seed: int) -> Array:
    """The histogram of an image's balls; references rest on other photographs than its own."""
    mine = measured[image_id]
    others = [measured[i] for i in sorted(measured) if photographs[i] != photographs[image_id]]
    rng = generator("calibration references", seed, image_id)
    drawn = references(mine.plain, [other.hr - other.plain for other in others], REFERENCES, rng)
    return tarp_histogram(mine.hr, mine.sr, drawn)


class _Rows:
    """Rows and curves as they are collected."""

    def __init__(self, settings: Settings, images: Sequence[Measured], names: Sequence[str]) -> None:
        self.settings, self.images = settings, images
        self.mine = [[i for i, name in enumerate(names) if name == one] for one in sorted(set(names))]
        self.rows: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.energies: dict[str, Array] = {}

    def _by_photograph(self, values: Sequence[Any]) -> Array:
        """Means over a photograph's images, (n, ...)."""
        found = np.stack([np.atleast_1d(np.asarray(v, np.float64)) for v in values])
        return np.stack([found[mine].mean(axis=0) for mine in self.mine])

    def _add(self, space: str, quantity: str, exact: float, found: Estimate, *, p: float = math.nan) -> None:
        row = {"space": space, "quantity": quantity, "value": found.value, "exact": exact}
        self.rows.append(row | {"low": found.low, "high": found.high, "p": p, "p_holm": math.nan})

    def _curve(self, space: str, kind: str, at: Array, values: Array, exact: Array) -> None:
        for place, known, found in zip(at, exact, of_means(values, exact, self.settings), strict=True):
            row = {"space": space, "curve": kind, "at": float(place), "value": found.value}
            self.curves.append(row | {"exact": float(known), "band": found.band})

    def _shares(self, space: str, test: str, histograms: Array) -> None:
        """How far shares of ranks are from even, as the share of the originals that would have to move; its p."""
        mean = histograms.mean(axis=0)
        moved = float(np.abs(mean - 1 / len(mean)).sum() / 2)
        nothing = Estimate(moved, math.nan, math.nan, math.nan, math.nan)
        self._add(space, test, 0.0, nothing, p=ranks.uniformity(histograms, self.settings))

    def ranks(self) -> None:
        """Rank histograms of every space."""
        for space in self.images[0].histograms:
            histograms = self._by_photograph([image.histograms[space] for image in self.images])
            bins = histograms.shape[1]
            self._shares(space, RANKS, histograms)
            for quantity, values, exact in (
                (OUTSIDE, ranks.outside(histograms), 2 / bins),
                (MEAN_RANK, ranks.mean_rank(histograms), 0.5),
            ):
                found = of_mean(values, exact, self.settings)
                self._add(space, quantity, exact, found, p=found.p)
            for level in LEVELS:
                found = of_mean(ranks.central_coverage(histograms, level), level, self.settings)
                self._add(space, f"central {level:.0%}", level, found)
            self._curve(space, "ranks", np.arange(bins, dtype=np.float64), histograms, np.full(bins, 1 / bins))

    def spread(self) -> None:
        """Squares and lengths, and the energy score."""
        for space in self.images[0].squares:
            variance, bias = self._by_photograph([image.squares[space] for image in self.images]).T
            found = of_ratio(variance, bias, self.settings)
            # A squared error that is not positive: samples spread far more than they err.
            self._add(space, RATIO, 1.0, found, p=found.p)
        for space in self.images[0].lengths:
            among, to_original = self._by_photograph([image.lengths[space] for image in self.images]).T
            found = of_ratio(among, to_original, self.settings)
            self._add(space, LENGTHS, 1.0, found, p=found.p)
            self.energies[space] = energy_score(among, to_original)
            self._add(space, "energy score", math.nan, of_mean(self.energies[space], 0.0, self.settings))

    def balls(self, histograms: Sequence[Array]) -> None:
        """Coverage of balls about random references."""
        shares = self._by_photograph(histograms)
        self._shares(BALLS, REGIONS, shares)
        for level in LEVELS:
            found = of_mean(ranks.coverage(shares, level), level, self.settings)
            self._add(BALLS, f"coverage {level:.0%}", level, found)
        at = np.arange(1, 20) / 20
        self._curve(BALLS, "coverage", at, np.stack([ranks.coverage(shares, a) for a in at], axis=1), at)

    def consistency(self) -> None:
        """Do samples fit their LR image?"""
        known = [image.off for image in self.images if image.off is not None]
        if len(known) < len(self.images):
            return
        share = self._by_photograph([(off > OFF).mean() for off in known])[:, 0]
        levels = self._by_photograph([off.mean() for off in known])[:, 0]
        self._add("LR", MISSES, 0.0, of_share(share, self.settings))
        self._add("LR", "RMSE of LR", math.nan, of_mean(levels, 0.0, self.settings))


def _verdict(rows: pd.DataFrame, level: float) -> dict[str, tuple[str, ...]]:
    """What departs, in words, and in which spaces."""
    seen: dict[str, list[str]] = {word: [] for word in WORDS}
    for space, mine in rows.groupby("space", sort=False):
        by = {row.quantity: row for row in mine.itertuples()}
        departs = {quantity for quantity, row in by.items() if row.p_holm < level}
        words = {NARROW if by[quantity].value < 1 else WIDE for quantity in departs & {RATIO, LENGTHS}}
        if OUTSIDE in departs:
            words.add(NARROW if by[OUTSIDE].value > by[OUTSIDE].exact else WIDE)
        if MEAN_RANK in departs:
            words.add(SHIFTED)
        if RANKS in departs and not departs & {OUTSIDE, MEAN_RANK}:
            words.add(OTHER)
        if REGIONS in departs:
            # Of a narrow decoder the original lies farther out than its samples do, whatever the reference.
            lacking = sum(by[f"coverage {one:.0%}"].exact - by[f"coverage {one:.0%}"].value for one in LEVELS)
            words.add(NARROW if lacking > 0 else WIDE)
        if MISSES in by and by[MISSES].low > 0:
            words.add(MISSES)
        for word in words:
            seen[word].append(str(space).partition(" ")[0])  # wavelets of all octaves together
    return {word: tuple(dict.fromkeys(spaces)) for word, spaces in seen.items() if spaces}

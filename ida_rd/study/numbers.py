"""Numbers as a study prints them: with three significant digits.

A run's tables have digits by how wide an interval is (`ida_rd.core.typeset.interval`): they show one kind of score
whose size is known. A study shows scores of any size and differences far smaller than these, of which a fixed range of
decimals would leave nothing, side by side: as many digits of each.
"""

from __future__ import annotations

import math

from ida_rd.aggregate.statistics import Difference

__all__ = ["effect", "share", "short", "spread"]

DIGITS = 3
MOST_PLACES = 6


def _places(largest: float) -> int:
    if largest == 0:
        return DIGITS
    return min(MOST_PLACES, max(0, DIGITS - 1 - math.floor(math.log10(abs(largest)))))


def short(value: float, *, like: float | None = None) -> str:
    """A number with three significant digits, or with the places of `like`."""
    return f"{value:.{_places(value if like is None else like)}f}"


def spread(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A value and its interval, if it has one, all with the places that give the largest three significant digits.

    A score is larger than its interval is wide, as a rule; a difference need not be.
    """
    ends = [] if low is None or high is None else [low, high]
    places = _places(max(map(abs, [value, *ends])) if signed else value)
    first, *rest = (f"{x + 0.0:{'+' if signed else ''}.{places}f}" for x in (value, *ends))
    return f"{first} [{', '.join(rest)}]" if rest else first


def effect(difference: Difference) -> str:
    """The mean difference in standard deviations of the photographs' differences; nothing where they do not vary."""
    return "" if difference.effect is None else f"{difference.effect:+.2f}"


def share(difference: Difference) -> str:
    """Share of photographs with the mean's sign; nothing where the mean is zero."""
    return f"{difference.share:.0%}" if difference.mean else ""

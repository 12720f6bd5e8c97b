"""Which unit comes next, where workers may die: a unit that has killed some is tried again, but not for ever.

A worker that dies takes the unit with it that it was computing, and that one alone is blamed. It goes to the back of
the queue; one that has killed two workers runs when nothing else does, after all others, so that it has the whole
memory; one that has killed three is given up, and named when all others are finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ida_rd.core.errors import UserError

__all__ = ["ALONE", "MOST", "Attempts", "poisoned"]

ALONE, MOST = 2, 3  # workers that a unit has killed when it runs alone, and when it is given up
NAMED = 5


def poisoned(label: str, names: Iterable[str]) -> UserError:
    """The line for units that were given up.

    Parameters
    ----------
    label : str
        Of the work.
    names : iterable of str
        Of the units: images.
    """
    found = list(names)
    some = ", ".join(found[:NAMED]) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")
    return UserError(
        f"{label}: image {some} ended {MOST} worker processes, most often for lack of memory; all other images are"
        " finished and kept, so set images.crop to take smaller images, or leave it out, and run again"
    )


class Attempts:
    """Numbers of units, in the order in which they are to be done.

    Parameters
    ----------
    count : int
        How many units there are. What is kept does not grow with it.

    Attributes
    ----------
    again : int
        How often a unit was put back.
    poison : list of int
        Those that were given up.
    """

    def __init__(self, count: int) -> None:
        self._first: Iterator[int] = iter(range(count))
        self._back: deque[int] = deque()
        self._alone: deque[int] = deque()
        self._died: dict[int, int] = {}
        self.again = 0
        self.poison: list[int] = []

    def next(self, running: int) -> int | None:
        """The unit to begin with, if one may begin while `running` others are under way."""
        for number in self._first:
            return number
        if self._back:
            return self._back.popleft()
        return self._alone.popleft() if self._alone and not running else None

    def died(self, number: int, deaths: int | None = None) -> None:
        """A worker died while it was computing this unit; `deaths`: how many have, where that is counted elsewhere."""
        total = self._died.get(number, 0) + 1 if deaths is None else deaths
        self._died[number] = total
        if total >= MOST:
            self.poison.append(number)
            return
        self.again += 1
        (self._alone if total >= ALONE else self._back).append(number)

    def give_back(self, number: int) -> None:
        """Take back a unit that was not begun after all."""
        self._back.appendleft(number)

    def is_alone(self, number: int) -> bool:
        """Whether this unit has ended so many workers that it runs when nothing else does."""
        return self._died.get(number, 0) >= ALONE

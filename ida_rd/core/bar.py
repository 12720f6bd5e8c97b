"""Progress: a bar on a terminal, sparse lines in a log; within a unit too, if its work reports it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

__all__ = ["Progress", "follow", "sometimes"]

Item = TypeVar("Item")

LINE_S = 10  # seconds between lines of a log
TOLD_S = 0.5  # seconds between a unit's own reports


def sometimes(listener: Callable[[float], None]) -> Callable[[float], None]:
    """Pass on reports, at most two per second."""
    last = time.monotonic()

    def tell(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TOLD_S:
            last = now
            listener(done)

    return tell


def follow(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Yield the items, and show how many of `total` are done."""
    bar = Progress(label, total)
    try:
        for item in items:
            yield item
            bar.finished()
    finally:
        bar.close()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Progress:
    """Units done of `total`, on a terminal as a bar, elsewhere as a line about every ten seconds and at the end.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of units.

    Attributes
    ----------
    workers : int
        How many work at it now.
    again : int
        How many units were begun again, since their worker died.
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.workers, self.again = 1, 0
        self._within: dict[int, float] = {}  # of units under way, by worker
        self.started = self.last = time.monotonic()
        self._shown = 0.0
        self._bar = None
        if sys.stderr.isatty():
            form = "{l_bar}{bar}| {n:.4g}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
            self._bar = tqdm(total=total, desc=label, unit="image", leave=True, bar_format=form)

    def within(self, worker: int, done: float) -> None:
        """A unit of `worker` reports the share of it that is done."""
        self._within[worker] = done if done < 1 else 0.0
        self._show()

    def finished(self, worker: int | None = None) -> None:
        """One more unit is done."""
        self.done += 1
        if worker is not None:
            self._within.pop(worker, None)
        elif len(self._within) > self.total - self.done:
            self._within.clear()
        self._show()

    def lost(self, worker: int, again: int) -> None:
        """A worker has died; `again`: how many units have been put back so far."""
        self._within.pop(worker, None)
        self.again = again

    def tick(self) -> None:
        """Show what there is, where it is time."""
        self._show()

    def _show(self) -> None:
        # A unit that has said that it is done counts as such only when its result is here: nothing goes back meanwhile.
        shown = self._shown = max(min(self.done + sum(self._within.values()), self.total), self._shown)
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(self._others()), refresh=False)
            self._bar.update(max(shown - self._bar.n, 0))
            return
        now = time.monotonic()
        if now - self.last >= LINE_S or self.done == self.total:
            self.last = now
            count = f"{self.done}" if shown < self.done + 0.05 else f"{shown:.1f}"
            told = ", ".join([f"{now - self.started:.0f} s", *self._speed(shown, now - self.started), *self._others()])
            print(f"{self.label}: {count}/{self.total} ({told})", file=sys.stderr, flush=True)

    def _speed(self, shown: float, seconds: float) -> list[str]:
        """How fast it goes and how long it will take, when that can be told."""
        if seconds < LINE_S or not shown:
            return []
        each = seconds / shown
        speed = f"{1 / each:.3g} per s" if each < 1 else f"{each:.3g} s each"
        left = (self.total - shown) * each
        return [speed, *([f"{_duration(left)} left"] if shown < self.total else [])]

    def _others(self) -> list[str]:
        """Workers, where there are several, and units that ran again, where there are any."""
        workers = [f"{self.workers} workers"] if self.workers > 1 else []
        return [*workers, *([f"{self.again} ran again"] if self.again else [])]

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

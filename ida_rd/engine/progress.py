"""Progress: a bar on a terminal, sparse lines in a log; within a unit too, if its work reports it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

__all__ = ["Progress", "sometimes"]

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


class Progress:
    """Units done of `total`, on a terminal as a bar, elsewhere as a line about every ten seconds and at the end.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of units.
    """

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self._within: dict[int, float] = {}  # of units under way, by worker
        self.started = self.last = time.monotonic()
        self._shown = 0.0
        self._bar = None
        if sys.stderr.isatty():
            form = "{l_bar}{bar}| {n:.4g}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
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

    def _show(self) -> None:
        # A unit that has said that it is done counts as such only when its result is here: nothing goes back meanwhile.
        shown = self._shown = max(min(self.done + sum(self._within.values()), self.total), self._shown)
        if self._bar is not None:
            self._bar.update(max(shown - self._bar.n, 0))
            return
        now = time.monotonic()
        if now - self.last >= LINE_S or self.done == self.total:
            self.last = now
            count = f"{self.done}" if shown < self.done + 0.05 else f"{shown:.1f}"
            print(f"{self.label}: {count}/{self.total} ({now - self.started:.0f} s)", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()

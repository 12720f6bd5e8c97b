"""Progress: a bar on a terminal, sparse lines in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

__all__ = ["progress"]


class _SparseLines:
    """Progress for logs: a line at the start, about every ten seconds, and at the end."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.started = self.last = time.monotonic()

    def update(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if now - self.last >= 10 or self.done == self.total:
            self.last = now
            print(f"{self.label}: {self.done}/{self.total} ({now - self.started:.0f} s)", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def progress(label: str, total: int) -> tqdm | _SparseLines:
    """A progress bar on a terminal, sparse lines elsewhere; both have ``update(n)`` and ``close()``."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=label, unit="image", leave=True)
    return _SparseLines(label, total)

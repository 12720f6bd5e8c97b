"""A run's units on a cluster: a few tasks in flight for every worker, and units whose worker died begun again."""

from __future__ import annotations

import pickle
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from ida_rd.core.bar import Progress
from ida_rd.core.errors import UserError
from ida_rd.core.temporary import remove_stale, temporary_folder
from ida_rd.engine.attempts import Attempts, poisoned
from ida_rd.engine.cluster import remote
from ida_rd.engine.cluster.connect import (
    ANSWER_S,
    LOOK_S,
    KilledWorker,
    await_workers,
    connected,
    gone,
    no_workers,
    show,
    time_limit,
    tolerate,
    workers_of,
)
from ida_rd.engine.cluster.look import meet, write_order
from ida_rd.engine.store import Store
from ida_rd.engine.times import Spent
from ida_rd.engine.units import Task, Unit, Work, name_of

__all__ = ["run_on_cluster"]

AHEAD = 2  # tasks in flight per worker
# A task costs a scheduler some milliseconds. So units that take less go together, as many as take about this.
TOGETHER_S = 0.2
MOST_TOGETHER = 50
SOFTENED = 0.7  # of a unit that took long, per task: it may not be the last


def _by_name() -> Callable[..., Any]:
    """What a task calls: it finds `remote.compute` where it runs, since the scheduler looks into it and has no such."""

    def compute(*arguments: Any) -> Any:
        import importlib

        return importlib.import_module("ida_rd.engine.cluster.remote").compute(*arguments)

    return compute


def run_on_cluster(
    work: Work, recipe: Any, waiting: list[Task], store: Store, told: Callable[[str, Any], None]
) -> Iterator[Unit]:
    """Yield units as what was missing of them is in the store; `told` hears what each took, where that can be asked.

    Raises
    ------
    UserError
        What a unit raised; a worker that differs; no workers, no scheduler; or units that ended three workers, after
        all others.
    """
    limit = time_limit()
    store.root.mkdir(parents=True, exist_ok=True)
    remove_stale(store.root)
    with connected() as client, temporary_folder(store.root) as folder:
        workers = await_workers(client, limit)
        show(client, len(workers))
        tolerate(client)
        order = write_order(folder, work, recipe, store)
        kind = meet(client, order, work.label)
        bar = Progress(work.label, len(waiting))
        run = _Run(client, order, kind, waiting, limit, bar, store, told)
        bar.workers = len(workers)
        try:
            yield from run.units()
        finally:
            run.cancel()
            bar.close()


class _Run:
    def __init__(
        self,
        client: Any,
        order: remote.Order,
        kind: str,
        waiting: list[Task],
        limit: float,
        bar: Progress,
        store: Store,
        told: Callable[[str, Any], None],
    ) -> None:
        self.client, self.order, self.kind, self.waiting = client, order, kind, waiting
        self.limit, self.bar, self.store, self.told = limit, bar, store, told
        self.compute = _by_name()
        self.attempts = Attempts(len(waiting))
        self.flying: dict[Any, list[int]] = {}  # numbers of units by their future
        self.under_way: set[int] = set()
        self.together, self.longest_s = 1, TOGETHER_S  # units of a task, and what one of them may take
        self.serial = count()
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.looked = self.seen = time.monotonic()

    def units(self) -> Iterator[Unit]:
        while True:
            self._begin()
            if not self.flying:
                break
            with suppress(queue.Empty):
                for number, spent in self._take(self.ended.get(timeout=LOOK_S)):
                    self.told(name_of(self.waiting[number]), spent)
                    yield self.waiting[number][0]
                    if not self.flying:  # the last line tells all
                        self.bar.again = self._died()
                    self.bar.finished()
            if self.flying and time.monotonic() - self.looked > LOOK_S:
                self._look()
        self.bar.again = self._died()
        if self.attempts.poison:
            raise poisoned(self.bar.label, [name_of(self.waiting[number]) for number in self.attempts.poison])

    def _begin(self) -> None:
        """Keep a few tasks in flight for every worker."""
        most = AHEAD * max(self.bar.workers, 1)
        while len(self.flying) < most:
            left = len(self.waiting) - self.bar.done - len(self.under_way)
            numbers: list[int] = []
            while len(numbers) < max(min(self.together, left // most), 1):  # at the end, all have something to do
                number = self.attempts.next(len(self.under_way) + len(numbers))
                if number is None:
                    break
                numbers.append(number)
            if not numbers:
                return
            alone = self.attempts.is_alone(numbers[0])  # then nothing else is under way
            tasks = pickle.dumps([(number, self.waiting[number]) for number in numbers])
            key = f"ida-rd-{self.order.sha256[:12]}-{Path(self.order.folder).name}-{numbers[0]}-{int(alone)}"
            try:
                future = self.client.submit(
                    self.compute, *self.order, tasks, self.kind, alone, key=f"{key}-{next(self.serial)}", pure=False
                )
            except (OSError, RuntimeError, ValueError):
                raise gone(self.client) from None
            self.flying[future] = numbers
            self.under_way.update(numbers)
            future.add_done_callback(self.ended.put)

    def _take(self, future: Any) -> list[tuple[int, Any]]:
        """Units that are finished, with what each took; others are put back."""
        numbers = self.flying.pop(future, None)
        if numbers is None:
            return []
        self.under_way.difference_update(numbers)
        if future.status == "finished":
            found = self._result(future, numbers)
            future.release()
            for number, met in found:
                if isinstance(met, remote.Met):
                    self.attempts.died(number, met.deaths)
            return [(number, spent) for number, spent in found if not isinstance(spent, remote.Met)]
        if future.status in ("lost", "pending") and self.client.status == "running":  # its worker went at that moment
            future.release()
            return self._of_store(numbers)
        if future.status != "error":
            raise gone(self.client)
        try:
            error = future.exception(timeout=ANSWER_S)
        except (OSError, TimeoutError):
            raise gone(self.client) from None
        future.release()
        if isinstance(error, KilledWorker):  # a scheduler that did not take the higher limit
            for number in reversed(numbers[1:]):
                self.attempts.give_back(number)
            self.attempts.died(numbers[0])
            return []
        if isinstance(error, remote.Refused):
            raise UserError(f"{self.bar.label}: worker {error}")
        raise error

    def _result(self, future: Any, numbers: list[int]) -> list[tuple[int, Any]]:
        try:
            found = future.result(timeout=LOOK_S)
        except Exception:  # its worker may be gone
            return self._of_store(numbers)
        longest = max((spent.seconds for _, spent in found if isinstance(spent, Spent)), default=0.0)
        self.longest_s = max(longest, SOFTENED * self.longest_s)
        self.together = max(1, min(int(TOGETHER_S / max(self.longest_s, 1e-9)), MOST_TOGETHER))
        return found

    def _of_store(self, numbers: list[int]) -> list[tuple[int, Any]]:
        """Those that are finished, whoever did it; the others are put back."""
        kept = [number for number in numbers if self._kept(number)]
        for number in reversed(numbers):
            if number not in kept:
                self.attempts.give_back(number)
        return [(number, None) for number in kept]

    def _kept(self, number: int) -> bool:
        unit, missing = self.waiting[number]
        return all(self.store.get(unit.keys[part]) is not None for part in missing)

    def _look(self) -> None:
        """Look whether the scheduler and any worker are still there."""
        found = workers_of(self.client)
        self.looked = time.monotonic()
        self.bar.workers = len(found)
        if found:
            self.seen = self.looked
        elif self.looked - self.seen > self.limit:
            raise no_workers(self.limit)
        self.bar.again = self._died()
        self.bar.tick()

    def _died(self) -> int:
        """How many workers have died under their units: those left marks."""
        found = remote.marks(Path(self.order.folder))
        return sum(max(marks - (number in self.under_way), 0) for number, marks in found.items())

    def cancel(self) -> None:
        """Let the scheduler forget what is not begun; what a worker has begun it finishes, and keeps."""
        if self.flying and self.client.status == "running":
            with suppress(Exception):
                self.client.cancel(list(self.flying), force=True)

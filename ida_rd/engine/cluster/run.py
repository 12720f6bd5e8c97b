"""A run's units on a cluster: a few in flight for every worker, and those of workers that died again."""

from __future__ import annotations

import pickle
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

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
from ida_rd.engine.progress import Progress
from ida_rd.engine.store import Store
from ida_rd.engine.units import Task, Unit, Work, name_of

__all__ = ["run_on_cluster"]

AHEAD = 2  # units in flight per worker


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
        run = _Run(client, order, kind, waiting, limit, bar, told)
        bar.workers = len(workers)
        try:
            yield from run.units()
        finally:
            run.cancel()
            bar.close()


class _Run:
    def __init__(
        self, client: Any, order: remote.Order, kind: str, waiting: list[Task], limit: float, bar: Progress, told: Any
    ) -> None:
        self.told, self.spent = told, None  # what the last unit took
        self.client, self.order, self.kind, self.waiting = client, order, kind, waiting
        self.limit, self.bar = limit, bar
        self.compute = _by_name()
        self.attempts = Attempts(len(waiting))
        self.flying: dict[int, Any] = {}  # futures by number of unit
        self.ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.looked = self.seen = time.monotonic()

    def units(self) -> Iterator[Unit]:
        while True:
            self._begin()
            if not self.flying:
                break
            with suppress(queue.Empty):
                number, future = self.ended.get(timeout=LOOK_S)
                if self._take(number, future):
                    self.told(name_of(self.waiting[number]), self.spent)
                    yield self.waiting[number][0]
                    if not self.flying:  # the last line tells all
                        self.bar.again = self._died()
                    self.bar.finished()
            if time.monotonic() - self.looked > LOOK_S:
                self._look()
        self.bar.again = self._died()
        if self.attempts.poison:
            raise poisoned(self.bar.label, [name_of(self.waiting[number]) for number in self.attempts.poison])

    def _begin(self) -> None:
        """Keep a few units in flight for every worker."""
        while len(self.flying) < AHEAD * max(self.bar.workers, 1):
            number = self.attempts.next(len(self.flying))
            if number is None:
                return
            alone = self.attempts.is_alone(number)
            arguments = (*self.order, number, pickle.dumps(self.waiting[number]), self.kind, alone)
            key = f"ida-rd-{self.order.sha256[:12]}-{Path(self.order.folder).name}-{number}-{int(alone)}"
            try:
                future = self.client.submit(self.compute, *arguments, key=key, pure=False)
            except (OSError, RuntimeError, ValueError):
                raise gone(self.client) from None
            self.flying[number] = future
            future.add_done_callback(partial(self._end, number))

    def _end(self, number: int, future: Any) -> None:
        self.ended.put((number, future))

    def _take(self, number: int, future: Any) -> bool:
        """Whether a unit is finished; it may be put back."""
        if number not in self.flying or self.flying[number] is not future:
            return False
        if future.status == "finished":
            self.flying.pop(number)
            self.spent = None
            with suppress(Exception):  # its worker may be gone: the unit is in the store all the same
                self.spent = future.result(timeout=LOOK_S)
            future.release()
            return True
        if future.status != "error":
            raise gone(self.client)
        self.flying.pop(number)
        try:
            error = future.exception(timeout=ANSWER_S)
        except (OSError, TimeoutError):
            raise gone(self.client) from None
        future.release()
        if isinstance(error, remote.Met):
            self.attempts.died(number, error.args[0])
            return False
        if isinstance(error, KilledWorker):  # a scheduler that did not take the higher limit
            self.attempts.died(number)
            return False
        if isinstance(error, remote.Refused):
            raise UserError(f"{self.bar.label}: worker {error}")
        raise error

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
        return sum(max(count - (number in self.flying), 0) for number, count in found.items())

    def cancel(self) -> None:
        """Let the scheduler forget what is not begun; what a worker has begun it finishes, and keeps."""
        if self.flying and self.client.status == "running":
            with suppress(Exception):
                self.client.cancel(list(self.flying.values()), force=True)

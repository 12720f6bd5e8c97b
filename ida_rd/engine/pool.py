"""Worker processes of this machine, each with a pipe of its own: one that dies costs the unit that it was computing.

`concurrent.futures` gives up a whole pool for one worker, since it cannot tell which unit that had.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

from ida_rd.core.bar import Progress, sometimes
from ida_rd.core.ending import WORKER_S, end_by_signal, leave, stop, undisturbed, unwatched
from ida_rd.core.errors import UserError
from ida_rd.core.progress import listening
from ida_rd.core.temporary import inherit, use_run_folder
from ida_rd.engine.attempts import MOST, Attempts, poisoned
from ida_rd.engine.owner import resting

__all__ = ["run_in_processes", "start_method"]

PARENT_S = 0.3  # between looks whether the parent lives
LOOK_S = 1.0  # between looks at workers whose end no pipe told: what they started may hold it
CLOSING_S = 10.0  # that a worker has to end by itself when there is no more work
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, <linux/prctl.h>
READY, WITHIN, DONE, FAILED = "ready", "within", "done", "failed"


def _serve(make_worker: Callable[[], Callable], connection: Connection, parent: int, folder: Path) -> None:
    """What a worker process does: a unit at a time, until it is given none."""
    end_by_signal()
    # A worker whose parent was killed must not wait for work forever.
    threading.Thread(target=_end_with_parent, args=(parent, folder), daemon=True).start()
    use_run_folder(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    with suppress(OSError, EOFError):  # the parent is gone
        try:
            worker = make_worker()
        except BaseException as error:
            _fail(connection, error)
            return
        connection.send((READY, None))
        while (task := connection.recv()) is not None:
            try:
                with listening(sometimes(partial(_tell, connection))):
                    result = worker(task[0])
                message = DONE, result
            except BaseException as error:
                _fail(connection, error)
                continue
            try:
                connection.send(message)
            except OSError:
                raise
            except Exception as error:  # a result that cannot be pickled
                _fail(connection, error)


def _fail(connection: Connection, error: BaseException) -> None:
    told: Any = error if isinstance(error, UserError) else ExceptionWithTraceback(error, error.__traceback__)
    try:
        connection.send((FAILED, told))
    except OSError:
        raise
    except Exception:  # one that cannot be pickled
        connection.send((FAILED, RuntimeError(f"{type(error).__name__}: {error}")))


def _tell(connection: Connection, done: float) -> None:
    with suppress(OSError):
        connection.send((WITHIN, done))


def _end_with_parent(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    inherit(folder)
    leave(1, parents=True)


@dataclass
class _Place:
    """Where a worker process works, and another after it if it dies.

    Attributes
    ----------
    number : int
    make : callable
        Makes the function of one unit.
    unit : int or None
        The number of the unit under way.
    lost : int
        How many of its processes died before they could begin.
    """

    number: int
    make: Callable[[], Callable]
    process: Any = None
    connection: Any = None
    ready: bool = False
    unit: int | None = None
    lost: int = 0

    def start(self, context: BaseContext, folder: Path) -> None:
        self.connection, its = context.Pipe()
        arguments = (self.make, its, os.getpid(), folder)
        self.process = context.Process(target=_serve, args=arguments)  # type: ignore[attr-defined]
        self.ready, self.unit = False, None
        with resting():
            self.process.start()
        its.close()  # else its end could not be seen

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What it says, until there is no more for now; EOFError when it has ended."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except OSError:
            raise EOFError from None


class _Pool:
    def __init__(
        self,
        makers: Sequence[Callable[[], Callable]],
        context: BaseContext,
        folder: Path,
        bar: Progress,
        killed: Callable[[set[int]], None],
    ) -> None:
        self.context, self.folder, self.bar, self.killed = context, folder, bar, killed
        self.others = _children()
        self.places = [_Place(number, make) for number, make in enumerate(makers)]

    def results(self, units: Sequence[Any], name: Callable[[Any], str]) -> Iterator[tuple[Any, Any]]:
        attempts = Attempts(len(units))
        finished: list[tuple[_Place, int, Any]] = []
        left, error = len(units), None
        for place in self.places:
            place.start(self.context, self.folder)
        while True:
            if error is None:
                self._give(attempts, units)
            for place, number, result in finished:
                yield units[number], result
                self.bar.finished(place.number)
            finished.clear()
            if error is not None and all(place.unit is None for place in self.places):
                raise error
            if not left - len(attempts.poison):
                break
            working = [place for place in self.places if place.process is not None]
            if not working:
                raise UserError(
                    f"{self.bar.label}: a worker process died while it loaded what it needs, most often for lack of"
                    " memory; finished images are kept, so run again with a smaller IDA_RD_WORKERS"
                )
            wait([one for p in working for one in (p.connection, p.process.sentinel)], LOOK_S)
            for place in working:
                dead = not place.process.is_alive()  # before its last words are read, or they could be missed
                try:
                    for kind, value in place.messages():
                        if kind == READY:
                            place.ready, place.lost = True, 0
                        elif kind == WITHIN:
                            self.bar.within(place.number, value)
                        elif kind == FAILED:
                            error, place.unit = error or value, None
                        else:
                            assert place.unit is not None
                            finished.append((place, place.unit, value))
                            place.unit, left = None, left - 1
                except EOFError:
                    dead = True
                if dead:
                    self._replace(place, attempts, wanted=error is None)
        if attempts.poison:
            raise poisoned(self.bar.label, [name(units[number]) for number in attempts.poison])

    def _give(self, attempts: Attempts, units: Sequence[Any]) -> None:
        """Give a unit to every worker that has none."""
        for place in self.places:
            if place.process is None or not place.ready or place.unit is not None:
                continue
            number = attempts.next(sum(other.unit is not None for other in self.places))
            if number is None:
                return
            try:
                place.connection.send((units[number],))
                place.unit = number
            except OSError:  # it died while it waited, and that is no unit's fault
                attempts.give_back(number)

    def _replace(self, place: _Place, attempts: Attempts, *, wanted: bool) -> None:
        """A worker is dead: put its unit back, and another in its place."""
        place.process.join(LOOK_S)
        with undisturbed():
            self.killed({place.process.pid})
            self._stop_orphans()
        place.connection.close()
        if place.unit is not None:
            attempts.died(place.unit)
            self.bar.lost(place.number, attempts.again)
        elif not place.ready:
            place.lost += 1
        place.unit, place.ready, place.process = None, False, None
        if wanted and place.lost < MOST:
            place.start(self.context, self.folder)

    def _stop_orphans(self) -> None:
        """Stop programs that a dead worker left: the system gave them to this process."""
        mine = {place.process.pid for place in self.places if place.process is not None}
        if orphans := _children() - self.others - mine:
            stop(groups=orphans, processes=orphans)
            for pid in orphans:
                with suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)

    def kill(self) -> None:
        """End every worker now, with its programs."""
        with undisturbed():
            processes = [place.process for place in self.places if place.process is not None]
            workers = {process.pid for process in processes}
            stop(processes=workers, grace_s=WORKER_S)
            self.killed(workers)
            for process in processes:
                process.join(LOOK_S)
            self._stop_orphans()

    def close(self) -> None:
        """End every worker: there is no more work."""
        processes = [place.process for place in self.places if place.process is not None]
        for place in self.places:
            if place.process is not None:
                with suppress(OSError):
                    place.connection.send(None)
        deadline = time.monotonic() + CLOSING_S
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0.0))
        if any(process.is_alive() for process in processes):
            self.kill()
        for place in self.places:
            if place.process is not None:
                place.connection.close()


def _children() -> set[int]:
    """Processes that this one started; not Python's own, which end with it."""
    import psutil

    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    with suppress(psutil.Error):
        return {child.pid for child in psutil.Process().children()} - {getattr(tracker, "_pid", None)}
    return set()


@contextmanager
def _adopting() -> Iterator[None]:
    """Inside, programs whose worker dies become this process's children, so that it can stop them. Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is not None:
        prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        if prctl is not None:
            prctl(SUBREAPER, 0, 0, 0, 0)


def start_method() -> str:
    """How worker processes are started.

    Forked ones share the imported libraries, but only on Linux is that safe, and never once this process has begun to
    use a GPU. The parent must not have started threads: it computes nothing, and torch runs one thread per process.
    """
    torch = sys.modules.get("torch")
    return "spawn" if sys.platform != "linux" or (torch is not None and torch.cuda.is_initialized()) else "fork"


def run_in_processes(
    makers: Sequence[Callable[[], Callable]],
    units: Sequence[Any],
    bar: Progress,
    folder: Path,
    *,
    method: str,
    name: Callable[[Any], str],
    killed: Callable[[set[int]], None],
) -> Iterator[tuple[Any, Any]]:
    """Yield every unit with its result, as they finish.

    Parameters
    ----------
    makers : sequence of callable
        One per process, called in it: makes the function of one unit.
    units : sequence
    bar : Progress
    folder : Path
        For temporary files of the workers and their programs.
    method : str
        How processes are started: ``fork`` or ``spawn``.
    name : callable
        Of a unit, for messages.
    killed : callable
        Is told the numbers of workers that did not end by themselves.

    Raises
    ------
    UserError
        What a unit raised, or that units have killed too many workers. Those under way are finished first.
    """
    pool = _Pool(makers, multiprocessing.get_context(method), folder, bar, killed)
    with _adopting():
        try:
            with unwatched():
                yield from pool.results(units, name)
                pool.close()
        except BaseException:  # nobody waits for what they are doing
            pool.kill()
            raise

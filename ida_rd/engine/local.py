"""Units of work in processes of this machine."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from ida_rd.core.errors import UserError
from ida_rd.engine.device import worker_count
from ida_rd.engine.progress import progress

__all__ = ["run_units"]

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def _keep_freed_memory() -> None:
    """Let glibc keep what it is given back, for the next image's arrays.

    By default it returns the top of its heap to the system after every large array, and the pages must be
    cleared again for the next: a tenth of the time of downscaling. Blocks of over 32 MB, the limit of
    its own adjustment, still go back at once. Elsewhere than on Linux with glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # <malloc.h>
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(trim_threshold, 2**29)
        mallopt(mmap_threshold, 2**25)


_worker: Callable | None = None


def _start(make_worker: Callable[[], Callable]) -> None:
    global _worker
    # Ctrl-C reaches the whole group: the parent decides. And a worker whose parent was killed must
    # not wait for work for ever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        _worker = make_worker()
    except UserError as error:
        # Raised here it would break the pool, and its message be lost: the first unit raises it.
        _worker = partial(_refuse, str(error))


def _refuse(message: str, unit: object) -> None:
    raise UserError(message)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(unit: object) -> object:
    assert _worker is not None
    return _worker(unit)


def run_units(
    make_worker: Callable[[], Callable[[Unit], Result]], units: Sequence[Unit], *, label: str, parallel: bool = True
) -> Iterator[tuple[Unit, Result]]:
    """Run independent units of work and yield ``(unit, result)`` as they finish, in any order.

    Parameters
    ----------
    make_worker : callable
        Called once in each process (it loads the model); returns the function of one unit.
        Picklable, as are units and results.
    units : sequence
        The work.
    label : str
        Shown with the progress.
    parallel : bool
        False keeps everything in this process (a GPU).

    Raises
    ------
    UserError
        What a unit raised; or a worker died (killed for memory, most often).
    """
    _keep_freed_memory()
    bar = progress(label, len(units))
    count = min(worker_count(), len(units)) if parallel else 1
    try:
        if count <= 1:
            worker = make_worker() if units else None
            for unit in units:
                assert worker is not None
                yield unit, worker(unit)
                bar.update()
            return
        # Forked workers share the imported libraries; elsewhere fork is not safe. The parent must
        # not have started threads: it computes nothing, and torch runs one thread a process.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(make_worker,))
        try:
            yield from _drain(pool, units, 2 * count, bar.update)
        except BrokenProcessPool:
            raise UserError(
                f"{label}: a worker process died, most often for lack of memory; finished images are kept, so run"
                " again with a smaller IDA_RD_WORKERS"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    finally:
        bar.close()


def _drain(
    pool: ProcessPoolExecutor, units: Iterable[Unit], ahead: int, done: Callable[[], object]
) -> Iterator[tuple[Unit, Result]]:
    # Few units are in flight at a time: results are consumed as they come, memory stays flat.
    waiting: dict[Future, Unit] = {}
    source = iter(units)
    while True:
        for unit in source:
            waiting[pool.submit(_call, unit)] = unit
            if len(waiting) >= ahead:
                break
        if not waiting:
            return
        finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            unit = waiting.pop(future)
            yield unit, future.result()
            done()

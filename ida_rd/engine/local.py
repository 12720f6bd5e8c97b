"""Units of work in processes of this machine."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from ida_rd.core.bar import Progress, sometimes
from ida_rd.core.progress import listening
from ida_rd.core.temporary import run_files, use_run_folder
from ida_rd.engine.device import worker_count
from ida_rd.engine.memory import affordable
from ida_rd.engine.pool import run_in_processes, start_method

__all__ = ["keep_freed_memory", "run_units"]

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next image's arrays.

    By default it returns the top of its heap to the system after every large array, and the pages must be
    cleared again for the next: a tenth of the time of downscaling. Blocks of over 32 MB, the limit of
    its own adjustment, still go back at once. Except on Linux with glibc, nothing is done.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # <malloc.h>
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(trim_threshold, 2**29)
        mallopt(mmap_threshold, 2**25)


def run_units(
    make_worker: Callable[[], Callable[[Unit], Result]],
    units: Sequence[Unit],
    *,
    label: str,
    parallel: bool = True,
    need: float | None = None,
    killed: Callable[[set[int]], None] = lambda workers: None,
    name: Callable[[Unit], str] = str,
    each: Sequence[Callable[[], Callable[[Unit], Result]]] = (),
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
    need : float or None
        Bytes of memory that the largest unit takes, where it is known: they limit the processes.
    killed : callable
        Is told the numbers of the worker processes, when they did not end by themselves.
    name : callable
        Of a unit, for messages.
    each : sequence of callable
        In the place of `make_worker`, for two or more processes that differ: one per GPU. They are never forked.

    Raises
    ------
    UserError
        What a unit raised, after those under way; or a unit killed worker after worker (for memory, most often), after
        all others.
    KeyboardInterrupt
        The workers and their programs are stopped, as they are when the results are not asked for to the end.
    """
    keep_freed_memory()
    bar = Progress(label, len(units))
    differ = min(len(each), len(units)) > 1
    makers = list(each)[: len(units)] if differ else [make_worker] * _count(units, parallel, need, label)
    method = "spawn" if differ else start_method()
    bar.workers = len(makers)
    try:
        with run_files() as folder:
            if len(makers) > 1 or (parallel and len(units) == 1 < worker_count()):
                yield from run_in_processes(makers, units, bar, folder, method=method, name=name, killed=killed)
                return
            use_run_folder(folder)
            worker = makers[0]() if units else None
            for unit in units:
                assert worker is not None
                with listening(sometimes(partial(bar.within, 0))):
                    result = worker(unit)
                yield unit, result
                bar.finished(0)
    finally:
        use_run_folder(None)
        bar.close()


def _count(units: Sequence, parallel: bool, need: float | None, label: str) -> int:
    return affordable(min(worker_count(), len(units)), need, label) if parallel and units else 1

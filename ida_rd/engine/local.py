"""Units of work in processes of this machine."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

from ida_rd.core.ending import WORKER_S, end_by_signal, leave, stop, undisturbed, unwatched
from ida_rd.core.errors import UserError
from ida_rd.core.progress import listening
from ida_rd.core.temporary import inherit, run_files, use_run_folder
from ida_rd.engine.device import worker_count
from ida_rd.engine.memory import affordable
from ida_rd.engine.progress import Progress, sometimes

__all__ = ["keep_freed_memory", "run_units"]

Unit = TypeVar("Unit")
Result = TypeVar("Result")

PARENT_S = 0.3  # between looks whether the parent lives


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


_worker: Callable | None = None
_told: Callable[[float], None] | None = None


def _start(make_worker: Callable[[], Callable], parent: int, channel: Any, folder: Path) -> None:
    global _told, _worker
    end_by_signal()
    # A worker whose parent was killed must not wait for work forever.
    threading.Thread(target=_end_with_parent, args=(parent, folder), daemon=True).start()
    use_run_folder(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    _told = partial(_tell, channel)
    try:
        _worker = make_worker()
    except UserError as error:
        # Raised here, it would break the pool and its message would be lost: the first unit raises it.
        _worker = partial(_refuse, str(error))


def _tell(channel: Any, done: float) -> None:
    channel.put((os.getpid(), done))


def _refuse(message: str, unit: object) -> None:
    raise UserError(message)


def _end_with_parent(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    inherit(folder)
    leave(1, parents=True)


def _call(unit: object) -> object:
    assert _worker is not None
    assert _told is not None
    with listening(sometimes(_told)):
        result = _worker(unit)
    _told(1.0)
    return result


def _context() -> BaseContext:
    """How worker processes are started.

    Forked ones share the imported libraries, but only on Linux is that safe, and never once this process has begun to
    use a GPU. The parent must not have started threads: it computes nothing, and torch runs one thread per process.
    """
    torch = sys.modules.get("torch")
    if sys.platform != "linux" or (torch is not None and torch.cuda.is_initialized()):
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("fork")


def run_units(
    make_worker: Callable[[], Callable[[Unit], Result]],
    units: Sequence[Unit],
    *,
    label: str,
    parallel: bool = True,
    need: float | None = None,
    killed: Callable[[set[int]], None] = lambda workers: None,
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

    Raises
    ------
    UserError
        What a unit raised; or a worker died (killed for memory, most often). Those under way are finished first.
    KeyboardInterrupt
        The workers and their programs are stopped, as they are when the results are not asked for to the end.
    """
    keep_freed_memory()
    bar = Progress(label, len(units))
    count = affordable(min(worker_count(), len(units)), need, label) if parallel and units else 1
    try:
        with run_files() as folder:
            if count > 1:
                yield from _in_pool(make_worker, units, count, bar, folder, killed)
                return
            use_run_folder(folder)
            worker = make_worker() if units else None
            for unit in units:
                assert worker is not None
                with listening(sometimes(partial(bar.within, 0))):
                    result = worker(unit)
                yield unit, result
                bar.finished(0)
    finally:
        use_run_folder(None)
        bar.close()


def _in_pool(
    make_worker: Callable[[], Callable[[Unit], Result]],
    units: Sequence[Unit],
    count: int,
    bar: Progress,
    folder: Path,
    killed: Callable[[set[int]], None],
) -> Iterator[tuple[Unit, Result]]:
    context = _context()
    channel = context.SimpleQueue()
    others = {process.pid for process in multiprocessing.active_children()}
    arguments = (make_worker, os.getpid(), channel, folder)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=arguments)

    def kill() -> None:
        with undisturbed():
            workers = {child.pid or 0 for child in multiprocessing.active_children()} - others
            stop(processes=workers, grace_s=WORKER_S)
            killed(workers)

    try:
        with unwatched():
            yield from _drain(pool, units, 2 * count, bar, channel)
    except (KeyboardInterrupt, GeneratorExit):  # nobody waits for what they are doing
        kill()
        raise
    except BrokenProcessPool:
        raise UserError(
            f"{bar.label}: a worker process died, most often for lack of memory; finished images are kept, so run"
            " again with a smaller IDA_RD_WORKERS, or with smaller images (images.crop)"
        ) from None
    finally:
        try:
            pool.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:  # while others finish, since one has failed
            kill()
            raise


def _drain(
    pool: ProcessPoolExecutor, units: Iterable[Unit], ahead: int, bar: Progress, channel: Any
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
        finished, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
        while not channel.empty():
            bar.within(*channel.get())
        for future in finished:
            unit = waiting.pop(future)
            yield unit, future.result()
            bar.finished()

"""One writer at a time in a folder: a second run waits, says so, and then finds the first one's units.

`making` is the same for one file of a cache, which processes of any project share.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ida_rd.core.errors import UserError, printable
from ida_rd.core.project import Project

__all__ = ["alone", "making", "working"]


def _lock(project: Project) -> FileLock:
    path = project.state / "run.lock"
    try:
        project.state.mkdir(parents=True, exist_ok=True)
        status = path.lstat()
    except FileNotFoundError:
        return FileLock(path)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{project.state.absolute()} is a file, and a run keeps its state there: move it away"
        ) from None
    if not stat.S_ISREG(status.st_mode):  # the lock empties what it opens, and a link may name anything
        raise UserError(f"{path.absolute()} is no ordinary file: remove it")
    return FileLock(path)


@contextmanager
def working(project: Project) -> Iterator[Project]:
    """Hold the project while a stage writes its outputs, and yield it; wait if another process holds it.

    The system releases the lock when its process ends, however it ends.
    """
    lock = _lock(project)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        where = printable(project.root.absolute())
        print(f"another run is working in {where}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield project
    finally:
        lock.release()


@contextmanager
def alone(project: Project, what: str) -> Iterator[None]:
    """Hold the project, or raise UserError if a run is working in it: `what` must not happen meanwhile."""
    lock = _lock(project)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{what}: a run is working in {printable(project.root.absolute())}; try again when it has finished"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def making(path: Path, what: str) -> Iterator[None]:
    """Hold a file of a cache while it is made: whoever else wants to make it waits, says so, and can then read it.

    Where no lock can be had (the folder cannot be written, or its file system has none), nothing is held: each process
    makes its own, which is slower and no less right.

    Parameters
    ----------
    path : Path
        The file; ``.lock`` beside it is what is held, and stays.
    what : str
        What is made, for the one who waits.
    """
    beside = path.with_name(f"{path.name}.lock")
    lock = FileLock(beside)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not beside.is_symlink():  # the lock empties what it opens
            lock.acquire(timeout=0)
    except Timeout:
        print(f"{what} is being computed by another process: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        lock.release()

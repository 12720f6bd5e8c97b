"""One writer at a time in a folder: a second run waits, says for whom, and then finds the first one's units.

The system holds the lock, and releases it when its process ends, however it ends. Beside it, a small file says who
holds it (`ida_rd.engine.owner`). One that was left behind does no harm; one that is not renewed any more lets a lock be
taken over that the system did not release, since its process was of another host.

`making` is the same for one file of a cache, which processes of any project share.
"""

from __future__ import annotations

import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ida_rd.core.errors import UserError, printable
from ida_rd.core.project import Project
from ida_rd.engine.device import engine_name
from ida_rd.engine.owner import Watched, holder, named
from ida_rd.engine.shards import shard

__all__ = ["alone", "making", "working"]

LOOK_S = 1.0  # between looks whether the one who is waited for is still there


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


def _owner(project: Project) -> Path:
    return project.state / "run.owner"


def _wait(lock: FileLock, owner: Path) -> None:
    """Wait for a lock, or take it over from a process that is gone and whose lock stayed."""
    watched = Watched(owner)
    while True:
        with suppress(Timeout):
            lock.acquire(timeout=LOOK_S)
            return
        if watched.is_stale():
            _take_over(lock, watched)


def _take_over(lock: FileLock, watched: Watched) -> None:
    """Remove a lock that nobody holds any more: whoever is first has the next one."""
    path = Path(lock.lock_file)
    guard = FileLock(path.with_name(f"{path.name}.taking"))
    with suppress(Timeout, OSError), guard.acquire(timeout=0):
        if not watched.is_stale():
            return  # another has taken it over
        gone = holder(watched.path)
        watched.remove()  # first: of what has no owner nobody takes anything over
        path.unlink(missing_ok=True)
        print(f"nothing was heard of that process{gone} any more: going on without it", file=sys.stderr, flush=True)


@contextmanager
def _shared_temporary(project: Project) -> Iterator[None]:
    """On a cluster, temporary files that a unit may be about lie where its workers see them: among the state."""
    if engine_name() == "local":
        yield
        return
    folder = project.state.absolute() / "temporary"
    folder.mkdir(parents=True, exist_ok=True)
    former, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = former


@contextmanager
def working(project: Project) -> Iterator[Project]:
    """Hold the project while a stage writes its outputs, and yield it; wait if another process holds it.

    A share of a stage's units (`ida_rd.engine.shards`) writes no output, and any number of them run at once.
    """
    if shard() is not None:
        with _shared_temporary(project):
            yield project
        return
    lock = _lock(project)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        where, owner = printable(project.root.absolute()), _owner(project)
        print(f"another run is working in {where}{holder(owner)}: waiting for it", file=sys.stderr, flush=True)
        _wait(lock, owner)
    try:
        with named(_owner(project)), _shared_temporary(project):
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
        where = f"{printable(project.root.absolute())}{holder(_owner(project))}"
        raise UserError(f"{what}: a run is working in {where}; try again when it has finished") from None
    try:
        with named(_owner(project)):
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
        The file; ``.lock`` beside it is what is held, and stays, and ``.owner`` says meanwhile by whom.
    what : str
        What is made, for the one who waits.
    """
    beside, owner = path.with_name(f"{path.name}.lock"), path.with_name(f"{path.name}.owner")
    lock = FileLock(beside)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not beside.is_symlink():  # the lock empties what it opens
            lock.acquire(timeout=0)
    except Timeout:
        told = f"{what} is being computed by another process{holder(owner)}: waiting for it"
        print(told, file=sys.stderr, flush=True)
        _wait(lock, owner)
    except (OSError, NotImplementedError):
        pass
    try:
        with named(owner) if lock.is_locked else nullcontext():
            yield
    finally:
        lock.release()

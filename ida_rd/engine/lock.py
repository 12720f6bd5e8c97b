"""One writer at a time in a folder: a second run waits, says for whom, and then finds the first one's units.

The system holds the lock, and releases it when its process ends, however it ends. Beside it, a small file says who
holds it; nothing is decided by that, so one that was left behind does no harm.

`making` is the same for one file of a cache, which processes of any project share.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import atomic_path, canonical_json
from ida_rd.core.foreign import read_bytes
from ida_rd.core.project import Project
from ida_rd.engine.device import engine_name
from ida_rd.engine.shards import shard

__all__ = ["alone", "making", "working"]

LARGEST_OWNER = 4096


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


def _holder(project: Project) -> str:
    """Who holds the lock, as far as the file beside it tells; one of this host that is gone is not named."""
    try:
        owner = json.loads(read_bytes(_owner(project), LARGEST_OWNER))
        host, process, since = str(owner["host"]), int(owner["process"]), float(owner["since"])
        if host == platform.node() and not psutil.pid_exists(process):
            return ""
        when = f"{datetime.fromtimestamp(since):%Y-%m-%d %H:%M}"
    except (OSError, UserError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ""
    return printable(f" (process {process} on {host}, since {when})")


@contextmanager
def _named(project: Project) -> Iterator[None]:
    """Inside, the file says that this process holds the lock."""
    path = _owner(project)
    with suppress(OSError, UserError), atomic_path(path, follow=False) as temporary:
        owner = {"host": platform.node(), "process": os.getpid(), "since": round(time.time())}
        temporary.write_text(canonical_json(owner))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


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
        where = printable(project.root.absolute())
        print(f"another run is working in {where}{_holder(project)}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        with _named(project), _shared_temporary(project):
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
            f"{what}: a run is working in {printable(project.root.absolute())}{_holder(project)}; try again when it has"
            " finished"
        ) from None
    try:
        with _named(project):
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

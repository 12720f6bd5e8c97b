"""Temporary files and folders: each is named after the process that made it, and goes with it.

A name is ``<prefix><host>-<process>-<random>``. It holds nothing of the result's own name, which may be of any length
and of any characters. What a process has not finished, it removes when it ends, however it is asked to
(`ida_rd.core.ending`); what a killed one left, the next one that writes to the same folder does.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ida_rd.core.errors import printable

__all__ = [
    "GONE",
    "NEW",
    "OLD",
    "PARTIAL",
    "PROGRAM",
    "discard",
    "discard_all",
    "inherit",
    "of_process",
    "remove_stale",
    "run_files",
    "run_folder",
    "temporary_file",
    "temporary_folder",
    "use_run_folder",
]

PARTIAL = ".partial-"  # beside a result: hidden, so that no listing mistakes it for one
PROGRAM = "ida-rd-"  # among the system's temporary files
NEW, OLD, GONE = "new", "old", "gone"  # in the folder from which a result's folder takes its place
LONGEST_SUFFIX = 20
LONGEST_HOST = 64

_own: set[Path] = set()
_run: Path | None = None
_parents: set[Path] = set()  # of the process that forked this one


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", platform.node())[:LONGEST_HOST] or "localhost"


def _name(prefix: str, suffix: str = "") -> str:
    return f"{prefix}{_host()}-{os.getpid()}-{secrets.token_hex(6)}{suffix}"


@contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a new, empty, private file in `folder`; what is still there at the end is removed."""
    path = folder / _name(PARTIAL, suffix if len(os.fsencode(suffix)) <= LONGEST_SUFFIX else "")
    _own.add(path)  # before it is there: a signal may come at any time
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield path
    finally:
        discard(path)


@contextmanager
def temporary_folder(folder: Path, prefix: str = PARTIAL) -> Iterator[Path]:
    """Yield a new private folder in `folder`; it is removed at the end."""
    path = folder / _name(prefix)
    _own.add(path)
    try:
        path.mkdir(mode=0o700)
        yield path
    finally:
        discard(path)


@contextmanager
def run_files() -> Iterator[Path]:
    """Yield a folder, among the system's temporary files, for those of a run's processes and programs."""
    system = Path(tempfile.gettempdir())
    remove_stale(system, prefix=PROGRAM)
    with temporary_folder(system, PROGRAM) as folder:
        yield folder


def use_run_folder(folder: Path | None) -> None:
    """Say where `run_folder` is: in this process."""
    global _run
    _run = folder


def run_folder() -> Path | None:
    """Folder for temporary files of the run that goes on, if one does."""
    return _run if _run is not None and _run.is_dir() else None


def discard(path: Path) -> None:
    """Remove a temporary file or folder.

    If a result's old folder lies in it, it goes back to its place; if that is taken, all stays. What cannot be deleted
    is said.
    """
    if path.is_dir() and not path.is_symlink():
        if _put_back(path):
            _own.discard(path)
            return
        _delete(path)
    else:
        with suppress(OSError):
            path.unlink()
    _own.discard(path)


def _put_back(container: Path) -> bool:
    """Whether the old folder of a result is still in its container: somebody has taken its place."""
    try:
        old = list((container / OLD).iterdir())
    except OSError:
        return False
    for path in old:
        place = container.parent / path.name
        if os.path.lexists(place):
            return True
        try:
            path.rename(place)
        except OSError:
            return True
    return False


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    for here, _, _ in os.walk(folder):  # a folder that its owner made read-only
        with suppress(OSError):
            os.chmod(here, 0o700)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if (folder / GONE).exists():
            print(
                f"warning: the former content of a result cannot be removed ({printable(error.filename)}:"
                f" {error.strerror}); the new one is whole. Remove {printable(folder)} when you can",
                file=sys.stderr,
                flush=True,
            )


def of_process(name: str, prefix: str = PARTIAL, former: str | None = None) -> int | None:
    """The process of this host that made a file of this name; None if it was none, or one of another host.

    Parameters
    ----------
    name : str
    prefix : str
        `PARTIAL` or `PROGRAM`.
    former : str, optional
        A result's name: versions before 0.3 put it into that of its temporary folder.
    """
    if not name.startswith(prefix):
        return None
    rest = name.removeprefix(prefix)
    if former is not None:
        rest = rest.removeprefix(f"{former}-")
    match = re.fullmatch(r"([^-]+)-(\d{1,10})-[a-z0-9_]+(\.[^-/]*)?", rest)
    return int(match[2]) if match and match[1] in (_host(), platform.node().replace("-", "_")) else None


def remove_stale(folder: Path, former: str | None = None, prefix: str = PARTIAL) -> None:
    """Remove from `folder` what processes of this host left that are gone: they were killed. See `of_process`."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        process = of_process(name, prefix, former)
        if process is None and former is not None:
            process = of_process(name, prefix)
        if process is not None and not _alive(process) and _ours(folder / name):
            discard(folder / name)


def _ours(path: Path) -> bool:
    """Whether a file in a folder that others may use, too, is this user's."""
    with suppress(OSError):
        status = path.lstat()
        return status.st_uid == os.getuid() and not stat.S_ISLNK(status.st_mode)
    return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def inherit(path: Path) -> None:
    """Take over what the parent has under way, for `discard_all`."""
    _parents.add(path)


def discard_all(*, parents: bool = False) -> None:
    """Remove all that this process has under way; `parents`: and that which its parent had, which is gone."""
    for path in [*_own, *(_parents if parents else ())]:
        discard(path)


def _after_fork() -> None:
    _parents.clear()
    _parents.update(_own)
    _own.clear()


os.register_at_fork(after_in_child=_after_fork)

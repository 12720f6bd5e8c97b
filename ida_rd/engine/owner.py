"""Who holds a lock: a small file beside it, whose time its process renews while it lives.

The system releases a lock when its process ends. But that of a host which is gone stays with a file server for as long
as that likes, and a file system that has no locks leaves them to files, which nobody removes. So who waits looks at
this file: what was not renewed for `STALE_S` seconds, by the clock of the one who waits, is of nobody any more. What a
process of the same host holds is its own for as long as it lives, however busy it is.

A thread renews it, which rests while this process forks: a child would inherit what it holds at that moment.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import atomic_path, canonical_json
from ida_rd.core.foreign import read_bytes

__all__ = ["Watched", "holder", "named", "resting"]

LARGEST = 4096
BEAT_S = 10.0  # between renewals
STALE_S = 120.0  # a network file system may show a file's time a minute late, and a library may keep a process busy
CLOCK_S = 60.0  # by which the start of a process may be told wrongly


def _read(path: Path) -> tuple[str, int, float]:
    """Host, process and time that a file names; ValueError if it names none."""
    try:
        owner = json.loads(read_bytes(path, LARGEST))
        found = str(owner["host"]), int(owner["process"]), float(owner["since"])
        datetime.fromtimestamp(found[2])
    except (OSError, UserError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError("names none") from None
    return found


def _lives(host: str, process: int, since: float) -> bool:
    """Whether it is a process of this host that is there; another may have got its number meanwhile."""
    if host != platform.node():
        return False
    with suppress(psutil.Error, ValueError, OverflowError):
        return psutil.Process(process).create_time() <= since + CLOCK_S
    return False


def holder(path: Path) -> str:
    """Who holds a lock, as far as the file beside it tells; one of this host that is gone is not named."""
    try:
        host, process, since = _read(path)
    except ValueError:
        return ""
    if host == platform.node() and not _lives(host, process, since):
        return ""
    return printable(f" (process {process} on {host}, since {datetime.fromtimestamp(since):%Y-%m-%d %H:%M})")


class Watched:
    """A file that says who holds a lock, as it is seen by one who waits.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: tuple[bytes, int] | None = None
        self.seen = time.monotonic()
        self.is_stale()

    def is_stale(self) -> bool:
        """Whether it was not renewed for so long that its process is gone. A file that is not there says nothing."""
        state = self._look()
        now = time.monotonic()
        if state is None or state != self.state:
            self.state, self.seen = state, now
            return False
        return now - self.seen > STALE_S and self._beats() and not _lives(*_read(self.path))

    def _look(self) -> tuple[bytes, int] | None:
        with suppress(OSError, UserError, ValueError):
            _read(self.path)
            with self.path.open("rb") as file:  # opened: a network file system then asks anew
                return file.read(LARGEST), os.fstat(file.fileno()).st_mtime_ns
        return None

    def _beats(self) -> bool:
        """Whether its process promised to renew it: former versions did not."""
        assert self.state is not None
        with suppress(ValueError, AttributeError):
            return bool(json.loads(self.state[0]).get("beats"))
        return False

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
        self.state = None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Inside, the file says that this process holds the lock, and is renewed."""
    mine = {"beats": True, "host": platform.node(), "process": os.getpid(), "since": round(time.time())}
    text = canonical_json(mine).encode()
    with suppress(OSError, UserError), atomic_path(path, follow=False) as temporary:
        temporary.write_bytes(text)
    _heart.begin(path, text)
    try:
        yield
    finally:
        _heart.end(path)
        if _says(path, text):
            with suppress(OSError):
                path.unlink()


def _says(path: Path, text: bytes) -> bool:
    """Whether a file is still this process's: another may have taken over."""
    with suppress(OSError, UserError):
        return read_bytes(path, LARGEST) == text
    return False


class _Heart:
    def __init__(self) -> None:
        self.files: dict[Path, bytes] = {}
        self.change = threading.Lock()
        self.rest = threading.Event()
        self.thread: threading.Thread | None = None

    def begin(self, path: Path, text: bytes) -> None:
        with self.change:
            self.files[path] = text
            self.start()

    def end(self, path: Path) -> None:
        with self.change:
            self.files.pop(path, None)
            if not self.files:
                self.stop()

    def start(self) -> None:
        if self.files and self.thread is None:
            self.rest.clear()
            self.thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        if self.thread is not None:
            self.rest.set()
            self.thread.join()
            self.thread = None

    def _beat(self) -> None:
        while not self.rest.wait(BEAT_S):
            for path, text in list(self.files.items()):
                if _says(path, text):
                    with suppress(OSError):
                        os.utime(path)


_heart = _Heart()


@contextmanager
def resting() -> Iterator[None]:
    """Inside, no thread renews anything: for a process that forks."""
    with _heart.change:
        try:
            _heart.stop()
            yield
        finally:
            _heart.start()


def _child() -> None:
    """A process that was forked holds nothing."""
    global _heart
    _heart = _Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child)

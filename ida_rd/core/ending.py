"""How a process ends before its time: at once, with all that it started, and without what it has not finished.

Ctrl-C, SIGTERM and SIGHUP raise `Ended` in the main thread, once: a second one changes nothing. If the process has not
ended a moment later, because a library is computing or somebody's code caught the exception, a thread ends it. A
library that holds Python's own lock for long delays even that.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ida_rd.core.temporary import discard_all

__all__ = [
    "Ended",
    "clean",
    "end_by_signal",
    "handled",
    "leave",
    "started",
    "stop",
    "stop_programs",
    "undisturbed",
    "unwatched",
    "watch_parent",
]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PROGRAM_S = 0.4  # that a program has to end by itself
WORKER_S = 0.8  # that a worker has; it gives its program the former
KILLED_S = 0.3  # until one that was killed is gone: what it writes is removed next
PATIENCE_S = 1.5  # until the thread ends the process

_programs: set[int] = set()  # running programs, each the leader of its group


class Ended(KeyboardInterrupt):
    """The process was asked to end.

    Attributes
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def started(program: int) -> Iterator[None]:
    """While a program runs, which leads a group of its own. At the end the group is stopped, whatever is left of it."""
    _programs.add(program)
    try:
        yield
    finally:
        with undisturbed():
            stop(groups=[program])
            _programs.discard(program)


def stop(*, groups: Iterable[int] = (), processes: Iterable[int] = (), grace_s: float = PROGRAM_S) -> None:
    """Stop processes, all that they started and, by `groups`, what is in theirs: asked first, then killed."""
    import psutil

    groups, processes = list(groups), list(processes)
    found: dict[int, Any] = {}
    for pid in [*groups, *processes]:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGTERM)
    for pid in processes:  # what a worker started is left to it at first
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)

    def wait(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and (any(map(_runs, found.values())) or any(map(_has_members, groups))):
            time.sleep(0.01)

    wait(grace_s)
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    for pid, one in found.items():
        if _runs(one):
            with suppress(OSError):  # a program leads a group: of what it left there, some may have no parent any more
                if os.getpgid(pid) == pid and pid not in processes:
                    os.killpg(pid, signal.SIGKILL)
            with suppress(psutil.Error):
                one.kill()
    wait(KILLED_S)


def _runs(process: Any) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    with suppress(ChildProcessError):  # its leader may have ended, and wait for nothing but its parent
        return os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return True


def stop_programs() -> None:
    """Stop the programs that this process runs now."""
    stop(groups=list(_programs))


def clean(*, parents: bool = False) -> None:
    """Stop all that this process started and remove what it has not finished."""
    children = _children()
    stop(groups=list(_programs), processes=children, grace_s=WORKER_S if children else PROGRAM_S)
    discard_all(parents=parents)


def _children() -> set[int]:
    """Processes that this one started and that lead no group of its programs; not Python's, which ends with it."""
    import psutil

    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    with suppress(psutil.Error):
        found = {child.pid for child in psutil.Process().children()}
        return found - _programs - {getattr(tracker, "_pid", None)}
    return set()


def leave(code: int, *, parents: bool = False) -> None:
    """End this process now: `clean`, and no more Python."""
    if _main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    try:
        clean(parents=parents)
    finally:
        os._exit(code)


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked
    if not _asked:
        _asked = True
        if _watch is not None:
            _watch.tell(number)
        raise Ended(number)


_asked = False
_installed = False
_watch: _Watch | None = None
_parent_is_gone: Callable[[], bool] | None = None


@contextmanager
def handled() -> Iterator[None]:
    """Inside, the signals raise `Ended`; one that was ignored before (``nohup``) stays ignored.

    Only in the main thread, and once: inside another `handled` nothing changes.
    """
    global _asked, _installed, _watch
    if not _main_thread() or _installed:
        yield
        return
    former = {number: signal.getsignal(number) for number in SIGNALS}
    _asked, _installed = False, True
    try:
        for number, handler in former.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, _ask)
        _watch = _Watch(PATIENCE_S)
        yield
    finally:
        if _watch is not None:
            _watch.close()
        _watch, _installed = None, False
        for number, handler in former.items():
            if signal.getsignal(number) is _ask:
                signal.signal(number, handler)


def end_by_signal() -> None:
    """Make SIGTERM and SIGHUP end this worker process with its program. Ctrl-C reaches it, too: its parent decides."""
    global _watch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in SIGNALS[1:]:
        signal.signal(number, lambda number, frame: leave(128 + number))
    _watch = _Watch(PROGRAM_S / 2)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, a signal waits: for steps that belong together."""
    got: list[int] = []
    if not _main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in SIGNALS}
    former = {number: handler for number, handler in former.items() if callable(handler)}
    try:
        for number in former:
            signal.signal(number, lambda number, frame: got.append(number))
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for number in got:
            signal.raise_signal(number)


def watch_parent(is_gone: Callable[[], bool] | None) -> None:
    """Let the thread ask on every SIGALRM whether the process is to end, since its parent has."""
    global _parent_is_gone
    _parent_is_gone = is_gone


class _Watch:
    """A thread that ends this process, if it was asked to and has not ended `patience_s` later.

    While a library computes, Python runs no handler, but the signal's number is written to a pipe.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.former = signal.set_wakeup_fd(-1)
        self.thread: threading.Thread | None = None
        self.open()

    def tell(self, number: int) -> None:
        """Say that the process was asked to end."""
        with suppress(OSError):
            os.write(self.writer, bytes([number]))

    def open(self) -> None:
        signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        self.thread = threading.Thread(target=self._wait, name="ending", daemon=True)
        self.thread.start()

    def pause(self) -> None:
        """End the thread; the pipe stays."""
        signal.set_wakeup_fd(-1)
        if self.thread is not None:
            os.write(self.writer, b"\0")
            self.thread.join()
        self.thread = None

    def close(self) -> None:
        self.pause()
        signal.set_wakeup_fd(self.former)
        os.close(self.reader)
        os.close(self.writer)

    def _wait(self) -> None:
        while number := os.read(self.reader, 1)[0]:
            if number in SIGNALS and self._stays(number):
                if _installed:
                    with suppress(OSError):
                        print(message(number), file=sys.stderr, flush=True)
                leave(128 + number)
            elif number == getattr(signal, "SIGALRM", None) and _parent_is_gone is not None and _parent_is_gone():
                leave(1)

    def _stays(self, number: int) -> bool:
        """Whether the process goes on; if it ends by itself, it closes this first."""
        if signal.getsignal(number) == signal.SIG_IGN:
            return False
        deadline = time.monotonic() + self.patience_s
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.reader], [], [], left)[0] and os.read(self.reader, 1) == b"\0":
                os.write(self.writer, b"\0")
                return False
        return signal.getsignal(number) != signal.SIG_IGN  # else the main thread is at it


@contextmanager
def unwatched() -> Iterator[None]:
    """Without the thread: a process that forks should have none."""
    watch = _watch if _main_thread() else None
    if watch is not None:
        watch.pause()
    try:
        yield
    finally:
        if watch is not None and watch is _watch:
            watch.open()


def message(number: int) -> str:
    """What a user is told."""
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return f"{how}: finished work is kept; run again to continue."


def _after_fork() -> None:
    """Somebody's own process: it answers signals as any does, and its parent does not hear of them."""
    global _installed, _watch
    _programs.clear()
    if _watch is not None:
        signal.set_wakeup_fd(-1)
        os.close(_watch.reader)
        os.close(_watch.writer)
        for number in SIGNALS:
            if callable(signal.getsignal(number)):
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)
    _installed, _watch = False, None


os.register_at_fork(after_in_child=_after_fork)

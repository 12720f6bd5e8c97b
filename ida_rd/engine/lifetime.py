"""A stage ends with the program that started it.

DVC runs a stage through a shell. Killed, it leaves both alive, and the stage would go on writing outputs that nobody
waits for, into the folder of the next run.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from types import FrameType

import psutil

from ida_rd.core.ending import leave, watch_parent

__all__ = ["end_with_parent"]

INTERVAL_S = 0.4
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def end_with_parent() -> None:
    """End this process within about a second of DVC's end; do nothing if DVC did not start it.

    By a timer's signal, which a long call into a library does not delay: see `ida_rd.core.ending`.
    """
    if "DVC_STAGE" not in os.environ or not hasattr(signal, "setitimer"):
        return
    if threading.current_thread() is not threading.main_thread():
        return
    watched = _starters()
    if not watched:
        return

    def gone() -> bool:
        return os.getppid() != watched[0].pid or not all(_runs(process) for process in watched)

    def look(number: int, frame: FrameType | None) -> None:
        if gone():
            leave(1)  # with workers and programs; what is written is complete or absent

    signal.signal(signal.SIGALRM, look)
    watch_parent(gone)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # an interpreter that is ending has no handler any more


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _starters() -> list[psutil.Process]:
    """The parent, and if that is the shell of a command line, its parent."""
    try:
        found = psutil.Process().parents()[:2]
        if not found:
            return []
        command = found[0].cmdline()
    except psutil.Error:
        return []
    through_shell = bool(command) and os.path.basename(command[0]) in SHELLS and "-c" in command
    return found if through_shell else found[:1]

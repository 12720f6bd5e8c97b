"""The one error that users see, and the wrapper that turns it into a line and an exit code."""

from __future__ import annotations

import difflib
import errno
import os
import select
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TextIO

__all__ = ["UserError", "did_you_mean", "exit_with_line", "printable", "printable_lines"]

ROOM_OR_RIGHTS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class UserError(Exception):
    """Bad input: the message names the file or key, what is wrong and what to do. Exit code 2.

    Names in it may be a stranger's: as text it is `printable`, wherever it is shown.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: object) -> str:
    r"""A text as it may be printed: no character in it moves the cursor, reverses the line or cannot be encoded.

    Names come from files of others. Control, format, surrogate and line-separating characters become escapes,
    such as ``\x1b``; everything else stays.
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in str(text)
    )


def printable_lines(text: object) -> str:
    """Return a text of several lines as it may be printed; see `printable`."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that ends an error message: the nearest known name, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known names: " + ", ".join(names) if names else "none are known"


def exit_with_line(main: Callable[[], None]) -> None:
    """Run a command-line entry point; what the user can mend becomes one line on stderr and exit code 2.

    DVC reports 255 whatever a stage returns, so the line must say everything. A file that cannot be read or
    written, a full disk and too little memory are reported the same way. Whoever reads the output may stop early
    (``| head``): that is no error. Ctrl-C and SIGTERM end all that was started.
    """
    from ida_rd.core.ending import clean, handled, message

    _print_anything(sys.stdout)
    try:
        with handled():
            try:
                main()
                if sys.stdout is not None:  # it can be closed
                    sys.stdout.flush()
            except KeyboardInterrupt:
                clean()  # while a second Ctrl-C does no harm
                raise
    except UserError as error:
        _end(f"error: {error}")
    except BrokenPipeError as error:
        if not _broken(sys.stdout):
            _end(_file_line(error))
        raise SystemExit(141) from None  # as a shell counts it
    except OSError as error:
        _broken(sys.stdout)
        _end(_file_line(error))
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        _end(
            f"error: this needs more memory than there is{detail}. Use smaller images (images.crop) or fewer processes"
            " (IDA_RD_WORKERS=1), then run again: finished work is kept."
        )
    except RecursionError:
        _end("error: something in the input is nested too deeply: make it flatter")
    except KeyboardInterrupt as interruption:
        number = getattr(interruption, "number", signal.SIGINT)
        _end(message(number), 128 + number)


def _end(line: str, code: int = 2) -> None:
    with suppress(OSError):  # nobody is there to read it
        print(printable(line), file=sys.stderr, flush=True)
    raise SystemExit(code) from None


def _file_line(error: OSError) -> str:
    """Say what an error of the operating system means, with the file if it names one."""
    if error.errno in ROOM_OR_RIGHTS:
        where = f" ({error.filename})" if error.filename else ""
        return (
            f"error: cannot write{where}: {error.strerror}. Free some space or fix the permissions, then run again:"
            " finished work is kept."
        )
    file = f"{error.filename}: " if error.filename else ""
    return f"error: {file}{error.strerror or str(error) or type(error).__name__}; mend this, then run again"


def _print_anything(stream: TextIO | None) -> None:
    """Where the terminal's encoding lacks a character, print its escape."""
    with suppress(AttributeError, ValueError):  # a stream of a test, of a notebook
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _broken(stream: TextIO | None) -> bool:
    """Whether nothing can be printed any more; if so, it goes nowhere, or Python would try once more at its end."""
    try:
        stream.flush()  # type: ignore[union-attr]
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLERR)  # type: ignore[union-attr]
        broken = bool(poll.poll(0))
    except (AttributeError, ValueError):  # not a system that can tell, or no file
        return False
    except OSError:
        broken = True
    if broken:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]
    return broken

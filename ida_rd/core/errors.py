"""The one error that users see, and the wrapper that turns it into a line and an exit code."""

from __future__ import annotations

import difflib
import errno
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress

__all__ = ["UserError", "did_you_mean", "exit_with_line", "printable"]


class UserError(Exception):
    """Bad input: the message names the file or key, what is wrong and what to do. Exit code 2."""


def printable(text: object) -> str:
    r"""A text as it may be printed: no character in it moves the cursor, reverses the line or cannot be encoded.

    Names come from files of others. Control, format, surrogate and line-separating characters become escapes,
    such as ``\x1b``; everything else stays.
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c
        for c in str(text)
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that ends an error message: the nearest known name, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known names: " + ", ".join(names) if names else "none are known"


def exit_with_line(main: Callable[[], None]) -> None:
    """Run a command-line entry point; a `UserError` becomes one line on stderr and exit code 2.

    DVC reports 255 whatever a stage returns, so the line must say everything. A full disk is
    also for the user to fix, and is reported the same way. Ctrl-C and SIGTERM end all that was started.
    """
    from ida_rd.core.ending import clean, handled, message

    try:
        with handled():
            try:
                main()
            except KeyboardInterrupt:
                clean()  # while a second Ctrl-C does no harm
                raise
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"error: cannot write{where}: {error.strerror}. Free some space or fix the permissions, then run again:"
            " finished work is kept.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt as interruption:
        number = getattr(interruption, "number", signal.SIGINT)
        with suppress(OSError):  # its terminal may be closed
            print(message(number), file=sys.stderr, flush=True)
        raise SystemExit(128 + number) from None

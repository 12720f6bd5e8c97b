"""Bytes from elsewhere: read once, within a budget, and decoded under one guard.

Libraries that decode files raise whatever they like when a file is damaged, or was made to do harm: every reader of
such a file stands inside `decoding`, which turns any of it into one line, and asks `read_bytes` for the content, so
that what was checked is what is used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ida_rd.core.errors import UserError

__all__ = ["MEBIBYTE", "decoding", "opened", "read_bytes", "reason"]

MEBIBYTE = 2**20
LONGEST_REASON = 200


def reason(error: BaseException) -> str:
    """What an exception says, in one line of bounded length."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 4] + " ..."
    if isinstance(error, MemoryError):
        return text or "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return text or type(error).__name__


@contextmanager
def decoding(what: str, hint: str = "", *, error: type[UserError] = UserError) -> Iterator[None]:
    """Decode foreign bytes inside: whatever goes wrong becomes one line.

    Parameters
    ----------
    what : str
        Begins the line: the file, and what it is not, such as ``a.csv is not a CSV table``.
    hint : str
        Ends the line: what to do.
    error : type
        Of the exception.

    Raises
    ------
    UserError
        As `error`. One that is raised inside is passed on as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        raise error(f"{what} ({reason(problem)})" + (f": {hint}" if hint else "")) from None


def read_bytes(path: Path | str, limit: int, *, links: bool = True) -> bytes:
    """Content of an ordinary file.

    Parameters
    ----------
    path : Path or str
    limit : int
        Bytes that it may have.
    links : bool
        Whether it may be a symbolic link.

    Raises
    ------
    UserError
        It is larger, or no ordinary file (a device, a pipe).
    OSError
        It is not there, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe would be waited for
    if not links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder, expected a file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not an ordinary file")
        content = b""
        if status.st_size <= limit:
            with open(handle, "rb", closefd=False) as file:
                content = file.read(status.st_size + 1)  # not `limit`: as much memory would be asked for
                if len(content) > status.st_size:  # it grew
                    content += file.read(limit + 1 - len(content))
    finally:
        os.close(handle)
    if status.st_size > limit or len(content) > limit:
        size = max(status.st_size, len(content))
        raise UserError(f"{path} has {size:,} bytes, more than the {limit:,} that are read")
    return content


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """An ordinary file, of which a part is read; errors as those of `read_bytes`."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder, expected a file")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is not an ordinary file")
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)

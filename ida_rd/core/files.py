"""Files that are either complete or absent: atomic writes, canonical JSON, content hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ida_rd.core.ending import undisturbed
from ida_rd.core.errors import UserError
from ida_rd.core.temporary import GONE, NEW, OLD, remove_stale, temporary_file, temporary_folder

__all__ = [
    "atomic_folder",
    "atomic_path",
    "canonical_json",
    "guarded",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_text",
]

# Too large for the file system or a limit, too many open files, a name that it does not take, a device that is broken.
BROKEN = {
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EPERM,
    errno.EBUSY,
    errno.EMLINK,
    errno.ELOOP,
    errno.ESTALE,
    errno.ENXIO,
    errno.ENODEV,
    errno.ETIMEDOUT,
}


_guard: Callable[[Path], None] | None = None


@contextmanager
def guarded(guard: Callable[[Path], None]) -> Iterator[None]:
    """Inside, `guard` is asked before a file or folder takes its place, and may raise."""
    global _guard
    former, _guard = _guard, guard
    try:
        yield
    finally:
        _guard = former


@contextmanager
def atomic_path(path: Path | str, *, follow: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step, else it is removed.

    If two do this at once, the last one's stays.

    Parameters
    ----------
    path : Path or str
    follow : bool
        Whether a link is written through, to the file that it names; otherwise the file takes the link's place.
    """
    if _guard is not None:
        _guard(Path(path))
    path = _target(path) if follow else Path(path)
    if os.path.lexists(path) and not (path.is_file() or path.is_symlink()):
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise UserError(f"{path} is {what}, and a file is to be written there: move it away")
    _make_parent(path)
    with _writing(path), temporary_file(path.parent, path.suffix) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # made private; results are ordinary files
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes the place of `path`, else it is removed.

    The old folder stays until the new one is complete and in its place. If `path` is a link, the folder that it names
    is written.

    Raises
    ------
    UserError
        A file is there; or, at the end, a folder that was not there at the start: it stays, whoever made it.
    """
    place = Path(path)
    path = _target(path)
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(f"{path} is a file, and a folder is to be written there: move it away")
    _make_parent(path)
    remove_stale(path.parent, path.name)
    with _writing(path), _held(path) as before, temporary_folder(path.parent) as container:
        new = container / NEW
        new.mkdir()
        yield new
        if _guard is not None:
            _guard(place)
        new.chmod(0o777 & ~_umask())
        with undisturbed():
            _take_place(container, path, before)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Inside, what is wrong with the disk or the system becomes one line; `exit_with_line` knows a full disk itself."""
    try:
        yield
    except OSError as error:
        if error.errno not in BROKEN:
            raise
        where = f" at {error.filename}" if error.filename and str(error.filename) != str(path) else ""
        raise UserError(
            f"{path} cannot be written ({error.strerror}{where}): it is as it was. Repair that, then run again:"
            " finished work is kept"
        ) from None


Identity = tuple[int, int]


def _identity(path: Path) -> Identity | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _held(path: Path) -> Iterator[Identity | None]:
    """Yield which folder this is now; it is kept open, since the number of one that is gone is soon another's."""
    handle = None
    with suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _identity(path) if handle is not None else None
    finally:
        if handle is not None:
            os.close(handle)


def _take_place(container: Path, path: Path, before: Identity | None) -> None:
    """Put the new folder of a container in its place: the old one aside, the new one in, and only then the old goes.

    A process that is killed between any two of these loses nothing: see `temporary.discard`.
    """
    others = UserError(
        f"{path}: something else was put there while this was computed. It was left as it is; move it away and run"
        " again: finished work is kept"
    )
    if _identity(path) != before:
        raise others
    aside = container / OLD
    if before is not None:
        aside.mkdir()
        try:
            path.rename(aside / path.name)
        except OSError as error:
            raise UserError(f"{path} cannot be replaced ({error.strerror}): move it away and run again") from None
        if _identity(aside / path.name) != before:
            (aside / path.name).rename(path)
            raise others
    try:
        (container / NEW).rename(path)
    except OSError as error:
        if before is None:
            raise others from None
        with suppress(OSError):
            (aside / path.name).rename(path)
            raise UserError(f"{path} cannot be replaced ({error.strerror}): run again") from None
        raise UserError(f"{others}. What was there before is in {aside}") from None
    if before is not None:
        aside.rename(container / GONE)


def _target(path: Path | str) -> Path:
    """The file or folder itself, where `path` is a link to it."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise UserError(f"{path} is a link that leads nowhere: remove it")
    return real


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{path} cannot be written: a file is where one of its folders should be; move it away"
        ) from None


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, UTF-8, with line feeds at line ends."""
    write_bytes(path, text.encode())


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and a fixed layout: equal values give equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` to `path` as `canonical_json`, atomically."""
    write_text(path, canonical_json(value))


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

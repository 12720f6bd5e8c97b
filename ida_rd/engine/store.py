"""The store of finished units: what was computed once is not computed again, after a kill or for another run.

A unit's key is the hash of all that decides its result: method, parameters, factor, seed, code, weights, files,
packages, the content of its input, and which part of it. So one more image, sample or distortion computes that one
alone, and renaming a method computes nothing. The folder may be shared by processes and hosts: a unit is written
whole or not at all, under a name made from all that decides it, so two that compute the same unit write the same.

A store comes with its folder, from whoever sent that. So every entry carries a code made with the user's secret key
(`ida_rd.core.key`) over its name, its value, what computed it and the content of its file: what somebody else wrote, or
anybody changed, counts as absent and is computed again. Users with keys of their own do not take each other's units.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path, canonical_json
from ida_rd.core.foreign import decoding, read_bytes
from ida_rd.core.key import seal, unseal, user_key
from ida_rd.core.temporary import PARTIAL, of_process

__all__ = ["Collected", "Finished", "Record", "Store"]

SUFFIX = re.compile(r"\.[a-z0-9]+")
PLACE, NAME = re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{40}")
LARGEST_ENTRY = 2**26
LARGEST_ENVIRONMENT = 2**20
ABANDONED_S = 86400  # a file still being written after that belongs to a process that was killed
TOUCH_S = 60  # a unit's time says when it was last used, to about this


@dataclass(frozen=True)
class Record:
    """The result of a part of a unit.

    Attributes
    ----------
    value : Any
        JSON.
    data : bytes or None
        Content of its file, if it has one: an image.
    suffix : str
        That file's, such as ``.png``.
    """

    value: Any
    data: bytes | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Finished:
    """A part of a unit as the store has it.

    Attributes
    ----------
    value : Any
        JSON.
    file : Path or None
        Its file, if it has one.
    environment : dict
        What computed it: library versions, device.
    """

    value: Any
    file: Path | None
    environment: dict[str, str]

    def link(self, target: Path) -> None:
        """Give its file a second name, by a hard link if the file system has them."""
        assert self.file is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.file, target)
            return
        except FileNotFoundError:
            raise UserError(f"{self.file} vanished while this ran: was `ida-rd gc` called? Run again") from None
        except OSError:
            shutil.copyfile(self.file, target)


class Collected(NamedTuple):
    """What `Store.collect` removed and left, in units and bytes."""

    removed: int
    freed: int
    left: int
    size: int


class Store:
    """Finished units in a folder.

    Parameters
    ----------
    root : Path
        The folder; created when the first unit is kept.
    times : Path, optional
        File in which it is kept what its units took; see `ida_rd.engine.times`. Without it, that is not kept.

    Attributes
    ----------
    refused : int
        How many entries were left out, because this user did not write them or they were changed.
    """

    def __init__(self, root: Path, times: Path | None = None) -> None:
        self.root = Path(root).absolute()
        self.times = None if times is None else Path(times).absolute()
        self.refused = 0
        self._secret = user_key()
        self._environments: dict[str, dict[str, str]] = {}

    @staticmethod
    def key(identity: Any, *given: Any) -> str:
        """Key of a unit, from what decides its result: JSON values."""
        return hashlib.sha256(canonical_json([identity, *given]).encode()).hexdigest()[:40]

    def _path(self, key: str, suffix: str) -> Path:
        return self.root / key[:2] / (key + suffix)

    def get(self, key: str) -> Finished | None:
        """What the store has under a key; None if it has nothing, or not all of it, or not what this user wrote."""
        path = self._path(key, ".json")
        try:
            data = read_bytes(path, LARGEST_ENTRY)
        except (OSError, UserError):
            return None
        try:
            entry = unseal(self._secret, f"unit {key}", data)
            file = None if entry is None else self._file(key, entry)
            if entry is None or (file is None and entry["file"] is not None):
                self.refused += 1
                return None
            environment = self._environment(entry["environment"])
        except (OSError, UserError):
            return None  # damaged by a machine that lost power: computed again
        now = time.time()
        if path.stat().st_mtime < now - TOUCH_S:
            with suppress(OSError):
                os.utime(path, (now, now))
        return Finished(entry["value"], file, environment)

    def _file(self, key: str, entry: dict[str, Any]) -> Path | None:
        """File of an entry, if it has one and that is the one which was kept."""
        if entry["file"] is None:
            return None
        file = self._path(key, entry["file"])
        if not stat.S_ISREG(file.lstat().st_mode):
            return None  # a link would become a result
        content = read_bytes(file, entry["bytes"])
        return file if hashlib.sha256(content).hexdigest() == entry["sha256"] else None

    def look_again(self, key: str) -> None:
        """Read the folder of a unit: a network file system remembers for a while that a file was not there."""
        with suppress(OSError):
            os.listdir(self._path(key, "").parent)

    def put(self, key: str, record: Record, environment: str) -> None:
        """Keep a part of a unit; `environment` is the key that `put_environment` gave."""
        entry: dict[str, Any] = {"value": record.value, "environment": environment, "file": None}
        if record.data is not None:
            if not SUFFIX.fullmatch(record.suffix):
                raise ValueError(f"{record.suffix!r} is no suffix of a file")
            path = self._path(key, record.suffix)
            self._write(path, record.data)
            path.chmod(
                0o444 | (path.stat().st_mode & 0o055)
            )  # it will have other names, under which nobody must edit it
            entry |= {"file": record.suffix, "bytes": len(record.data)}
            entry["sha256"] = hashlib.sha256(record.data).hexdigest()
        # Written last: if it is there, all of the unit is.
        self._write(self._path(key, ".json"), seal(self._secret, f"unit {key}", entry))

    def _write(self, path: Path, data: bytes) -> None:
        if path.parent.is_symlink():  # it would lead out of the store
            path.parent.unlink()
        with atomic_path(path, follow=False) as temporary:
            temporary.write_bytes(data)

    def put_environment(self, environment: dict[str, str]) -> str:
        """Keep a record of what computes units; return its key."""
        key = self.key(environment)
        path = self.root / "environments" / f"{key}.json"
        content = canonical_json(environment).encode()
        if not path.is_file() or path.read_bytes() != content:
            self._write(path, content)
        self._environments[key] = environment
        return key

    def _environment(self, key: str) -> dict[str, str]:
        """The record of that key, which is its hash: no other content is taken."""
        if key not in self._environments:
            path = self.root / "environments" / f"{key}.json"
            with decoding(f"{path} is not the record of its name"):
                record = json.loads(read_bytes(path, LARGEST_ENVIRONMENT))
                if self.key(record) != key:
                    raise ValueError("changed")
            self._environments[key] = record
        return self._environments[key]

    def _units(self) -> Iterator[tuple[float, int, list[Path]]]:
        """Time of last use, bytes and files of every unit, its JSON first."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if not PLACE.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue  # not the store's: nothing is removed there
            files: dict[str, list[Path]] = {}
            for path in folder.iterdir():
                if NAME.fullmatch(path.stem):
                    files.setdefault(path.stem, []).append(path)
            for found in files.values():
                found.sort(key=lambda path: path.suffix != ".json")
                with suppress(FileNotFoundError):
                    status = [path.stat() for path in found]
                    yield status[0].st_mtime, sum(s.st_size for s in status), found

    def _partial(self) -> Iterator[Path]:
        """Files that are being written, or were when their process was killed."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if PLACE.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                yield from folder.glob(f"{PARTIAL}*")

    def forget(self, processes: set[int]) -> None:
        """Remove what processes of this host were writing when they were killed."""
        for path in self._partial():
            if of_process(path.name) in processes:
                path.unlink(missing_ok=True)

    def collect(self, size: int) -> Collected:
        """Remove the least recently used units, until the others take at most `size` bytes."""
        for path in self._partial():
            with suppress(OSError):
                if path.lstat().st_mtime < time.time() - ABANDONED_S:
                    path.unlink()
        units = sorted(self._units(), key=lambda unit: unit[0], reverse=True)
        kept = total = removed = freed = 0
        for _, bytes_, files in units:
            if total + bytes_ <= size:
                total += bytes_
                kept += 1
                continue
            for path in files:  # the JSON first: a unit that is half removed counts as absent
                path.unlink(missing_ok=True)
            removed, freed = removed + 1, freed + bytes_
        return Collected(removed, freed, kept, total)

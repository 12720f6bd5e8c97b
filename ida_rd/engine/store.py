"""The store of finished units: what was computed once is not computed again, after a kill or for another run.

A unit's key is the hash of all that decides its result: method, parameters, factor, seed, code, weights, files,
packages, the content of its input, and which part of it. So one more image, sample or distortion computes that one
alone, and renaming a method computes nothing. The folder may be shared by processes and hosts: a unit is written
whole or not at all, under a name made from all that decides it, so two that compute the same unit write the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path, canonical_json, write_bytes

__all__ = ["Collected", "Finished", "Record", "Store"]

SUFFIX = re.compile(r"\.[a-z0-9]+")
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
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._environments: dict[str, dict[str, str]] = {}

    @staticmethod
    def key(identity: Any, *given: Any) -> str:
        """Key of a unit, from what decides its result: JSON values."""
        return hashlib.sha256(canonical_json([identity, *given]).encode()).hexdigest()[:40]

    def _path(self, key: str, suffix: str) -> Path:
        return self.root / key[:2] / (key + suffix)

    def get(self, key: str) -> Finished | None:
        """What the store has under a key; None if it has nothing, or not all of it."""
        path = self._path(key, ".json")
        try:
            entry = json.loads(path.read_bytes())
            file = None
            if entry["file"] is not None:
                if not SUFFIX.fullmatch(entry["file"]):
                    return None  # it would lead out of the folder
                file = self._path(key, entry["file"])
                if file.stat().st_size != entry["bytes"]:
                    return None
            environment = self._environment(entry["environment"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged by a machine that lost power: computed again
        now = time.time()
        if path.stat().st_mtime < now - TOUCH_S:
            with suppress(OSError):
                os.utime(path, (now, now))
        return Finished(entry["value"], file, environment)

    def put(self, key: str, record: Record, environment: str) -> None:
        """Keep a part of a unit; `environment` is the key that `put_environment` gave."""
        if record.data is not None:
            path = self._path(key, record.suffix)
            with atomic_path(path) as temporary:
                temporary.write_bytes(record.data)
            path.chmod(
                0o444 | (path.stat().st_mode & 0o055)
            )  # it will have other names, under which nobody must edit it
        size = None if record.data is None else len(record.data)
        entry = {"value": record.value, "environment": environment, "bytes": size}
        entry["file"] = record.suffix if record.data is not None else None
        # Written last: if it is there, all of the unit is.
        write_bytes(self._path(key, ".json"), json.dumps(entry, allow_nan=False).encode())

    def put_environment(self, environment: dict[str, str]) -> str:
        """Keep a record of what computes units; return its key."""
        key = self.key(environment)
        path = self.root / "environments" / f"{key}.json"
        if not path.is_file():
            write_bytes(path, canonical_json(environment).encode())
        self._environments[key] = environment
        return key

    def _environment(self, key: str) -> dict[str, str]:
        if key not in self._environments:
            path = self.root / "environments" / f"{key}.json"
            self._environments[key] = json.loads(path.read_bytes())
        return self._environments[key]

    def _units(self) -> Iterator[tuple[float, int, list[Path]]]:
        """Time of last use, bytes and files of every unit, its JSON first."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            if len(folder.name) != 2:
                continue
            files: dict[str, list[Path]] = {}
            for path in folder.iterdir():
                files.setdefault(path.stem, []).append(path)
            for found in files.values():
                found.sort(key=lambda path: path.suffix != ".json")
                with suppress(FileNotFoundError):
                    status = [path.stat() for path in found]
                    yield status[0].st_mtime, sum(s.st_size for s in status), found

    def collect(self, size: int) -> Collected:
        """Remove the least recently used units, until the others take at most `size` bytes."""
        for path in self.root.glob("??/.partial-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - ABANDONED_S:
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

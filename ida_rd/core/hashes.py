"""SHA-256 of files, remembered: an unchanged file is not read again.

The cache lies in ``.ida-rd`` of the project, for all its processes. A file counts as unchanged while its path, size,
number, time of modification and time of change are; the last is set by the system, whoever sets the other. One that was
changed a moment ago is hashed but not remembered, since it could change again without its times showing it.

The cache comes with its folder, from whoever sent that: it carries a code made with the user's key (`ida_rd.core.key`),
and what another user wrote is not read. Of two users of one folder, the last one's stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path, sha256_file
from ida_rd.core.foreign import read_bytes
from ida_rd.core.key import seal, unseal, user_key

__all__ = ["HASH_CACHE", "digest", "file_hashes"]

HASH_CACHE = Path(".ida-rd") / "hashes.json"
LARGEST = 2**28
SETTLED_NS = 2 * 10**9  # the coarsest file system clock in use

_known: dict[str, str] = {}  # what this process has seen: a worker asks for its weights once per recipe


def digest(paths: Sequence[Path]) -> str:
    """One SHA-256 of names and contents of many files; unchanged files are not read again."""
    lines = [f"{sha}  {path.name}" for path, sha in zip(paths, file_hashes(paths), strict=True)]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def file_hashes(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file; unchanged files are not read again."""
    keys = [_key(path) for path in paths]
    if any(key not in _known for key in keys):
        _known.update(_read_cache())
    fresh: dict[str, str] = {}
    found = []
    for path, key in zip(paths, keys, strict=True):
        sha = _known.get(key) or fresh.get(key)
        if sha is None:
            sha = sha256_file(path)
            status = path.stat()
            if _key(path) == key and time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
                fresh[key] = sha
        found.append(sha)
    if fresh:
        _known.update(fresh)
        _write_cache(fresh)
    return found


def _key(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return "|".join([os.path.realpath(path), *map(str, numbers)])


def _read_cache() -> dict[str, str]:
    try:
        found = unseal(user_key(), "hashes", read_bytes(HASH_CACHE, LARGEST))
    except (OSError, UserError):
        return {}  # only a cache
    return found["files"] if found else {}


def _write_cache(fresh: dict[str, str]) -> None:
    """Add to the cache of a project; elsewhere (`ida-rd doctor` in any folder) nothing is left behind.

    Another process may write at the same time: the file is then the last one's, complete, and what the other one added
    is hashed once more.
    """
    if HASH_CACHE.parent.is_dir() or Path("params.yaml").is_file():
        content = seal(user_key(), "hashes", {"files": _read_cache() | fresh})
        # A full disk or somebody else's folder: it is only a cache.
        with contextlib.suppress(OSError, UserError), atomic_path(HASH_CACHE, follow=False) as temporary:
            temporary.write_bytes(content)

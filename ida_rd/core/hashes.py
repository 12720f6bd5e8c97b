"""SHA-256 of files, remembered: an unchanged file is not read again.

The cache lies in ``.ida-rd`` of the project, for all its processes. A file counts as unchanged while its path, size
and time of modification are. One that was modified a moment ago is hashed but not remembered, since it could change
again without its time showing it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_text

__all__ = ["HASH_CACHE", "digest", "file_hashes"]

HASH_CACHE = Path(".ida-rd") / "hashes.json"
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
            if _key(path) == key and time.time_ns() - path.stat().st_mtime_ns > SETTLED_NS:
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
    return f"{os.path.realpath(path)}|{status.st_size}|{status.st_mtime_ns}"


def _read_cache() -> dict[str, str]:
    try:
        found = json.loads(HASH_CACHE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # only a cache
    return found if isinstance(found, dict) else {}


def _write_cache(fresh: dict[str, str]) -> None:
    """Add to the cache of a project; elsewhere (`ida-rd doctor` in any folder) nothing is left behind.

    Another process may write at the same time: the file is then the last one's, complete, and what the other one added
    is hashed once more.
    """
    if HASH_CACHE.parent.is_dir() or Path("params.yaml").is_file():
        with contextlib.suppress(OSError):  # a full disk or somebody else's folder: it is only a cache
            write_text(HASH_CACHE, json.dumps(_read_cache() | fresh))

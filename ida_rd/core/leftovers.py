"""What of a folder is no image, or lies too deep: counted in one line, so that nothing is left out in silence."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ["left_out"]

MOST_KINDS = 8  # that are named
MOST_ENTRIES = 100_000  # of sub-folders that are looked through


def left_out(folder: Path, extensions: Iterable[str], pattern: str | None = None) -> str | None:
    """Count what is not taken from `folder`, hidden files excepted.

    Parameters
    ----------
    folder : Path
    extensions : iterable of str
        Of what is taken, in lower case.
    pattern : str, optional
        As in `candidate_files`: what it does not match is not counted.

    Returns
    -------
    str or None
        One line; None if there is nothing.
    """
    taken = frozenset(extensions)
    if pattern is not None and "/" in pattern:
        paths = [f"{folder}/{name}" for name in glob.glob(pattern, root_dir=folder, recursive=True)]
    else:
        names = os.listdir(folder)
        paths = [f"{folder}/{name}" for name in names if pattern is None or fnmatchcase(name, pattern)]
    kinds: Counter[str] = Counter()
    folders = []
    for path in paths:
        name = os.path.basename(path)
        if not name or name.startswith("."):
            continue
        if os.path.isfile(path):
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in taken:
                kinds[suffix or "without extension"] += 1
        elif os.path.isdir(path):
            folders.append(path)
        else:
            kinds["broken link" if os.path.islink(path) else "special file"] += 1
    parts = []
    if total := kinds.total():
        are = "is no image and is" if total == 1 else "are not images and are"
        parts.append(f"{_count(total, 'file')} in {folder} {are} left out: {_listed(kinds)}")
    if pattern is None and (deeper := _images_below(folders, taken)):
        are = "is" if deeper == 1 else "are"
        parts.append(f"{_count(deeper, 'image')} in sub-folders of {folder} {are} left out (see images.pattern)")
    return "; ".join(parts) or None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(kinds: Counter[str]) -> str:
    """Kinds, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    some = [f"{number} {_plural(kind, number)}" for kind, number in ordered[:MOST_KINDS]]
    rest = sum(number for _, number in ordered[MOST_KINDS:])
    return ", ".join([*some, *([f"{rest} others"] if rest else [])])


def _plural(kind: str, number: int) -> str:
    return f"{kind}s" if number > 1 and kind in ("broken link", "special file") else kind


def _images_below(folders: list[str], taken: frozenset[str]) -> int:
    seen = found = 0
    for top in folders:
        for _, below, files in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]
            found += sum(os.path.splitext(n)[1].lower() in taken and not n.startswith(".") for n in files)
            seen += 1 + len(files)
            if seen > MOST_ENTRIES:
                return found
    return found

"""The files of a bundle: which there are, and each one's content, read once.

Everything that checks a bundle asks this object. So what one check accepted is what the next one uses, whatever
happens in the folder meanwhile, and no name that the bundle states is ever opened: a bundle says what is in its
files, and this program knows where they are.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.core.errors import UserError, printable
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes
from ida_rd.core.readers import parse_json
from ida_rd.core.tables import parse_table

__all__ = ["DAMAGED", "NOT_WHOLE", "SIGNATURE", "SUMS", "Bundle", "refusal"]

SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"  # of a bundle that is signed; it signs the checksums, so that they cannot name it
NOT_WHOLE = "the bundle is incomplete"
DAMAGED = "the bundle is damaged"
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
MOST_FILES = 100_000
LARGEST = 64 * MEBIBYTE  # of a file that is read; figures are only hashed
LARGEST_IN_ALL = 512 * MEBIBYTE
LARGEST_HASHED = 8 * 1024 * MEBIBYTE
SHOWN = 8


class Refused(UserError):
    """A bundle that does not hold up; the message names every problem found."""


def refusal(bundle: Path, problems: list[str]) -> Refused:
    """One line of all problems."""
    shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])
    return Refused(f"{bundle} is refused: " + "; ".join(shown))


class Bundle:
    """A folder that claims to be a bundle.

    Parameters
    ----------
    root : Path
        The folder.

    Attributes
    ----------
    files : tuple of str
        Every file, by its path from the root with forward slashes, sorted.
    odd : list of str
        What is in it and may not be: links, devices, names that cannot be printed.

    Raises
    ------
    UserError
        No folder, or more in it than any bundle has.
    """

    def __init__(self, root: Path) -> None:
        if not (root / "results.json").is_file():
            raise UserError(f"{root}: is not a published bundle: it has no results.json")
        self.root = root
        self.odd: list[str] = []
        self.files = tuple(sorted(self._walk(root, "")))
        self._read: dict[str, bytes] = {}
        self._size = 0

    def _walk(self, folder: Path, prefix: str) -> list[str]:
        found: list[str] = []
        waiting = [(folder, prefix)]
        while waiting:
            folder, prefix = waiting.pop()
            for entry in os.scandir(folder):
                name = prefix + entry.name
                if printable(name) != name or len(name) > 1000:
                    self.odd.append(f"{name[:100]}: no bundle has such a name")
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append((folder / entry.name, name + "/"))
                elif entry.is_file(follow_symlinks=False):
                    found.append(name)
                else:
                    self.odd.append(f"{name}: is a link or no ordinary file, and a bundle holds files only")
            if len(found) + len(waiting) + len(self.odd) > MOST_FILES:
                raise UserError(f"{self.root}: holds more than {MOST_FILES:,} files: is this one bundle?")
        return found

    def bytes(self, name: str) -> bytes:
        """Content of a file, read the first time that it is asked for."""
        if name not in self._read:
            if name not in self.files:
                raise UserError(f"{name}: missing: {NOT_WHOLE}")
            try:
                content = read_bytes(self.root / name, min(LARGEST, LARGEST_IN_ALL - self._size), links=False)
            except OSError as error:
                raise UserError(f"{name}: cannot be read ({error.strerror})") from None
            self._size += len(content)
            self._read[name] = content
        return self._read[name]

    def text(self, name: str) -> str:
        """A file as text."""
        with decoding(f"{name}: is not UTF-8", DAMAGED):
            return self.bytes(name).decode("utf-8")

    def json(self, name: str) -> Any:
        """A JSON file; every call decodes it anew, so that nobody changes what another check sees."""
        return parse_json(self.bytes(name), name, hint=DAMAGED)

    def table(self, name: str) -> pd.DataFrame:
        """A CSV file."""
        return parse_table(self.bytes(name), name, hint=DAMAGED)

    def sha256(self, name: str) -> str:
        """Hash of a file: of what was read of it, if it was."""
        if name in self._read:
            return hashlib.sha256(self._read[name]).hexdigest()
        if self._kept(name):
            return hashlib.sha256(self.bytes(name)).hexdigest()
        digest = hashlib.sha256()
        left = LARGEST_HASHED
        with open(os.open(self.root / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            while block := file.read(MEBIBYTE):
                left -= len(block)
                if left < 0:
                    raise UserError(f"{name}: is larger than any file of a bundle")
                digest.update(block)
        return digest.hexdigest()

    @staticmethod
    def _kept(name: str) -> bool:
        """Whether a file's content is compared with something besides its checksum."""
        return not name.startswith(("figures/", "page/images/")) and not name.endswith((".png", ".html"))

    def checksums(self) -> list[str]:
        """Compare every file with ``SHA256SUMS``."""
        try:
            lines = self.text(SUMS).splitlines()
        except UserError:
            return [f"{SUMS}: missing or damaged"]
        sums: dict[str, str] = {}
        for line in lines:
            found = LINE.fullmatch(line)
            if found is None or found[2] in sums:
                return [f"{SUMS}: missing or damaged"]
            sums[found[2]] = found[1]
        present = set(self.files) - {SUMS, SIGNATURE}
        problems = [f"{name}: listed in {SUMS}, but missing" for name in sorted(sums.keys() - present)]
        problems += [f"{name}: not listed in {SUMS}" for name in sorted(present - sums.keys())]
        for name in sorted(sums.keys() & present):
            if self.sha256(name) != sums[name]:
                problems.append(f"{name}: its checksum differs from {SUMS}")
        return problems

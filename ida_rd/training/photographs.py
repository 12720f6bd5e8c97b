"""Which photographs a run is made of, by content: a run that resumes refuses others, without reading all of them.

Their hashes lie beside the checkpoint. A file counts as unchanged while its size, time of modification and time of
change are; the last is set by the system, whoever sets the other. One that was changed a moment ago is hashed again
when the run resumes, since it could change once more without its times showing it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.foreign import decoding
from ida_rd.core.hashes import SETTLED_NS
from ida_rd.core.readers import read_json
from ida_rd.training.loop import CHECKPOINT

__all__ = ["PHOTOGRAPHS", "Photographs"]

PHOTOGRAPHS = "photographs.json"
HINT = "give another --out, or remove it"
SHOWN = 3


class Photographs:
    """Hashes of the photographs of the run in `out`, those of its last start included."""

    def __init__(self, out: Path) -> None:
        self.path, self.checkpoint = out / PHOTOGRAPHS, out / CHECKPOINT
        self._before: dict[str, tuple[list[int] | None, str]] = {}
        self._now: dict[Path, tuple[list[int] | None, str]] = {}
        if self.path.is_file():
            with decoding(f"{self.path}: not the photographs of a run", HINT):
                for name, one in read_json(self.path, hint=HINT).items():
                    self._before[name] = one["status"], str(one["sha256"])

    def sha256(self, path: Path) -> str:
        """SHA-256 of a photograph; an unchanged file is not read again."""
        if path not in self._now:
            status = _status(path)
            known, sha = self._before.get(path.name, (None, ""))
            if known != status:
                sha = sha256_file(path)
            settled = _status(path) == status and time.time_ns() - max(status[1:]) > SETTLED_NS
            self._now[path] = status if settled else None, sha
        return self._now[path][1]

    def check(self, files: Sequence[Path]) -> None:
        """Raise UserError if the run has begun with others, or with these under other names: a step draws by number."""
        if not self.checkpoint.exists() or not self._before:  # before this file was written, none were told
            return
        given = {path.name: self.sha256(path) for path in files}
        before = {name: sha for name, (_, sha) in self._before.items()}
        if changed := sorted(name for name in given.keys() | before if given.get(name) != before.get(name)):
            some = ", ".join(changed[:SHOWN]) + (", ..." if len(changed) > SHOWN else "")
            raise UserError(f"{self.checkpoint} belongs to a run with other photographs ({some}): {HINT}")

    def write(self, files: Sequence[Path]) -> None:
        """Leave names, hashes and times beside the checkpoint."""
        for path in files:
            self.sha256(path)
        found = {path.name: self._now[path] for path in files}
        write_json(self.path, {name: {"sha256": sha, "status": status} for name, (status, sha) in found.items()})


def _status(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]

"""``dvc.lock``, in which DVC remembers what it ran, and which it writes in place: a kill in that moment cuts it off."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import yaml

from ida_rd.core.files import write_bytes

__all__ = ["mend"]

STAGE = re.compile(rb"^  \S.*:\s*$", re.MULTILINE)  # the line that an entry begins with
CONFLICT = re.compile(rb"^(<<<<<<<|=======|>>>>>>>)", re.MULTILINE)  # marks that git leaves
WRITING_S = 1.0  # a file that a DVC is just writing is another one by then


def mend(path: Path) -> str | None:
    """Keep the whole entries of a lock file that was cut off, and say so; None: it was not cut off.

    What is dropped, DVC finds changed and runs again.
    """
    if not path.is_file() or _whole(data := path.read_bytes()):
        return None
    time.sleep(WRITING_S)
    if path.read_bytes() != data:
        return None
    begins = [match.start() for match in STAGE.finditer(data)]
    # A cut damages the last entry alone: what is wrong elsewhere, as after a merge, is not for us to drop.
    if CONFLICT.search(data):
        return None
    for end in [data.rfind(b"\n") + 1, *begins[-1:]]:
        if _whole(data[:end]):
            write_bytes(path, data[:end])
            kept = sum(begin < end for begin in begins)
            return f"{path} was cut off (DVC was killed while writing it): {kept} stages are whole and kept"
    if len(begins) > 1:
        return None
    path.unlink()
    return f"{path} was cut off (DVC was killed while writing it) and removed: nothing in it was whole"


def _whole(data: bytes) -> bool:
    if not data.endswith(b"\n"):
        return False
    try:
        found = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return False
    stages = found.get("stages") if isinstance(found, dict) else None
    return isinstance(stages, dict) and "schema" in found and all(map(_entry, stages.values()))


def _entry(stage: Any) -> bool:
    """Whether an entry of a stage lacks nothing that DVC asks for, of which the last line may be without its value."""
    if not isinstance(stage, dict) or not stage.get("cmd") or None in stage.values():
        return False
    files = [*stage.get("deps", []), *stage.get("outs", [])]
    return all(isinstance(one, dict) and "path" in one and None not in one.values() for one in files)

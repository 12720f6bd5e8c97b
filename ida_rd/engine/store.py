"""Finished units of a long stage, kept outside its outputs.

DVC deletes a stage's outputs before it runs. A stage that takes hours therefore writes each
finished unit here first, whole or not at all, and a run after a kill takes up what is there.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from ida_rd.core.files import canonical_json

__all__ = ["JOURNAL", "Journal"]

JOURNAL = Path(".ida-rd") / "journal"


class Journal:
    """The finished units of one recipe.

    Parameters
    ----------
    recipe : dict
        Everything that decides a unit's result, apart from the unit's own input. Another recipe
        has another journal.
    root : Path
        Folder of all journals.
    """

    def __init__(self, recipe: dict, root: Path = JOURNAL) -> None:
        digest = hashlib.sha256(canonical_json(recipe).encode()).hexdigest()
        self.folder = root / digest[:24]

    def path(self, key: str, suffix: str = "") -> Path:
        """Path of a unit; `key` names the unit and the content of its input."""
        return self.folder / (hashlib.sha256(key.encode()).hexdigest()[:32] + suffix)

    def discard(self) -> None:
        """Remove this recipe's units: for a stage whose outputs are complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

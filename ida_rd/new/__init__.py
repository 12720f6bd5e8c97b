"""A project without the repository: what ``ida-rd new DIR`` writes, so that ``dvc repro`` runs there.

The code is the installed package's (``python -m ida_rd.stages.downscale``); git and DVC are set up as in a clone.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ida_rd.core.ending import undisturbed
from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_folder, write_bytes
from ida_rd.core.temporary import temporary_folder

__all__ = ["new_project"]

TEMPLATES = Path(__file__).parent
# What stands here, and where a project has it. Here no name means anything to git or DVC, which find theirs anywhere.
FILES = {
    "parameters.yaml": "params.yaml",
    "pipeline.yaml": "dvc.yaml",
    "about.md": "README.md",
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "dvc-gitignore": ".dvc/.gitignore",
}
CONFIG = "[core]\n    analytics = false\n    autostage = false\n"
WITHOUT_GIT = "    no_scm = true\n"


def new_project(folder: Path) -> bool:
    """Write a project into a folder that does not exist, or is empty: all of it, or nothing.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    bool
        Whether it is under git: in a repository of its own, or in the one that the folder lies in. Without git, DVC is
        told that there is none.

    Raises
    ------
    UserError
        The folder has something in it, is a file, or cannot be written.
    """
    with _made(folder) as made:
        for name, place in FILES.items():
            (made / place).parent.mkdir(exist_ok=True)
            write_bytes(made / place, (TEMPLATES / name).read_bytes())
        version = importlib.metadata.version("ida-rd")
        (made / "requirements.txt").write_text(f"ida-rd[pipeline]=={version}\n", encoding="utf-8")
        under_git = _git(made)
        (made / ".dvc/config").write_text(CONFIG if under_git else CONFIG + WITHOUT_GIT, encoding="utf-8")
    return under_git


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Yield a folder whose content becomes that of `folder` at the end, or is removed.

    An empty folder that is there stays the same folder: it may be the one that somebody stands in.
    """
    if not os.path.lexists(folder):
        with atomic_folder(folder) as made:
            yield made
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder that does not exist yet, or is empty")
    if any(folder.iterdir()):
        raise UserError(f"{folder} exists and is not empty: name another folder, or an empty one")
    with temporary_folder(folder) as made:
        yield made
        with undisturbed():
            for path in sorted(made.iterdir()):
                path.rename(folder / path.name)


def _git(folder: Path) -> bool:
    """Make a git repository of the folder, unless it lies in one; False where git is not installed."""
    if shutil.which("git") is None:
        return False
    asked = ["git", "rev-parse", "--is-inside-work-tree"]
    inside = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=False)
    if inside.returncode == 0 and inside.stdout.strip() == "true":
        return True
    done = subprocess.run(["git", "init", "--quiet"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"new: git init failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return True

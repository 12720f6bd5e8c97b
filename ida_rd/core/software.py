"""Optional software: packages and programs that a method needs and that may be missing.

A run with ``missing_software: skip`` goes on without a downscaler whose software is missing. Its stages
still run, since DVC's graph is what ``params.yaml`` names, but pass on a note in place of images.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ida_rd.core.errors import UserError
from ida_rd.core.files import write_json
from ida_rd.core.readers import read_json

__all__ = [
    "PIPELINE",
    "MissingSoftware",
    "needs",
    "package_version",
    "program_version",
    "skip_note",
    "write_skip_note",
]

# What brings DVC, and what is needed beside it alone: how DVC reads YAML, and the page.
PIPELINE = "pip install 'ida-rd[pipeline]'"

NOTE = "skipped.json"

ANSWER_S = 30  # until a program has said its version: some start a runtime first
LONGEST_VERSION = 200
NOT_HERE = 127  # a shell's exit code for a command that it does not find


class MissingSoftware(UserError):
    """A package or program that a method needs is not installed."""


def package_version(module: str, *, install: str) -> str:
    """Version of the package that holds `module`; nothing is imported.

    Raises
    ------
    MissingSoftware
        It is not installed; the message says to install it with `install`.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingSoftware(f"the package {module} is not installed: {install}")
    names = importlib.metadata.packages_distributions().get(module, [module])
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))


def program_version(command: Sequence[str]) -> str:
    """What a program says of its version: the first line that it prints, on stdout or else on stderr.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; ``python`` is this environment's Python.

    Raises
    ------
    MissingSoftware
        It is not on the PATH, or its exit code is 127: it is a script for something that is not installed.
    UserError
        It fails, hangs, or says nothing.
    """
    return _first_line(tuple(command))


@cache
def _first_line(command: tuple[str, ...]) -> str:
    """Ask once: many functions are of one program."""
    shown = " ".join(command)
    program = sys.executable if command[0] == "python" else shutil.which(command[0])
    if program is None:
        raise MissingSoftware(f"the program {command[0]!r} is not on the PATH: install it, or correct `version`")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"version: `{shown}` said nothing within {ANSWER_S} s and was stopped: correct it") from None
    except OSError as error:
        raise UserError(f"version: `{shown}` cannot be started ({error.strerror}): correct it") from None
    lines = [line.strip() for line in (done.stdout or done.stderr).decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    if done.returncode:
        why = lines[-1][:LONGEST_VERSION] if lines else "no message"
        if done.returncode == NOT_HERE:
            raise MissingSoftware(f"`{shown}` says that something is not installed: {why}")
        raise UserError(f"version: `{shown}` failed with exit code {done.returncode} ({why}): correct it")
    if not lines:
        raise UserError(f"version: `{shown}` printed nothing: give a command that prints the program's version")
    return lines[0][:LONGEST_VERSION]


def needs(module: str) -> None:
    """Raise MissingSoftware, in one line, if a module of the extra ``pipeline`` is not installed."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        found = False
    if not found:
        raise MissingSoftware(f"the package {module} is not installed, and the pipeline needs it: {PIPELINE}")


def write_skip_note(folder: Path, reason: str) -> None:
    """Say in an output folder that it is empty, and why."""
    write_json(folder / NOTE, {"reason": reason})


def skip_note(folder: Path) -> str | None:
    """Why an output folder is empty; None if it is not."""
    path = folder / NOTE
    return str(read_json(path, hint="run `dvc repro`")["reason"]) if path.is_file() else None

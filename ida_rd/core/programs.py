"""Run the user's own programs on image files: no shell, a time limit, and their stderr on failure."""

from __future__ import annotations

import os
import shutil
import signal
import string
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.software import MissingSoftware

__all__ = ["argument_files", "check_arguments", "run_program"]

LAST_LINES = 5


def check_arguments(arguments: list[str], known: set[str], required: set[str]) -> list[str]:
    """Check the placeholders of an argument list; raises ValueError with the reason."""
    if not arguments or not arguments[0]:
        raise ValueError("give the program and its arguments as a list")
    used = set()
    for argument in arguments:
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(argument) if name is not None]
        except ValueError as error:
            raise ValueError(f"{argument!r}: {error}; write {{{{ and }}}} for braces") from None
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ValueError(f"{argument!r}: no placeholder is called {{{name}}}; {hint} ({{{{ for a brace)")
        used |= set(names)
    if missing := required - used:
        raise ValueError("the arguments lack " + " and ".join(f"{{{name}}}" for name in sorted(missing)))
    return arguments


def argument_files(arguments: list[str]) -> list[Path]:
    """Those arguments that are files here (a script, a model): their content is part of the recipe."""
    found = [Path(argument) for argument in arguments if Path(argument).is_file()]
    program = shutil.which(arguments[0])
    if program is None and not Path(arguments[0]).is_file():
        raise MissingSoftware(f"the program {arguments[0]!r} is not on the PATH and not a file: correct the command")
    return found


def run_program(arguments: list[str], values: Mapping[str, object], output: Path, timeout_s: float) -> None:
    """Run a program that writes `output`.

    Parameters
    ----------
    arguments : list of str
        Program and arguments with ``{placeholders}``. ``python`` is this environment's Python.
    values : mapping
        Value of each placeholder.
    output : Path
        The file that it has to write.
    timeout_s : float
        Seconds until it is killed.

    Raises
    ------
    UserError
        It cannot be started, fails (with the end of its stderr), hangs, or writes nothing.
    """
    filled = [argument.format_map(values) for argument in arguments]
    if filled[0] == "python":
        filled[0] = sys.executable
    shown = " ".join(filled)
    with tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(
                filled,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,  # a group of its own, so that its children can be stopped with it
            )
        except OSError as error:
            raise UserError(f"`{shown}` cannot be started ({error.strerror}): correct the command") from None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"`{shown}` did not finish within {timeout_s:g} s and was stopped: raise timeout_s, or fix it"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        messages.seek(0)
        lines = messages.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
    if code:
        raise UserError(f"`{shown}` failed with exit code {code}: {' | '.join(lines) or 'no message'}")
    if not output.is_file() or output.stat().st_size == 0:
        raise UserError(f"`{shown}` exited normally but wrote nothing to {output.name}: it must write {{output}}")

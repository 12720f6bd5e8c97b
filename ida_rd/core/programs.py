"""Run the user's own programs on image files: no shell, a time limit, and their stderr on failure."""

from __future__ import annotations

import os
import select
import shutil
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ida_rd.core.ending import started, undisturbed
from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.software import MissingSoftware
from ida_rd.core.temporary import PROGRAM, run_folder, temporary_folder

__all__ = ["argument_files", "check_arguments", "program_folder", "run_program"]

LAST_LINES = 5
LONGEST_LINE = 400
KEPT = 65536  # bytes of what a program says on stderr: it may say much
POLL_S = 0.05  # until a program's end is noticed, if a child of its still holds stderr


@contextmanager
def program_folder() -> Iterator[Path]:
    """Yield a temporary folder for a program's input and output."""
    with temporary_folder(run_folder() or Path(tempfile.gettempdir()), PROGRAM) as folder:
        yield folder


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
    shown = _bounded(" ".join(filled))
    messages = bytearray()
    with ExitStack() as stack:
        with undisturbed():  # between its start and its being known, nobody could stop it
            try:
                process = subprocess.Popen(
                    filled,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # a group of its own, so that its children can be stopped with it
                    env=_environment(),
                )
            except (OSError, ValueError) as error:  # the latter: a zero byte
                why = getattr(error, "strerror", None) or error
                raise UserError(f"`{shown}` cannot be started ({why}): correct the command") from None
            stack.enter_context(process)
            stack.enter_context(started(process.pid))
        if not _watch(process, messages, time.monotonic() + timeout_s):
            raise UserError(
                f"`{shown}` did not finish within {timeout_s:g} s and was stopped: raise timeout_s, or fix it"
            )
    code = process.returncode
    lines = [_bounded(line) for line in messages.decode(errors="replace").strip().splitlines()[-LAST_LINES:]]
    if code:
        raise UserError(f"`{shown}` failed with exit code {code}: {' | '.join(lines) or 'no message'}")
    if not output.is_file() or output.stat().st_size == 0:
        raise UserError(f"`{shown}` exited normally but wrote nothing to {output.name}: it must write {{output}}")


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 2 :]}"


def _environment() -> dict[str, str] | None:
    """The program's temporary files lie among the run's, so that one that is killed leaves none."""
    scratch = run_folder()
    return None if scratch is None else os.environ | {"TMPDIR": str(scratch)}


def _watch(process: subprocess.Popen[bytes], messages: bytearray, deadline: float) -> bool:
    """Wait for a program, and keep the end of its stderr; False if the time is over.

    It is over when the program ends, even if a child of its holds the pipe.
    """
    assert process.stderr is not None
    pipe = process.stderr.fileno()
    os.set_blocking(pipe, False)
    open_ = True
    while True:
        ended = process.poll() is not None
        open_ = open_ and _read(pipe, messages)
        if ended:
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if open_:
            select.select([pipe], [], [], min(left, POLL_S))
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(left)


def _read(pipe: int, messages: bytearray) -> bool:
    """Read what a pipe holds at the moment, at most; False at its end."""
    for _ in range(KEPT // 4096):
        try:
            got = os.read(pipe, KEPT)
        except BlockingIOError:
            return True
        if not got:
            return False
        messages += got
        del messages[:-KEPT]
    return True

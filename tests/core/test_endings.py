"""How a command ends: one line and exit code 2 for what the user can mend, silence when nobody reads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ida_rd.core.errors import UserError, exit_with_line

NAMES = (
    "EFBIG EIO EMFILE ENAMETOOLONG EILSEQ ELOOP EBUSY ENOENT ENOSPC EDQUOT EACCES EROFS ENOTDIR ETXTBSY EISDIR EINVAL"
)
ERRORS = [getattr(errno, name) for name in NAMES.split()]


def _end(main: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        exit_with_line(main)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def _raiser(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_every_error_of_the_system_is_a_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    line = _end(_raiser(OSError(number, os.strerror(number), "a\x1b[2Jb\r.csv")), capsys)
    assert "a\\x1b[2Jb\\r.csv" in line
    assert os.strerror(number) in line


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (MemoryError(), "needs more memory than there is"),
        (MemoryError("Unable to allocate 3 GiB"), "Unable to allocate 3 GiB"),
        (RecursionError("maximum recursion depth"), "nested too deeply"),
        (OSError("of a library"), "of a library"),
        (TimeoutError(), "TimeoutError"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe"),
        (UserError("x\ny"), r"x\ny"),
    ],
)
def test_other_endings_are_a_line(error: BaseException, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert part in _end(_raiser(error), capsys)


def test_other_exceptions_are_bugs_and_stay_visible() -> None:
    with pytest.raises(KeyError):
        exit_with_line(_raiser(KeyError("x")))


PROGRAM = "from ida_rd.core.errors import exit_with_line\nexit_with_line(lambda: [print({}) for _ in range({})])"


def _run(text: str, count: int, out: Any, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a command that prints."""
    command = [sys.executable, "-c", PROGRAM.format(text, count)]
    done = subprocess.run(
        command, stdout=out, stderr=subprocess.PIPE, env=os.environ | environment, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("count", [1, 100_000])
def test_a_reader_that_stops_early_is_no_error(count: int) -> None:
    end, pipe = os.pipe()
    os.close(end)
    try:
        assert _run("'line'", count, pipe) == (141, "")
    finally:
        os.close(pipe)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_for_which_there_is_no_room_is_a_line() -> None:
    with open("/dev/full", "wb") as full:
        code, err = _run("'line'", 1, full)
    assert code == 2
    assert err.splitlines() == [
        "error: cannot write: No space left on device. Free some space or fix the permissions, then run again:"
        " finished work is kept."
    ]


def test_a_terminal_without_the_character_gets_its_escape() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format("'\\u2193 \\udcff'", 1)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\u2193 \\udcff\n", b"")

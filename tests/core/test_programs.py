"""The user's programs: what they say is bounded, what they leave is stopped."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from ida_rd.core.errors import UserError
from ida_rd.core.programs import KEPT, run_program
from ida_rd.core.temporary import use_run_folder


def _run(tmp_path: Path, program: str, timeout_s: float = 60) -> None:
    (tmp_path / "program.py").write_text(program)
    out = tmp_path / "out"
    run_program(["python", str(tmp_path / "program.py"), "{output}"], {"output": out}, out, timeout_s)


def test_a_program_may_say_very_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a gigabyte on stderr, and the reason last: neither the memory nor the disk is filled."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no-such-folder"))
    program = (
        "import sys\n"
        "for _ in range(4096):\n"
        "    sys.stderr.write('x' * 65536)\n"
        "sys.stderr.write('\\nout of luck: ' + 'y' * 10**6 + ' the end\\n')\n"
        "sys.exit(3)\n"
    )
    tracemalloc.start()
    with pytest.raises(UserError, match=r"exit code 3: y.* the end") as error:
        _run(tmp_path, program)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(error.value)) < 3000
    assert "\n" not in str(error.value)
    assert peak < 32 * KEPT
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_a_program_that_never_stops_saying_things_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did not finish within 0\.5 s"):
        _run(tmp_path, "import sys\nwhile True:\n    sys.stderr.write('x' * 65536)\n", 0.5)


@pytest.mark.parametrize("session", [False, True])
def test_a_program_whose_child_holds_its_stderr_is_not_waited_for(tmp_path: Path, session: bool) -> None:
    program = (
        "import pathlib, subprocess, sys\n"
        "deaf = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)'\n"
        "deaf += '; print(1, flush=True); time.sleep(600)'\n"
        "command = [sys.executable, '-c', deaf]\n"
        f"child = subprocess.Popen(command, start_new_session={session}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "pathlib.Path(sys.argv[1]).write_text('done')\n"
    )
    begun = time.monotonic()
    _run(tmp_path, program)
    assert time.monotonic() - begun < 30
    child = int((tmp_path / "pid").read_text())
    if session:
        psutil.Process(child).kill()  # it left the group: a service that is meant to stay
    else:
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_program_that_closes_its_stderr_is_waited_for(tmp_path: Path) -> None:
    program = "import os, sys, time\nos.close(2)\ntime.sleep(0.5)\nopen(sys.argv[1], 'w').write('done')\n"
    _run(tmp_path, program)
    assert (tmp_path / "out").read_text() == "done"


def test_a_program_reads_nothing_and_its_files_lie_among_the_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    program = "import sys, tempfile\nopen(sys.argv[1], 'w').write(repr(sys.stdin.read()))\ntempfile.mkstemp()\n"
    use_run_folder(tmp_path / "run")
    try:
        _run(tmp_path, program)
    finally:
        use_run_folder(None)
    assert (tmp_path / "out").read_text() == "''"
    assert len(list((tmp_path / "run").iterdir())) == 1


@pytest.mark.parametrize("arguments", [["no-such-program"], ["python", "a\0b"], ["/"]])
def test_a_program_that_cannot_be_started_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(UserError, match="cannot be started"):
        run_program(arguments, {}, tmp_path / "out", 1)


def test_programs_run_in_threads_too(tmp_path: Path) -> None:
    """Signals are for the main thread; elsewhere nothing is asked of them."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _run(tmp_path, "import sys; open(sys.argv[1], 'w').write('done')")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert subprocess.run([sys.executable, "-c", ""]).returncode == 0

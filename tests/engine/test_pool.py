"""Workers that die, and several devices: who is blamed, who is replaced, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from ida_rd.core.ending import started
from ida_rd.core.errors import UserError
from ida_rd.engine.attempts import Attempts
from ida_rd.engine.local import run_units


def test_who_has_killed_two_runs_alone_and_who_has_killed_three_is_given_up() -> None:
    attempts = Attempts(3)
    assert [attempts.next(i) for i in range(3)] == [0, 1, 2]
    assert attempts.next(3) is None
    attempts.died(1)
    attempts.give_back(2)
    assert attempts.next(1) == 2, "it was not begun"
    assert attempts.next(2) == 1
    attempts.died(1)
    assert attempts.is_alone(1)
    assert attempts.next(1) is None
    assert attempts.next(0) == 1
    attempts.died(1)
    assert attempts.next(0) is None
    assert (attempts.poison, attempts.again) == ([1], 2)


def _make(folder: Path) -> Callable[[int], int]:
    return partial(_one, folder)


def _one(folder: Path, unit: int) -> int:
    with (folder / f"begun-{unit}").open("a") as file:
        file.write("x")
    if unit >= 100 and len((folder / f"begun-{unit}").read_text()) <= unit - 100:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return unit


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_unit_that_kills_and_then_does_not_is_done(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    told: list[set[int]] = []
    units = [100 + deaths, *range(6)]
    done = [u for u, _ in run_units(partial(_make, tmp_path), units, label="deadly", killed=told.append)]
    assert sorted(done) == sorted(units)
    assert deaths < 2 or done[-1] == 102, "alone, after all others"
    assert len((tmp_path / f"begun-{100 + deaths}").read_text()) == deaths + 1
    assert all((tmp_path / f"begun-{i}").read_text() == "x" for i in range(6)), "the others were not disturbed"
    assert len(told) == deaths, "what they were writing is to be removed"
    assert f"2 workers, {deaths} ran again" in capsys.readouterr().err


def test_an_only_unit_that_kills_does_not_kill_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    with pytest.raises(UserError, match=r"^deadly: image 199 ended 3 worker processes"):
        list(run_units(partial(_make, tmp_path), [199], label="deadly"))


def _cannot_load() -> Callable[[int], int]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_workers_that_die_while_they_load_are_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    with pytest.raises(UserError, match=r"^large: a worker process died while it loaded what it needs, most often for"):
        list(run_units(_cannot_load, [1, 2, 3], label="large"))


def _on(device: str) -> Callable[[int], str]:
    return partial(_says, device)


def _says(device: str, unit: int) -> str:
    time.sleep(0.2)
    return f"{device} {os.getpid()}"


@pytest.mark.skipif(sys.platform != "linux", reason="spawning imports this module by its path")
def test_every_device_has_a_process_and_all_draw_from_one_queue() -> None:
    makers = [partial(_on, device) for device in ("first", "second")]
    found = dict(run_units(makers[0], list(range(8)), label="devices", parallel=False, each=makers))
    assert sorted(found) == list(range(8))
    said = set(found.values())
    assert {text.split()[0] for text in said} == {"first", "second"}
    assert len(said) == 2, "one process each"
    assert str(os.getpid()) not in {text.split()[1] for text in said}
    (alone,) = [result for _, result in run_units(makers[0], [0], label="devices", parallel=False, each=makers)]
    assert alone == f"first {os.getpid()}", "one unit needs no other process"


def _with_program(folder: Path) -> Callable[[int], int]:
    return partial(_start_and_die, folder)


def _start_and_die(folder: Path, unit: int) -> int:
    if unit == 0 and not (folder / "program").exists():
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with started(process.pid):
            (folder / "program").write_text(str(process.pid))
            os.kill(os.getpid(), signal.SIGKILL)
    return unit


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a dead worker's programs to its parent")
def test_programs_of_a_worker_that_was_killed_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    assert len(list(run_units(partial(_with_program, tmp_path), [0, 1, 2], label="programs"))) == 3
    assert not psutil.pid_exists(int((tmp_path / "program").read_text()))


def test_an_error_that_is_no_users_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    with pytest.raises(ZeroDivisionError) as error:
        list(run_units(_divider, [1, 0, 2], label="quotients"))
    assert "in _divide" in str(error.value.__cause__)
    with pytest.raises(TypeError, match="pickle"):
        list(run_units(_unpicklable, [1, 2], label="functions"))


def _divider() -> Callable[[int], float]:
    return _divide


def _divide(unit: int) -> float:
    return 1 / unit


def _unpicklable() -> Callable[[int], object]:
    return lambda unit: open(os.devnull)

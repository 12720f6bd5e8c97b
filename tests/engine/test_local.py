"""Workers: the same results from any number of them, errors reported, none left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT

from ida_rd.core.errors import UserError
from ida_rd.core.progress import advance
from ida_rd.engine.local import run_units
from ida_rd.engine.pool import start_method


def _square(unit: int) -> int:
    if unit == 13:
        raise UserError("13 is unlucky")
    if unit == 14:
        os._exit(9)
    return unit * unit


def _make() -> partial:
    return partial(_square)


@pytest.mark.parametrize("workers", ["1", "2", "3"])
def test_every_unit_is_done_once(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    results = dict(run_units(_make, list(range(10)), label="squares"))
    assert results == {i: i * i for i in range(10)}
    assert dict(run_units(_make, [], label="nothing")) == {}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_in_a_unit_reaches_the_user(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    with pytest.raises(UserError, match="13 is unlucky"):
        list(run_units(_make, [1, 13, 2], label="squares"))


def _cannot_begin() -> partial:
    raise UserError("weights.pth: is damaged")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_before_the_first_unit_reaches_the_user(
    workers: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    with pytest.raises(UserError, match=r"^weights.pth: is damaged$"):
        list(run_units(_cannot_begin, [1, 2, 3], label="squares"))
    assert "Traceback" not in capfd.readouterr().err


def test_no_process_is_forked_once_a_gpu_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert start_method() == "spawn"
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    assert dict(run_units(_make, list(range(4)), label="squares")) == {i: i * i for i in range(4)}


def _slowly() -> partial:
    return partial(_step)


def _step(unit: int) -> int:
    for i in range(3):
        time.sleep(0.4)
        advance((i + 1) / 4)
    return unit


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_long_unit_shows_its_progress(
    workers: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", workers)
    monkeypatch.setattr("ida_rd.core.bar.LINE_S", 0.0)
    assert len(list(run_units(_slowly, [1, 2], label="slow"))) == 2
    lines = capfd.readouterr().err
    shown = [float(text) for text in re.findall(r"slow: ([\d.]+)/2", lines)]
    assert shown == sorted(shown)
    assert shown[-1] == 2
    assert any(0 < value < 1 for value in shown), lines


def test_a_unit_that_kills_three_workers_is_named_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    done: list[int] = []
    with pytest.raises(UserError, match=r"^squares: image 14 ended 3 worker processes, most often for lack of memory"):
        done.extend(unit for unit, _ in run_units(_make, [14, *range(10)], label="squares"))
    assert sorted(done) == list(range(10))


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, time\n"
        "from ida_rd.engine.local import run_units\n"
        "def work(unit):\n"
        f"    pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
        "    time.sleep(0.2)\n"
        "def make():\n"
        "    return work\n"
        "if __name__ == '__main__':\n"
        "    list(run_units(make, list(range(1000)), label='slow'))\n"
    )
    script = tmp_path / "slow.py"
    script.write_text(program)
    variables = os.environ | {"IDA_RD_WORKERS": "2", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script)], env=variables, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(list(tmp_path.glob("*.pid"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(_alive(pid) for pid in workers):
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False

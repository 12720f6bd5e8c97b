"""A lock that stayed when its host went is taken over; one whose process is heard of is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import wait_for
from conftest import ROOT

from ida_rd.core.project import Project
from ida_rd.engine import lock, owner
from ida_rd.engine.local import run_units
from ida_rd.engine.lock import making, working

BEAT_S, STALE_S = 0.1, 1.0

# Holds a folder, or a file of a cache, as a process of another host would, and writes a name when told to end.
HOLDS = """
import platform, sys, time
from pathlib import Path
platform.node = lambda: sys.argv[3]
from ida_rd.core.project import Project
from ida_rd.engine import lock, owner
owner.BEAT_S = 0.1
folder = Path(sys.argv[2])
held = lock.working(Project(folder)) if sys.argv[1] == "working" else lock.making(folder / "fit", "the fit")
with held:
    (folder / "in").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
"""


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    monkeypatch.setattr(owner, "BEAT_S", BEAT_S)
    monkeypatch.setattr(owner, "STALE_S", STALE_S)
    monkeypatch.setattr(lock, "LOOK_S", 0.1)
    started: list[subprocess.Popen[bytes]] = []

    def start(how: str = "working", host: str = "elsewhere") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLDS, how, str(tmp_path), host]
        started.append(subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}))
        assert wait_for((tmp_path / "in").exists)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


class _Waiting(threading.Thread):
    """A run that wants the folder, or the file."""

    def __init__(self, folder: Path, how: str = "working") -> None:
        super().__init__(daemon=True)
        self.folder, self.how, self.says = folder, how, ""
        self.inside, self.go = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        held = working(Project(self.folder)) if self.how == "working" else making(self.folder / "fit", "the fit")
        with held:
            name = ".ida-rd/run.owner" if self.how == "working" else "fit.owner"
            self.says = (self.folder / name).read_text()
            self.inside.set()
            self.go.wait(60)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process with its lock")
@pytest.mark.parametrize("how", ["working", "making"])
def test_what_a_host_holds_that_is_gone_is_taken_over_and_what_a_busy_one_holds_is_not(
    hold: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The system keeps the lock of a stopped process, as a file server may keep that of a host which is gone."""
    process = hold(how)
    waiting = _Waiting(tmp_path, how)
    assert not waiting.inside.wait(1.5 * STALE_S), "it renews its file"
    said = capfd.readouterr().err
    assert f"(process {process.pid} on elsewhere, since " in said
    assert said.endswith("): waiting for it\n")
    assert len(said.splitlines()) == 1
    process.send_signal(signal.SIGSTOP)
    assert waiting.inside.wait(60)
    said = capfd.readouterr().err
    assert said.startswith(f"nothing was heard of that process (process {process.pid} on elsewhere, since ")
    assert len(said.splitlines()) == 1
    third = _Waiting(tmp_path, how)
    assert not third.inside.wait(1.5 * STALE_S), "whoever took it over holds it"
    (tmp_path / "go").touch()
    process.send_signal(signal.SIGCONT)  # it was not gone: it finds that it holds nothing any more
    assert process.wait(30) == 0
    file = tmp_path / (".ida-rd/run.owner" if how == "working" else "fit.owner")
    assert file.read_text() == waiting.says
    waiting.go.set()
    assert third.inside.wait(60)
    third.go.set()
    for thread in (waiting, third):
        thread.join(60)
    assert not file.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops a process with its lock")
def test_what_a_process_of_this_host_holds_is_its_own_while_it_lives(
    hold: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    import platform

    process = hold(host=platform.node())
    process.send_signal(signal.SIGSTOP)  # as busy as can be
    waiting = _Waiting(tmp_path)
    assert not waiting.inside.wait(1.5 * STALE_S)
    process.kill()
    assert waiting.inside.wait(60)
    waiting.go.set()
    waiting.join(60)


def test_nothing_is_taken_from_one_that_did_not_promise_to_be_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A former version's, or a file that somebody wrote."""
    monkeypatch.setattr(owner, "STALE_S", 0.0)
    path = tmp_path / "run.owner"
    for text, stale in (
        ('{"beats": true, "host": "elsewhere", "process": 1, "since": 0}', True),
        ('{"host": "elsewhere", "process": 1, "since": 0}', False),
        ('{"beats": true, "host": "elsewhere"}', False),
        ("[]", False),
        ("", False),
    ):
        path.write_text(text)
        watched = owner.Watched(path)
        time.sleep(0.01)
        assert watched.is_stale() == stale, text
        path.unlink()
        assert not watched.is_stale()


_at_fork: list[bool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _at_fork.append(_beats()))


def _beats() -> bool:
    return any(thread.name == "heartbeat" for thread in threading.enumerate())


def _make() -> Callable[[int], tuple[int, int]]:
    return lambda unit: (os.getpid(), len(owner._heart.files))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_it_is_renewed_while_units_are_computed_and_rests_while_their_processes_are_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    monkeypatch.setattr(owner, "BEAT_S", BEAT_S)
    _at_fork.clear()
    with working(Project(tmp_path)):
        file = tmp_path / ".ida-rd/run.owner"
        for _, (process, files) in run_units(_make, list(range(4)), label="numbers"):
            assert process != os.getpid()
            assert files == 0, "what a run holds, its workers do not"
            os.utime(file, (0, 0))
            assert wait_for(lambda: file.stat().st_mtime > 0, 10)
        assert _at_fork == [False, False]
    assert not _beats()

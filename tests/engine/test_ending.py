"""Ctrl-C, SIGTERM and kills, on real runs of programs that hang: all is gone at once, nothing is left or lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, stage_here, units
from numpy.typing import NDArray
from PIL import Image

from ida_rd.engine.local import run_units

PROMISED_S = 2.0
SLACK_S = 8.0  # a machine that tests share

# Scales an image. But while `hang` is there, only the first call does: others start a child, leave a file among the
# temporary ones, and wait; they do not listen to SIGTERM.
PROGRAM = """
import os, pathlib, signal, subprocess, sys, tempfile, time
from PIL import Image
here = pathlib.Path(__file__).parent
source, target, width, height = sys.argv[1:5]
with open(here / "calls", "a") as file:
    file.write("x")
first = os.path.getsize(here / "calls") == 1
if (here / "hang").exists() and not first:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tempfile.mkstemp()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    for pid in (os.getpid(), child.pid):
        (here / f"{pid}.pid").touch()
    time.sleep(600)
Image.open(source).resize((int(width), int(height)), Image.Resampling.BOX).save(target)
"""
PARAMETERS = """
seed: 0
images: {source: folder, path: photos, crop: 64}
attributes: {source: image-statistics}
balance: {groups: 2, size: 4}
factors: [4]
downscalers:
  outer: {method: command, command: [python, PROGRAM, "{input}", "{output}", "{width}", "{height}"]}
upscalers:
  flow-compact: {method: flow, heat: 0.9}
samples: 1
distortions:
  psnr: {method: pixel}
aggregate: {resamples: 200}
"""


@pytest.fixture
def folder(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    """A project whose downscaler is a program that hangs at its second image."""
    root = tmp_path / "run"
    (root / "photos").mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "program.py").write_text(PROGRAM)
    (tmp_path / "program" / "hang").touch()
    (root / "params.yaml").write_text(PARAMETERS.replace("PROGRAM", str(tmp_path / "program" / "program.py")))
    for i, (y, x) in enumerate([(0, 0), (60, 190), (200, 200), (400, 300)]):
        Image.fromarray(astronaut[y : y + 64, x : x + 64]).save(root / "photos" / f"photo-{i}.png")
    for name in ("plan", "attributes", "balance"):
        assert stage_here(name, cwd=root).returncode == 0
    return root


def _start(
    root: Path, *command: str, workers: int, env: dict[str, str] | None = None, **options: object
) -> subprocess.Popen[str]:
    variables = {
        "IDA_RD_WORKERS": str(workers),
        "IDA_RD_OFFLINE": "1",
        "IDA_RD_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(root.parent / "temporary"),
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=root,
        env=os.environ | variables | (env or {}),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's foreground group
        **options,  # type: ignore[call-overload]
    )


def _wait(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def _runs(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _hanging(root: Path, count: int) -> list[int]:
    """Wait until programs hang; return them and their children."""
    place = root.parent / "program"
    assert _wait(lambda: len(list(place.glob("*.pid"))) >= 2 * count, 60)
    return [int(path.stem) for path in place.glob("*.pid")]


def _partial(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(".partial-")]


def _all_gone(root: Path, pids: list[int], begun: float) -> None:
    assert _wait(lambda: not any(map(_runs, pids)), SLACK_S), "left behind"
    assert time.monotonic() - begun < PROMISED_S + SLACK_S
    assert _wait(lambda: not list((root.parent / "temporary").iterdir()), SLACK_S)
    assert not _partial(root)


def _family(process: subprocess.Popen[str]) -> list[int]:
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


RUN = ("-m", "ida_rd.run", "--without-report")
STAGE = (str(ROOT / "stages/downscale.py"), "outer", "4")


@pytest.mark.parametrize(
    ("command", "workers", "number", "code", "says"),
    [
        (RUN, 2, signal.SIGINT, 130, "interrupted: finished work is kept"),
        (STAGE, 2, signal.SIGTERM, 143, "ended by SIGTERM: finished work is kept"),
        (STAGE, 1, signal.SIGTERM, 143, "ended by SIGTERM: finished work is kept"),
        (STAGE, 1, signal.SIGINT, 130, "interrupted: finished work is kept"),
        (STAGE, 2, signal.SIGHUP, 129, "ended by SIGHUP: finished work is kept"),
    ],
)
def test_a_run_that_is_cancelled_ends_with_its_programs_and_resumes(
    folder: Path, command: tuple[str, ...], workers: int, number: int, code: int, says: str
) -> None:
    process = _start(folder, *command, workers=workers)
    pids = [*_hanging(folder, workers), *_family(process)]
    assert list((folder.parent / "temporary").iterdir())
    begun = time.monotonic()
    for _ in range(3):  # impatient: each after the first must change nothing
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        time.sleep(0.15)
    assert process.stderr is not None
    text = process.stderr.read()
    assert process.wait(30) == code, text
    assert text.count(says) == 1
    assert "Traceback" not in text
    _all_gone(folder, pids, begun)
    assert not (folder / "data/lr/x4/outer").exists()
    (folder.parent / "program" / "hang").unlink()
    process = _start(folder, *STAGE, workers=workers)
    text = process.communicate(timeout=120)[1]
    assert process.returncode == 0, text
    assert "downscale outer x4: 1 of 4 images were already finished" in text
    assert len((folder.parent / "program" / "calls").read_text()) == 1 + workers + 3
    assert len(list((folder / "data/lr/x4/outer").glob("*.png"))) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_whose_dvc_is_killed_ends_with_its_programs(folder: Path, workers: int) -> None:
    starter = f"import subprocess; subprocess.run({[sys.executable, *STAGE]!r})"
    process = _start(folder, "-c", starter, workers=workers, env={"DVC_STAGE": "downscale"})
    pids = [*_hanging(folder, workers), *_family(process)[1:]]
    begun = time.monotonic()
    process.kill()
    process.communicate()
    _all_gone(folder, pids, begun)
    assert units(folder), "the first LR image"


def test_workers_whose_parent_is_killed_end_with_its_programs_and_files(folder: Path) -> None:
    process = _start(folder, *STAGE, workers=2)
    pids = [*_hanging(folder, 2), *_family(process)]
    begun = time.monotonic()
    process.kill()
    process.communicate()
    _all_gone(folder, pids, begun)


# What does not listen: a library that computes, and code that catches whatever is raised.
DEAF = {
    "library": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "catches": "catch()",
}


@pytest.mark.parametrize("deaf", DEAF)
@pytest.mark.parametrize("workers", [1, 2])
def test_work_that_does_not_listen_ends_all_the_same(tmp_path: Path, deaf: str, workers: int) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "stage.py").write_text(
        "import hashlib, os, tempfile, time\nfrom pathlib import Path\n"
        "from ida_rd.core.files import atomic_folder\n"
        "from ida_rd.core.programs import program_folder\n"
        "from ida_rd.engine.local import run_units\n"
        "from ida_rd.engine.script import run_stage\n"
        "def catch():\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(600)\n"
        "        except BaseException:\n"
        "            pass\n"
        "def work(unit):\n"
        "    with program_folder(), atomic_folder(f'out/{unit}'):\n"
        f"        {'tempfile.mkdtemp()' if workers > 1 else ''}\n"
        "        Path(f'{os.getpid()}.pid').touch()\n"
        f"        {DEAF[deaf]}\n"
        "def make():\n"
        "    return work\n"
        "def main():\n"
        "    with atomic_folder('whole'):\n"
        "        list(run_units(make, [1, 2], label='deaf'))\n"
        "run_stage(main)\n"
    )
    root = tmp_path / "run"
    process = _start(root, str(tmp_path / "stage.py"), workers=workers)
    assert _wait(lambda: len(list(root.glob("*.pid"))) == workers, 30)
    pids = _family(process)
    begun = time.monotonic()
    process.terminate()
    text = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert text.count("ended by SIGTERM") == 1
    _all_gone(root, pids, begun)
    assert sorted(path.name for path in root.iterdir() if path.suffix != ".pid") == ["out"]


def test_a_signal_that_is_ignored_stays_ignored_and_others_processes_keep_theirs(tmp_path: Path) -> None:
    """``nohup``; and a process that somebody's code forks is ended by SIGTERM without a word, and alone."""
    script = (
        "import multiprocessing, os, signal, time\n"
        "from ida_rd.core.errors import exit_with_line\n"
        "def main():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
        "    child.start()\n"
        "    time.sleep(0.1)\n"
        "    child.terminate()\n"
        "    child.join()\n"
        "    time.sleep(2)\n"
        "    print('went on', child.exitcode)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "exit_with_line(main)\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGINT) == signal.default_int_handler\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on -15\n", "")


def test_results_that_nobody_asks_for_are_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-C in a notebook: the loop over the results ends, and the workers with it."""
    monkeypatch.setenv("IDA_RD_WORKERS", "2")
    before = set(multiprocessing.active_children())
    results = run_units(_long, [0.0, 600.0, 600.0], label="long")
    assert next(results) == (0.0, 0.0)
    assert len(set(multiprocessing.active_children()) - before) == 2
    begun = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < PROMISED_S + SLACK_S
    assert set(multiprocessing.active_children()) == before


def _long() -> Callable[[float], float]:
    return _sleep


def _sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds

"""Dask clusters of processes on 127.0.0.1, and works that go wrong on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from conftest import ROOT

from ida_rd.engine.store import Record, Store
from ida_rd.engine.units import Timed, Unit, Work

TESTS = Path(__file__).resolve().parent


def wait_for(condition: Callable[[], object], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


class Cluster:
    """A scheduler, which cannot import this project, and workers with one thread each, which have no nanny."""

    def __init__(self, folder: Path, env: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        without = folder / "without" / "ida_rd"
        without.mkdir(parents=True)
        (without / "__init__.py").write_text("raise ImportError('the scheduler needs nothing of this')\n")
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file),
            env={"PYTHONPATH": str(without.parent), **env},
        )  # fmt: skip
        assert wait_for(self._address), self.said()

    def _address(self) -> str:
        with suppress(OSError, ValueError):
            return json.loads(self.file.read_text())["address"]
        return ""

    @property
    def address(self) -> str:
        return self._address()

    def _start(self, what: str, *arguments: str, env: dict[str, str], cwd: Path | None = None) -> Any:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        log = (self.folder / f"{what}-{time.monotonic_ns()}.log").open("wb")
        variables = os.environ | {"IDA_RD_OFFLINE": "1", "IDA_RD_DEVICE": "cpu", "OMP_NUM_THREADS": "1"} | env
        for key in ("IDA_RD_ENGINE", "DVC_STAGE"):
            variables.pop(key, None)
        with log:
            return subprocess.Popen(command, env=variables, cwd=cwd or self.folder, stdout=log, stderr=log)

    def worker(
        self, code: Path = ROOT, *, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker that has the code in a folder."""
        path = f"{code}{os.pathsep}{TESTS}"
        place = self.folder / f"scratch-{time.monotonic_ns()}"
        started = self._start(
            "worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--local-directory", str(place), "--memory-limit", "0", "--death-timeout", "60",
            env={"PYTHONPATH": path} | (env or {}), cwd=cwd,
        )  # fmt: skip
        self.workers.append(started)
        return started

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def has(self, count: int) -> bool:
        """Wait until the scheduler knows so many workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return wait_for(lambda: len(client.nthreads()) == count)

    def end(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def settings(self) -> dict[str, str]:
        """What a run on it has in its environment."""
        return {"IDA_RD_ENGINE": "dask", "IDA_RD_SCHEDULER": str(self.file), "IDA_RD_CLUSTER_TIMEOUT": "60"}


@contextmanager
def cluster(folder: Path, workers: int, **env: str) -> Iterator[Cluster]:
    """A cluster whose scheduler has some variables in its environment."""
    folder.mkdir(parents=True)
    made = Cluster(folder, env)
    try:
        for _ in range(workers):
            made.worker()
        yield made
    finally:
        made.stop()


# A work whose units are numbers: squares them, and says which process did it. What `recipe` says goes wrong.


def open_squares(recipe: dict[str, Any], device: str) -> Callable[[int, list[str]], dict[str, Record]]:
    if os.environ.get("BROKEN"):  # as where a library or a file of weights is missing
        raise OSError("libcudart.so.12: cannot open shared object file")
    with (Path(recipe["folder"]) / "opened").open("a") as file:
        file.write("x")
    return partial(_square, recipe)


def _square(recipe: dict[str, Any], given: int, parts: list[str]) -> dict[str, Record]:
    folder = Path(recipe["folder"])
    with (folder / f"begun-{given}").open("a") as file:
        file.write("x")
    if given in recipe.get("kills", ()):  # as the system does, for memory
        os.kill(os.getpid(), signal.SIGKILL)
    if given in recipe.get("waits", ()):
        while not (folder / "go").exists():
            time.sleep(0.02)
    time.sleep(recipe.get("lasts", 0))
    return {part: Record({"square": given**2}) for part in parts}


def begun(folder: Path, number: int) -> int:
    """How often a unit was begun."""
    path = folder / f"begun-{number}"
    return len(path.read_text()) if path.exists() else 0


def squares(store: Store, count: int) -> list[Unit]:
    return [Unit(f"photo-{i}", {"a": store.key("square", i)}, i) for i in range(count)]


SQUARES = Work(open_squares, "squares", timed=Timed("upscale", "mine/x4/bicubic", 1))

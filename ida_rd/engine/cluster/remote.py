"""A cluster's worker: whether it is like the run that asks, and the work on a unit. It runs there and needs no dask.

What it is asked for lies in a folder of the run, below the store, which all workers must see: ``job.json`` says what
a worker must be like, ``job.pickle`` holds the work and its recipe. Nothing of that is unpickled by a worker that
differs. One unit is computed at a time, whatever the number of threads: what is loaded serves one, and methods may
depend on the working directory.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pickle
import platform
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.core.code import PACKAGE
from ida_rd.core.ending import stop_programs
from ida_rd.core.errors import UserError
from ida_rd.core.foreign import reason
from ida_rd.core.key import private_name, user_key
from ida_rd.engine.attempts import ALONE, MOST
from ida_rd.engine.device import devices
from ida_rd.engine.local import keep_freed_memory
from ida_rd.engine.store import Store
from ida_rd.engine.times import Spent
from ida_rd.engine.units import Task, open_worker

__all__ = [
    "Job",
    "Met",
    "Order",
    "Refused",
    "answer",
    "compute",
    "hashes_of",
    "key_mark",
    "marks",
    "nothing",
    "versions_of",
]

RUNNING = "running"  # folder of marks: a unit that is under way has one
KEPT = 2  # recipes whose networks stay loaded: two runs may share a cluster


class Job(NamedTuple):
    """What is to be done: see `ida_rd.engine.units.run`."""

    work: Any
    recipe: Any
    store: Path


class Order(NamedTuple):
    """Where a job lies, and the hash of what lies there."""

    folder: str
    sha256: str


class Refused(UserError):
    """A worker that is not like the run that asks."""


class Met(NamedTuple):
    """A unit that has ended workers before, so many, and is not to be tried now."""

    deaths: int


_lock = threading.Lock()
_jobs: dict[str, tuple[str, Callable[[Task], Spent], str, Store]] = {}  # by the job's hash; the last ones
_seen: dict[
    Path, str
] = {}  # hashes of files when they were first asked about: what is loaded may be older than the file
_marks: set[Path] = set()  # of the unit that this process computes


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages in this process."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def key_mark() -> str:
    """Name that only who has this user's key can know."""
    return private_name(user_key(), "cluster")


def hashes_of(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Hashes of source files by their names in a recipe: ours from the package, the user's from `folder`."""
    found = {}
    for name in names:
        with suppress(OSError):
            found[name] = hashlib.sha256(_file(name, folder).read_bytes()).hexdigest()
    return found


def _file(name: str, folder: Path) -> Path:
    return PACKAGE.parent / name if name.startswith(f"{PACKAGE.name}/") else folder / name


def _difference(asked: Mapping[str, Any]) -> str:
    """In what this process differs from what is asked for; empty: in nothing that matters."""
    if key_mark() != asked["key"]:
        return (
            "it has another key, so that none would take the other's units: give both the same home, or one"
            " IDA_RD_KEY_FILE"
        )
    folder = Path(asked["folder"])
    if not folder.is_dir():
        return f"it does not see the folder {folder}: mount it there, under the same path"
    here = hashes_of(asked["code"], folder)
    for name, sha256 in asked["code"].items():
        if here.get(name) != sha256:
            return f"its {name} is another than here: install the same version there, and start the worker again"
        if _seen.setdefault(_file(name, folder), sha256) != sha256:
            return f"it has loaded {name} before that changed: start the worker again"
    if not asked["mixed"]:
        for name, wanted in asked["versions"].items():
            found = versions_of([name])[name] if name != "python" else platform.python_version()
            if found != wanted:
                return (
                    f"it has {name} {found}, and here is {wanted}: install the same there, or set IDA_RD_ALLOW_MIXED=1"
                )
    return ""


def _device(work: Any) -> str:
    found = devices() if work.torch else ["cpu"]
    if len(found) > 1:
        raise Refused(
            f"it sees {len(found)} GPUs, and a worker serves one: start one for each, with CUDA_VISIBLE_DEVICES or"
            " IDA_RD_DEVICE=cuda:N"
        )
    return found[0]


def _opened(order: Order) -> tuple[Callable[[Task], Spent], str, Store]:
    """The function of one unit, the device and the store; loaded once per job, if this process is as it is to be."""
    if order.sha256 not in _jobs:
        folder = Path(order.folder)
        try:
            text, data = (folder / "job.json").read_bytes(), (folder / "job.pickle").read_bytes()
        except OSError as error:
            raise Refused(
                f"it does not see the folder {folder.parent} ({error.strerror}): mount it there, under the same path"
            ) from None
        if hashlib.sha256(text + data).hexdigest() != order.sha256:
            raise Refused(f"what it sees in {folder.parent} is another folder: mount the run's there")
        asked = json.loads(text)
        if problem := _difference(asked):
            raise Refused(problem)
        os.chdir(asked["folder"])
        keep_freed_memory()
        _end_with_worker()
        try:
            job: Job = pickle.loads(data)
        except (ImportError, AttributeError) as error:  # of the user's own: ours is the same
            raise Refused(f"it cannot import what this run asks for ({error}): install that there") from None
        device = _device(job.work)
        while len(_jobs) >= KEPT:
            del _jobs[next(iter(_jobs))]
        store = Store(job.store)
        _jobs[order.sha256] = asked["folder"], open_worker(job.work, job.recipe, device, store), device, store
    here, worker, device, store = _jobs[order.sha256]
    os.chdir(here)  # another run's unit may have been computed meanwhile
    if device == "cpu" and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)  # of this thread, which may be another than that which loaded
    return worker, device.partition(":")[0], store


def _ready(order: Order) -> tuple[Callable[[Task], Spent], str, Store]:
    """What `_opened` returns, or raise UserError: what goes wrong there is this worker's, and no unit's fault."""
    try:
        return _opened(order)
    except (OSError, RuntimeError) as error:  # an OSError would else be taken for that of a worker which is gone
        raise Refused(f"it cannot load what this run needs ({reason(error)}): mend that there") from None


async def answer(order: Order) -> dict[str, str]:
    """Say whether this worker is like the run that asks, and load what its units need, off the event loop."""

    def look() -> dict[str, str]:
        with _lock:
            try:
                return {"problem": "", "device": _ready(order)[1], **_self()}
            except UserError as error:
                return {"problem": str(error), "device": "", **_self()}

    return await asyncio.to_thread(look)


def _self() -> dict[str, str]:
    """Host and versions of this worker."""
    found = versions_of(("torch", "numpy", "pillow"))
    return {"host": socket.gethostname(), "versions": ", ".join(f"{key} {value}" for key, value in found.items())}


def nothing(recipe: Any, device: str) -> Callable[[Any, list[str]], dict[str, Any]]:
    """Open a work that does nothing: to look at a worker."""
    return lambda given, parts: {}


def marks(folder: Path) -> dict[int, int]:
    """How many marks units have: one while they are under way, and one for every worker that died meanwhile."""
    found: dict[int, int] = {}
    with suppress(OSError):
        for name in os.listdir(folder / RUNNING):
            number = name.partition("-")[0]
            if number.isdecimal():  # a file system may keep files of its own there
                found[int(number)] = found.get(int(number), 0) + 1
    return found


def compute(folder: str, sha256: str, tasks: bytes, device: str, alone: bool) -> list[tuple[int, Spent | Met | None]]:
    """Compute what is missing of some units, and keep it; say what each took, if anything of it was computed here.

    Parameters
    ----------
    folder, sha256 : str
        Where the job lies, and the hash of what lies there.
    tasks : bytes
        Pickled: numbers of the units, and each with its missing parts.
    device : str
        Kind of device that the first workers have; empty: any.
    alone : bool
        Whether they are tried though they have ended several workers.

    Returns
    -------
    list of (int, Spent or Met or None)
        Met: the unit has ended workers, and is not tried now.

    Raises
    ------
    UserError
        What a unit raised; those before it are kept.
    Refused
        This worker has joined later, and differs.
    """
    with _lock:
        try:
            worker, kind, store = _ready(Order(folder, sha256))
            if device and kind != device:
                raise Refused(f"it computes on {kind}, and the others on {device}: give all the same IDA_RD_DEVICE")
        except UserError as error:
            raise Refused(f"{_address()}: {error}") from None
        died = marks(Path(folder))
        return [
            (number, _one(Path(folder), number, task, died.get(number, 0), alone, worker, store))
            for number, task in pickle.loads(tasks)
        ]


def _one(
    folder: Path, number: int, task: Task, died: int, alone: bool, worker: Callable[[Task], Spent], store: Store
) -> Spent | Met | None:
    """Compute what is missing of a unit. While it is under way, it has a mark: if this process ends, that stays."""
    if died >= MOST or (died >= ALONE and not alone):
        return Met(died)
    mark = folder / RUNNING / f"{number}-{secrets.token_hex(6)}"
    _marks.add(mark)
    try:
        mark.touch()
    except FileNotFoundError:  # the run has ended
        _marks.discard(mark)
        return None
    try:
        unit, missing = task
        if missing := [part for part in missing if store.get(unit.keys[part]) is None]:
            return worker((unit, missing))  # else another has kept it meanwhile, or this one, and was not heard
        return None
    except UserError as error:
        raise UserError(str(error)) from None  # some kinds of it cannot be sent
    finally:
        _marks.discard(mark)
        with suppress(OSError):
            mark.unlink()


def _address() -> str:
    from distributed import get_worker

    return get_worker().address


class _End:
    """Stops the programs of a worker's unit when the worker is ended; that is no fault of the unit's."""

    def teardown(self, worker: Any) -> None:
        for mark in list(_marks):
            with suppress(OSError):
                mark.unlink()
        stop_programs()


def _end_with_worker() -> None:
    from distributed.worker import Worker

    for worker in list(Worker._instances):
        plugins: Any = worker.plugins
        plugins.setdefault("ida-rd", _End())

"""Units of work on a Dask cluster: ``IDA_RD_ENGINE=dask``. Only then is this module, and with it dask, imported.

``IDA_RD_SCHEDULER``
    ``tcp://host:port``, or the path of the file that ``dask scheduler --scheduler-file`` writes.
``IDA_RD_CLUSTER_TIMEOUT``
    Seconds without any worker after which a run ends (default 300); the next one goes on.
``IDA_RD_ALLOW_MIXED=1``
    Workers may have other versions of libraries, or other kinds of devices; each unit remembers its own.

The scheduler sees numbers and small messages alone: results go to the store, which all workers must see. It needs
nothing of this package. What a worker must be like, and its side of all this: `ida_rd.engine.remote`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import queue
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ida_rd.core.code import PACKAGE, code_hashes
from ida_rd.core.errors import UserError
from ida_rd.core.foreign import read_bytes
from ida_rd.core.project import Project
from ida_rd.core.temporary import remove_stale, temporary_folder
from ida_rd.engine import remote
from ida_rd.engine.attempts import Attempts, poisoned
from ida_rd.engine.progress import Progress
from ida_rd.engine.store import Store
from ida_rd.engine.units import Task, Unit, Work, name_of

try:
    import distributed
except ImportError:
    raise UserError(
        "IDA_RD_ENGINE is 'dask', which needs a package more: pip install 'ida-rd[cluster]', or unset it"
    ) from None

__all__ = ["connected", "look_at_cluster", "look_at_workers", "run_on_cluster"]

SCHEDULER, TIMEOUT, MIXED = "IDA_RD_SCHEDULER", "IDA_RD_CLUSTER_TIMEOUT", "IDA_RD_ALLOW_MIXED"
VERSIONS = ("torch", "numpy", "pillow")
ANSWER_S = 30.0  # that a scheduler has to answer, and its file to appear
LOOK_S = 1.0  # between looks at the cluster
AHEAD = 2  # units in flight per worker
LARGEST_FILE = 2**20
KEPT = "finished images are kept: run again to go on"

_shown: set[str] = set()  # dashboards that were printed


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, "").strip() or "300"
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"{TIMEOUT} is {text!r}: give a whole number of seconds, at least 1, or unset it")
    return float(text)


def _address(limit: float) -> str:
    """The scheduler's address, from the environment or from the file that it names."""
    text = os.environ.get(SCHEDULER, "").strip()
    if not text:
        raise UserError(
            f"IDA_RD_ENGINE is 'dask', and {SCHEDULER} is not set: give tcp://host:port, or the path of the file that"
            " `dask scheduler --scheduler-file` writes"
        )
    if "://" in text:
        return text
    deadline = time.monotonic() + min(limit, ANSWER_S)
    while True:
        try:
            found = json.loads(read_bytes(text, LARGEST_FILE))["address"]
            if isinstance(found, str):
                return found
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        if time.monotonic() > deadline:
            raise UserError(
                f"{SCHEDULER}: {text} is not there, or no scheduler's file: start `dask scheduler --scheduler-file"
                f" {text}`, or give tcp://host:port"
            )
        time.sleep(0.2)


@contextmanager
def connected() -> Iterator[Any]:
    """Yield a client of the scheduler that the environment names."""
    for name in list(logging.root.manager.loggerDict):  # its errors are told in one line
        if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="distributed")
    limit = _timeout()
    address = _address(limit)
    try:
        client = distributed.Client(
            address, timeout=min(limit, ANSWER_S), set_as_default=False, name="ida-rd", heartbeat_interval="5s"
        )
    except (OSError, ValueError, TypeError, RuntimeError, ImportError):
        raise UserError(
            f"{SCHEDULER}: no scheduler answers at {address}: start `dask scheduler` there, or correct the address;"
            " finished images are kept"
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=1)


def _gone(client: Any) -> UserError:
    return UserError(f"the scheduler at {client.scheduler.address if client.scheduler else '?'} is gone; {KEPT}")


def _workers(client: Any) -> list[str]:
    """Addresses of the workers that the scheduler knows now."""
    if client.status != "running":
        raise _gone(client)
    try:
        return sorted(client.nthreads())
    except (OSError, TimeoutError, ValueError):
        raise _gone(client) from None


def _await_workers(client: Any, limit: float) -> list[str]:
    begun, said = time.monotonic(), False
    while not (found := _workers(client)):
        waited = time.monotonic() - begun
        if waited > limit:
            raise _none(limit)
        if waited > LOOK_S and not said:
            said = True
            print(f"dask: waiting for workers at {client.scheduler.address}", file=sys.stderr, flush=True)
        time.sleep(0.1)
    return found


def _none(limit: float) -> UserError:
    return UserError(
        f"no workers for {limit:g} s ({TIMEOUT}): start `dask worker` with the scheduler's address; {KEPT}"
    )


def _tolerate(client: Any) -> None:
    # Who is to blame for a worker's end is counted here, by unit: on machines that are taken away, tasks see many.
    def raise_limit(dask_scheduler: Any) -> None:  # sent by value: the scheduler needs nothing of this package
        dask_scheduler.allowed_failures = max(dask_scheduler.allowed_failures, 1000000)

    with suppress(OSError):
        client.run_on_scheduler(raise_limit)


def _by_name() -> Callable[..., Any]:
    """What a task calls: it finds `remote.compute` where it runs, since the scheduler looks into it and has no such."""

    def compute(*arguments: Any) -> Any:
        import importlib

        return importlib.import_module("ida_rd.engine.remote").compute(*arguments)

    return compute


def _code_names(value: Any) -> set[str]:
    """Names of the source files that a recipe rests on, wherever in it they are."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, part in value.items():
            found |= set(part) if key == "code" and isinstance(part, Mapping) else _code_names(part)
    elif isinstance(value, list | tuple):
        for part in value:
            found |= _code_names(part)
    return found


def _order(folder: Path, work: Work, recipe: Any, store: Store) -> remote.Order:
    """Write down what is to be done, and what a worker must be like."""
    names = _code_names(recipe) | {f"{PACKAGE.name}/engine/{path.name}" for path in (PACKAGE / "engine").glob("*.py")}
    if work.open.__module__.startswith(f"{PACKAGE.name}."):
        names |= set(code_hashes(work.open.__module__))
    asked = {
        "folder": os.getcwd(),
        "key": remote.key_mark(),
        "code": remote.hashes_of(sorted(names), Path.cwd()),
        "versions": remote.versions_of(dict.fromkeys((*VERSIONS, *work.packages))),
        "mixed": os.environ.get(MIXED, "").strip() == "1",
    }
    text = json.dumps(asked).encode()
    data = pickle.dumps(remote.Job(work, recipe, store.root))
    (folder / remote.RUNNING).mkdir()
    (folder / "job.pickle").write_bytes(data)
    (folder / "job.json").write_bytes(text)
    return remote.Order(str(folder), hashlib.sha256(text + data).hexdigest())


def look_at_workers(client: Any, order: remote.Order) -> dict[str, dict[str, str]]:
    """Ask every worker whether it is like this run; those that are gone meanwhile do not answer.

    Returns
    -------
    dict
        By address: ``problem`` (empty: none), ``device``, ``host``, ``versions``.
    """
    found: dict[str, dict[str, str]] = {}
    for address, told in client.run(remote.answer, order, on_error="return").items():
        if isinstance(told, OSError):
            continue
        if isinstance(told, Exception):
            why = f"it cannot run what this version sends ({told}): install the same version there"
            told = {"problem": why, "device": "", "host": "", "versions": ""}
        found[address] = told
    return found


def look_at_cluster(project: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """The scheduler's address, and what its workers say of themselves: can they work on a project?"""
    store = Store(Project(project).state / "store")
    store.root.mkdir(parents=True, exist_ok=True)
    with connected() as client, temporary_folder(store.root) as folder:
        found = _workers(client)
        order = _order(folder, Work(remote.nothing, "doctor", torch=True), {}, store)
        try:
            return client.scheduler.address, look_at_workers(client, order) if found else {}
        except (OSError, TimeoutError, ValueError):
            raise _gone(client) from None


def _meet(client: Any, order: remote.Order, label: str) -> str:
    """Look at every worker before the first unit; return the kind of device that they have."""
    kinds: dict[str, str] = {}
    try:
        answers = look_at_workers(client, order)
    except (OSError, TimeoutError, ValueError):
        raise _gone(client) from None
    for address, told in answers.items():
        if told["problem"]:
            raise UserError(f"{label}: worker {address}: {told['problem']}")
        kinds[told["device"]] = address
    if len(kinds) > 1 and os.environ.get(MIXED, "").strip() != "1":
        both = " and ".join(f"{address} on {kind}" for kind, address in sorted(kinds.items()))
        raise UserError(
            f"{label}: workers compute on different devices ({both}), whose results may differ by a grey level: give"
            f" all the same IDA_RD_DEVICE, or set {MIXED}=1"
        )
    return next(iter(kinds), "") if len(kinds) < 2 else ""


def _show(client: Any, workers: int) -> None:
    with suppress(Exception):  # a scheduler without one
        link = client.dashboard_link
        if link and link not in _shown:
            _shown.add(link)
            print(
                f"dask: {workers} worker{'s' if workers > 1 else ''} at {client.scheduler.address}, dashboard {link}",
                file=sys.stderr,
                flush=True,
            )


def run_on_cluster(
    work: Work, recipe: Any, waiting: list[Task], store: Store, told: Callable[[str, Any], None]
) -> Iterator[Unit]:
    """Yield units as what was missing of them is in the store; `told` hears what each took, where that can be asked.

    Raises
    ------
    UserError
        What a unit raised; a worker that differs; no workers, no scheduler; or units that ended three workers, after
        all others.
    """
    limit = _timeout()
    store.root.mkdir(parents=True, exist_ok=True)
    remove_stale(store.root)
    with connected() as client, temporary_folder(store.root) as folder:
        workers = _await_workers(client, limit)
        _show(client, len(workers))
        _tolerate(client)
        order = _order(folder, work, recipe, store)
        kind = _meet(client, order, work.label)
        bar = Progress(work.label, len(waiting))
        run = _Run(client, order, kind, waiting, limit, bar, told)
        bar.workers = len(workers)
        try:
            yield from run.units()
        finally:
            run.cancel()
            bar.close()


class _Run:
    def __init__(
        self, client: Any, order: remote.Order, kind: str, waiting: list[Task], limit: float, bar: Progress, told: Any
    ) -> None:
        self.told, self.spent = told, None  # what the last unit took
        self.client, self.order, self.kind, self.waiting = client, order, kind, waiting
        self.limit, self.bar = limit, bar
        self.compute = _by_name()
        self.attempts = Attempts(len(waiting))
        self.flying: dict[int, Any] = {}  # futures by number of unit
        self.ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.looked = self.seen = time.monotonic()

    def units(self) -> Iterator[Unit]:
        while True:
            self._begin()
            if not self.flying:
                break
            with suppress(queue.Empty):
                number, future = self.ended.get(timeout=LOOK_S)
                if self._take(number, future):
                    self.told(name_of(self.waiting[number]), self.spent)
                    yield self.waiting[number][0]
                    if not self.flying:  # the last line tells all
                        self.bar.again = self._died()
                    self.bar.finished()
            if time.monotonic() - self.looked > LOOK_S:
                self._look()
        self.bar.again = self._died()
        if self.attempts.poison:
            raise poisoned(self.bar.label, [name_of(self.waiting[number]) for number in self.attempts.poison])

    def _begin(self) -> None:
        """Keep a few units in flight for every worker."""
        while len(self.flying) < AHEAD * max(self.bar.workers, 1):
            number = self.attempts.next(len(self.flying))
            if number is None:
                return
            alone = self.attempts.is_alone(number)
            arguments = (*self.order, number, pickle.dumps(self.waiting[number]), self.kind, alone)
            key = f"ida-rd-{self.order.sha256[:12]}-{Path(self.order.folder).name}-{number}-{int(alone)}"
            try:
                future = self.client.submit(self.compute, *arguments, key=key, pure=False)
            except (OSError, RuntimeError, ValueError):
                raise _gone(self.client) from None
            self.flying[number] = future
            future.add_done_callback(partial(self._end, number))

    def _end(self, number: int, future: Any) -> None:
        self.ended.put((number, future))

    def _take(self, number: int, future: Any) -> bool:
        """Whether a unit is finished; it may be put back."""
        if number not in self.flying or self.flying[number] is not future:
            return False
        if future.status == "finished":
            self.flying.pop(number)
            self.spent = None
            with suppress(Exception):  # its worker may be gone: the unit is in the store all the same
                self.spent = future.result(timeout=LOOK_S)
            future.release()
            return True
        if future.status != "error":
            raise _gone(self.client)
        self.flying.pop(number)
        try:
            error = future.exception(timeout=ANSWER_S)
        except (OSError, TimeoutError):
            raise _gone(self.client) from None
        future.release()
        if isinstance(error, remote.Met):
            self.attempts.died(number, error.args[0])
            return False
        if isinstance(error, distributed.KilledWorker):  # a scheduler that did not take the higher limit
            self.attempts.died(number)
            return False
        if isinstance(error, remote.Refused):
            raise UserError(f"{self.bar.label}: worker {error}")
        raise error

    def _look(self) -> None:
        """Look whether the scheduler and any worker are still there."""
        found = _workers(self.client)
        self.looked = time.monotonic()
        self.bar.workers = len(found)
        if found:
            self.seen = self.looked
        elif self.looked - self.seen > self.limit:
            raise _none(self.limit)
        self.bar.again = self._died()
        self.bar.tick()

    def _died(self) -> int:
        """How many workers have died under their units: those left marks."""
        found = remote.marks(Path(self.order.folder))
        return sum(max(count - (number in self.flying), 0) for number, count in found.items())

    def cancel(self) -> None:
        """Let the scheduler forget what is not begun; what a worker has begun it finishes, and keeps."""
        if self.flying and self.client.status == "running":
            with suppress(Exception):
                self.client.cancel(list(self.flying.values()), force=True)

"""A run's connection to the scheduler that the environment names, and which workers that knows."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import read_bytes

try:
    import distributed
    from distributed import KilledWorker
except ImportError:
    raise UserError(
        "IDA_RD_ENGINE is 'dask', which needs a package more: pip install 'ida-rd[cluster]', or unset it"
    ) from None

__all__ = [
    "ANSWER_S",
    "LOOK_S",
    "KilledWorker",
    "await_workers",
    "connected",
    "gone",
    "no_workers",
    "show",
    "time_limit",
    "tolerate",
    "workers_of",
]

SCHEDULER, TIMEOUT = "IDA_RD_SCHEDULER", "IDA_RD_CLUSTER_TIMEOUT"
ANSWER_S = 30.0  # that a scheduler has to answer, and its file to appear
LOOK_S = 1.0  # between looks at the cluster
LARGEST_FILE = 2**20
KEPT = "finished images are kept: run again to go on"

_shown: set[str] = set()  # dashboards that were printed


def time_limit() -> float:
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
    limit = time_limit()
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


def gone(client: Any) -> UserError:
    return UserError(f"the scheduler at {client.scheduler.address if client.scheduler else '?'} is gone; {KEPT}")


def workers_of(client: Any) -> list[str]:
    """Addresses of the workers that the scheduler knows now."""
    if client.status != "running":
        raise gone(client)
    try:
        return sorted(client.nthreads())
    except (OSError, TimeoutError, ValueError):
        raise gone(client) from None


def await_workers(client: Any, limit: float) -> list[str]:
    begun, said = time.monotonic(), False
    while not (found := workers_of(client)):
        waited = time.monotonic() - begun
        if waited > limit:
            raise no_workers(limit)
        if waited > LOOK_S and not said:
            said = True
            print(f"dask: waiting for workers at {client.scheduler.address}", file=sys.stderr, flush=True)
        time.sleep(0.1)
    return found


def no_workers(limit: float) -> UserError:
    return UserError(
        f"no workers for {limit:g} s ({TIMEOUT}): start `dask worker` with the scheduler's address; {KEPT}"
    )


def tolerate(client: Any) -> None:
    # Who is to blame for a worker's end is counted here, by unit: on machines that are taken away, tasks see many.
    def raise_limit(dask_scheduler: Any) -> None:  # sent by value: the scheduler needs nothing of this package
        dask_scheduler.allowed_failures = max(dask_scheduler.allowed_failures, 1000000)

    with suppress(OSError):
        client.run_on_scheduler(raise_limit)


def show(client: Any, workers: int) -> None:
    with suppress(Exception):  # a scheduler without one
        link = client.dashboard_link
        if link and link not in _shown:
            _shown.add(link)
            print(
                f"dask: {workers} worker{'s' if workers > 1 else ''} at {client.scheduler.address}, dashboard {link}",
                file=sys.stderr,
                flush=True,
            )

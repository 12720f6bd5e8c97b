"""What a worker must be like, written down for all of them, and whether they are."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.core.code import PACKAGE, code_hashes
from ida_rd.core.errors import UserError
from ida_rd.core.project import Project
from ida_rd.core.temporary import temporary_folder
from ida_rd.engine.cluster import remote
from ida_rd.engine.cluster.connect import connected, gone, workers_of
from ida_rd.engine.store import Store
from ida_rd.engine.units import Work

__all__ = ["look_at_cluster", "look_at_workers", "meet", "write_order"]

MIXED = "IDA_RD_ALLOW_MIXED"
VERSIONS = ("torch", "numpy", "pillow")


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


def write_order(folder: Path, work: Work, recipe: Any, store: Store) -> remote.Order:
    """Write down what is to be done, and what a worker must be like."""
    names = _code_names(recipe) | {
        path.relative_to(PACKAGE.parent).as_posix() for path in (PACKAGE / "engine").rglob("*.py")
    }
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
        found = workers_of(client)
        order = write_order(folder, Work(remote.nothing, "doctor", torch=True), {}, store)
        try:
            return client.scheduler.address, look_at_workers(client, order) if found else {}
        except (OSError, TimeoutError, ValueError):
            raise gone(client) from None


def meet(client: Any, order: remote.Order, label: str) -> str:
    """Look at every worker before the first unit; return the kind of device that they have."""
    kinds: dict[str, str] = {}
    try:
        answers = look_at_workers(client, order)
    except (OSError, TimeoutError, ValueError):
        raise gone(client) from None
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

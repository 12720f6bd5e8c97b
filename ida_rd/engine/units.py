"""The seam: what is to be done on one side, where and how on the other.

A room says what a unit of its work is, by which keys its parts are known, and which function does it. `run` looks up
what the store has, gives the rest to this machine's processes, and yields every unit once, whole. Other engines plug
in here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ida_rd.engine.device import device_name
from ida_rd.engine.environment import environment
from ida_rd.engine.local import run_units
from ida_rd.engine.memory import out_of_memory, too_large
from ida_rd.engine.store import Finished, Record, Store

__all__ = ["Function", "Unit", "Work", "run"]

# Takes a unit's input and the names of the missing parts. One whose parts take long yields them one by one, and each
# is kept as it comes.
Function = Callable[[Any, list[str]], Mapping[str, Record] | Iterator[tuple[str, Record]]]


@dataclass(frozen=True)
class Unit:
    """Usually one image, with all that is to be known about it.

    Attributes
    ----------
    name : str
        For messages.
    keys : mapping
        Its parts, by name, and the key of each in the store.
    given : Any
        What the function is given. Picklable; paths in it are absolute.
    size : tuple of int or None
        Width and height of the largest image in it, where memory goes by that.
    """

    name: str
    keys: Mapping[str, str]
    given: Any
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Work:
    """What is done to the units of a room.

    Attributes
    ----------
    open : callable
        ``open(recipe, device)``, called once in each process, loads what is needed and returns the `Function` of one
        unit. A module-level function, so that it can be sent to another process.
    label : str
        Shown with the progress.
    torch : bool
        Whether torch computes it: then it may run on a GPU, fed by one process, otherwise in one thread per process.
    here : bool
        Whether it must be done in this process, because it uses an object that lives here.
    packages : tuple of str
        Whose versions are recorded with every unit.
    memory : float or None
        Bytes that a unit takes per pixel of its `Unit.size`; None: not known.
    """

    open: Callable[[Any, str], Function]
    label: str
    torch: bool = False
    here: bool = False
    packages: tuple[str, ...] = ()
    memory: float | None = None

    def need(self, unit: Unit) -> float | None:
        """Bytes that a unit takes, where that is known."""
        return self.memory * unit.size[0] * unit.size[1] if self.memory and unit.size else None


def run(work: Work, recipe: Any, units: Iterable[Unit], store: Store) -> Iterator[tuple[Unit, dict[str, Finished]]]:
    """Yield every unit with all its parts; those that the store has come first, the others as they finish.

    Parameters
    ----------
    work : Work
    recipe : Any
        What `Work.open` is given; picklable.
    units : iterable of Unit
    store : Store
        Where finished units are kept.

    Raises
    ------
    UserError
        What a unit raised. Finished units are kept.
    """
    waiting: list[tuple[Unit, list[str]]] = []
    count, refused = 0, store.refused
    for unit in units:
        count += 1
        found = {part: store.get(key) for part, key in unit.keys.items()}
        missing = [part for part, finished in found.items() if finished is None]
        if missing:
            waiting.append((unit, missing))
        else:
            yield unit, {part: finished for part, finished in found.items() if finished is not None}
    if len(waiting) < count:
        print(
            f"{work.label}: {count - len(waiting)} of {count} images were already finished", file=sys.stderr, flush=True
        )
    if store.refused > refused:
        print(
            f"{work.label}: {store.refused - refused} stored results are left out: this user did not write them, or"
            " somebody changed them",
            file=sys.stderr,
            flush=True,
        )
    if not waiting:
        return
    device = device_name() if work.torch else "cpu"
    made = store.put_environment(environment(device, work.packages))
    make_worker = partial(_worker, work, recipe, device, store, made)
    parallel = device == "cpu" and not work.here
    need = max((work.need(unit) or 0.0 for unit, _ in waiting), default=0.0) or None
    done = run_units(make_worker, waiting, label=work.label, parallel=parallel, need=need, killed=store.forget)
    for (unit, _), _ in done:
        yield unit, _whole(unit, store)


def _worker(work: Work, recipe: Any, device: str, store: Store, made: str) -> Callable[[tuple[Unit, list[str]]], None]:
    if work.torch and device == "cpu" and not work.here:
        import torch

        torch.set_num_threads(1)  # one worker per core, and the same order of sums for any number of workers
    try:
        function = work.open(recipe, device)
    except (MemoryError, OSError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise too_large(error, work.label, "what it loads", None, None) from None
    return partial(_one, work, function, store, made)


def _one(work: Work, function: Function, store: Store, made: str, task: tuple[Unit, list[str]]) -> None:
    """Compute what is missing of a unit, and keep it."""
    unit, missing = task
    try:
        found = function(unit.given, missing)
        for part, record in found.items() if isinstance(found, Mapping) else found:
            store.put(unit.keys[part], record, made)
    except (MemoryError, OSError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise too_large(error, work.label, f"image {unit.name}", unit.size, work.need(unit)) from None


def _whole(unit: Unit, store: Store) -> dict[str, Finished]:
    found = {}
    for part, key in unit.keys.items():
        finished = store.get(key)
        if finished is None:
            raise RuntimeError(f"{unit.name}: its part {part} is not in the store though its work has ended")
        found[part] = finished
    return found

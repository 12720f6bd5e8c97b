"""The seam: what is to be done on one side, where and how on the other.

A room says what a unit of its work is, by which keys its parts are known, and which function does it. `run` looks up
what the store has, gives the rest to an engine (this machine's processes, or a cluster), and yields every unit once,
whole. Engines plug in here and nowhere else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ida_rd.engine.device import devices, engine_name, no_collector
from ida_rd.engine.environment import environment
from ida_rd.engine.local import run_units
from ida_rd.engine.memory import out_of_memory, too_large
from ida_rd.engine.shards import Shard, ShareEnds, shard
from ida_rd.engine.store import Finished, Record, Store
from ida_rd.engine.times import Clock, Place, Spent, Timed, begin, now

__all__ = ["Function", "Task", "Timed", "Unit", "Work", "name_of", "open_worker", "run"]

LATE_S = 90.0  # that a network file system may take to show a file that was not there when it was last asked for

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
    need : float or None
        Bytes that it takes, where they do not go by `size` alone.
    """

    name: str
    keys: Mapping[str, str]
    given: Any
    size: tuple[int, int] | None = None
    need: float | None = None


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
    timed : Timed or None
        What it is called in `ida_rd.engine.times`; None: its times are not kept.
    """

    open: Callable[[Any, str], Function]
    label: str
    torch: bool = False
    here: bool = False
    packages: tuple[str, ...] = ()
    memory: float | None = None
    timed: Timed | None = None

    def need(self, unit: Unit) -> float | None:
        """Bytes that a unit takes, where that is known."""
        if unit.need is not None:
            return unit.need
        return self.memory * unit.size[0] * unit.size[1] if self.memory and unit.size else None


Task = tuple[Unit, list[str]]  # a unit, and the names of its missing parts


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
        What a unit raised, or what is wrong with the machines that compute. Finished units are kept.
    ShareEnds
        This process computes a share of the units, and has: nothing can be made of it alone. If every unit is
        finished, whichever process did it, they are yielded.
    """
    share, refused = shard(), store.refused
    clock = Clock(work.timed, store.times, str(share or ""))
    waiting: list[Task] = []
    count = 0
    if share is not None:
        units = list(units)
        waiting = [task for position, unit in enumerate(units) if share.has(position) and (task := _open(unit, store))]
        if waiting or any(_open(unit, store) for unit in units):
            for unit, missing in waiting:
                clock.met(len(unit.keys), len(missing))
            with clock.running():
                for _ in _computed(work, recipe, waiting, store, clock):
                    pass
            _say_share(work.label, share, len(waiting), len(units))
            raise ShareEnds
    for unit in units:
        count += 1
        found = {part: store.get(key) for part, key in unit.keys.items()}
        missing = [part for part, finished in found.items() if finished is None]
        clock.met(len(found), len(missing))
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
    with clock.running():
        for unit in _computed(work, recipe, waiting, store, clock):
            yield unit, _whole(unit, store)


def _open(unit: Unit, store: Store) -> Task | None:
    """What is missing of a unit; None if it is finished."""
    missing = [part for part, key in unit.keys.items() if store.get(key) is None]
    return (unit, missing) if missing else None


def _say_share(label: str, share: Shard, computed: int, count: int) -> None:
    of = len(range(share.number, count, share.count))
    print(
        f"{label}: {share}: {computed} of its {of} images are computed now, {of - computed} were finished; when all"
        " shares are, run without IDA_RD_SHARD to assemble",
        file=sys.stderr,
        flush=True,
    )


def _computed(work: Work, recipe: Any, waiting: list[Task], store: Store, clock: Clock) -> Iterator[Unit]:
    """Yield units as what was missing of them is in the store."""
    if not waiting:
        return
    if engine_name() == "dask" and not work.here:
        from ida_rd.engine.cluster.run import run_on_cluster  # the only way to it: dask may not be installed

        yield from run_on_cluster(work, recipe, waiting, store, clock.add)
        return
    found = devices() if work.torch else ["cpu"]
    makers = [partial(open_worker, work, recipe, device, store) for device in found]
    done = run_units(
        makers[0],
        waiting,
        label=work.label,
        parallel=found == ["cpu"] and not work.here,
        need=max((work.need(unit) or 0.0 for unit, _ in waiting), default=0.0) or None,
        killed=store.forget,
        name=name_of,
        each=[partial(_on_device, device, maker) for device, maker in zip(found, makers, strict=True)]
        if len(found) > 1 and not work.here
        else (),
    )
    for (unit, _), spent in done:
        clock.add(unit.name, spent)
        yield unit


def name_of(task: Task) -> str:
    """Name of a unit, for messages."""
    return task[0].name


def _on_device(device: str, maker: Callable[[], Callable[[Task], Spent]]) -> Callable[[Task], Spent]:
    """Make a worker that has one GPU of several: methods that ask for a device themselves get that one, too."""
    import torch

    os.environ["IDA_RD_DEVICE"] = device
    torch.cuda.set_device(device)
    return maker()


def open_worker(work: Work, recipe: Any, device: str, store: Store) -> Callable[[Task], Spent]:
    """Load what a recipe asks for; return the function that computes what is missing of a unit, keeps it, and says what
    that took.

    Called once in each process. What computes it is recorded there, too: it may be another machine.
    """
    begun = begin(device)
    with no_collector():
        if work.torch and device == "cpu" and not work.here:
            import torch

            torch.set_num_threads(1)  # one worker per core, and the same order of sums for any number of workers
        known = environment(device, work.packages)
        made = store.put_environment(known)
        try:
            function = work.open(recipe, device)
        except (MemoryError, OSError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise too_large(error, work.label, "what it loads", None, None) from None
    place = Place.here(device, known, now(device) - begun, torch=work.torch)
    return partial(_one, work, function, store, made, device, place)


def _one(work: Work, function: Function, store: Store, made: str, device: str, place: Place, task: Task) -> Spent:
    """Compute what is missing of a unit, and keep it."""
    unit, missing = task
    begun = now(device)
    try:
        found = function(unit.given, missing)
        for part, record in found.items() if isinstance(found, Mapping) else found:
            store.put(unit.keys[part], record, made)
    except (MemoryError, OSError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise too_large(error, work.label, f"image {unit.name}", unit.size, work.need(unit)) from None
    return Spent.since(begun, len(missing), place, device)


def _whole(unit: Unit, store: Store) -> dict[str, Finished]:
    """All parts of a unit whose work has ended; what another host wrote, a network file system may show later."""
    found = {}
    deadline = time.monotonic() + (0 if engine_name() == "local" else LATE_S)
    for part, key in unit.keys.items():
        while (finished := store.get(key)) is None and time.monotonic() < deadline:
            store.look_again(key)
            time.sleep(0.1)
        if finished is None:
            raise RuntimeError(f"{unit.name}: its part {part} is not in the store though its work has ended")
        found[part] = finished
    return found

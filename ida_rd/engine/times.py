"""What the units of a run took: seconds, beside the store, and in no output.

Every call of `ida_rd.engine.units.run` appends a line to ``.ida-rd/times.jsonl``. It is there and nowhere in ``data/``
or ``metrics/``, because two equal runs give the same bytes, and never the same seconds: in an output, a repetition
would look like a change to DVC, and every bundle would differ from its own rerun. The record of what computed a unit
(``environment.json``) is an output too, and its hash is its name in the store. Like all of ``.ida-rd`` the file can be
removed at any time; then nothing is known of the past, and no result changes. It comes with its folder from whoever
sent that, so it is read as a stranger's file, and nothing but what people read is made of it.

A unit's clock runs in the process that computes it, around the function of its room: what that returns is bytes and
numbers of the host, and a GPU is waited for before either reading. Not in it: that a process starts, and what the stage
does with results.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from ida_rd.core.errors import UserError
from ida_rd.core.files import atomic_path
from ida_rd.core.foreign import read_bytes

__all__ = ["Clock", "Cost", "Place", "Spent", "Timed", "Took", "begin", "costs", "now", "read_times"]

LARGEST = 2**25  # bytes of the file, from which the older half is dropped
MOST_ROWS = 1000  # units of a run whose seconds are kept one by one
SCHEMA = 1


class Timed(NamedTuple):
    """What a `Work` is called where its times are kept: stage, branch (as `Branch.path` has it), and K."""

    stage: str
    branch: str = ""
    samples: int | None = None


@dataclass(frozen=True)
class Place:
    """Where units are computed.

    Attributes
    ----------
    process : str
        Host and number of the process.
    device : str
        ``cpu`` or ``cuda``.
    processor : str
        Model of the processor, or of the GPU.
    threads : int or None
        Of torch, where that computes; those of other libraries are not known.
    load_s : float
        Seconds that it took to load what the units need.
    """

    process: str
    device: str
    processor: str
    threads: int | None
    load_s: float

    @classmethod
    def here(cls, device: str, environment: Mapping[str, str], load_s: float, *, torch: bool) -> Place:
        """Describe this process."""
        library = sys.modules.get("torch") if torch else None
        return cls(
            f"{socket.gethostname()}:{os.getpid()}",
            device.partition(":")[0],
            environment.get("gpu") or environment.get("processor", ""),
            library.get_num_threads() if library is not None else None,
            load_s,
        )


@dataclass(frozen=True)
class Spent:
    """What the missing parts of one unit took.

    Attributes
    ----------
    parts : int
        How many were computed.
    seconds : float
    place : Place
    memory, gpu_memory : int or None
        Most bytes that the process has had so far, without programs that it started, and that torch has had on a GPU.
    """

    parts: int
    seconds: float
    place: Place
    memory: int | None
    gpu_memory: int | None

    @classmethod
    def since(cls, begun: float, parts: int, place: Place, device: str) -> Spent:
        """What was spent since `begun`, a reading of `now`."""
        return cls(parts, now(device) - begun, place, _memory(), _gpu_memory(device))


def begin(device: str) -> float:
    """The clock before anything is loaded; from here on the most memory of a GPU is counted."""
    begun = time.perf_counter()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    return begun


def now(device: str) -> float:
    """The clock; a GPU has finished what it was given before, so that nobody else's work is counted."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def _memory() -> int | None:
    with suppress(OSError, ValueError, IndexError):  # not ru_maxrss: a child begins with its parent's
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


def _gpu_memory(device: str) -> int | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


@dataclass(frozen=True)
class Took:
    """A line of the file: what one call of a stage computed.

    Attributes
    ----------
    stage, branch, samples
        See `Timed`.
    ended : float
        When, in seconds since 1970.
    whole : bool
        Whether it came to its end.
    share : str
        Which share of the units it was, if it was one.
    units, stored : int
        How many were computed, and how many were all in the store.
    parts, parts_stored : int
        The same of their parts: samples, most often.
    parts_each : float
        Parts of a unit.
    busy_s, wall_s, load_s : float
        Seconds of all units together; from the first to the last, with what the stage did meanwhile; and what a
        process needed to load, at most.
    workers, threads, device, processor
        Processes that computed, threads of each, and what on.
    memory, gpu_memory : int or None
        Most bytes of any of them.
    seconds : list
        Name, parts and seconds of each unit; of the first ones, where they are many.
    """

    stage: str
    branch: str
    samples: int | None
    ended: float
    whole: bool
    share: str
    units: int
    stored: int
    parts: int
    parts_stored: int
    parts_each: float
    busy_s: float
    wall_s: float
    load_s: float
    workers: int
    threads: int | None
    device: str
    processor: str
    memory: int | None
    gpu_memory: int | None
    seconds: list[tuple[str, int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, value: Any) -> Took:
        """A line, if it is one: ValueError, TypeError or KeyError if not."""
        if value.pop("schema") != SCHEMA or value.keys() != {one.name for one in fields(cls)}:
            raise ValueError("another version's")
        for name in ("stage", "branch", "share", "device", "processor"):
            if not isinstance(value[name], str):
                raise TypeError(name)
        for name in ("samples", "threads", "memory", "gpu_memory"):
            value[name] = None if value[name] is None else _count(value[name])
        for name in ("units", "stored", "parts", "parts_stored", "workers"):
            value[name] = _count(value[name])
        for name in ("ended", "parts_each", "busy_s", "wall_s", "load_s"):
            value[name] = _positive(value[name])
        value["seconds"] = [(str(name), _count(parts), _positive(s)) for name, parts, s in value["seconds"]]
        took = cls(**value)
        if not (took.units and took.parts and took.workers and isinstance(took.whole, bool)):
            raise ValueError("nothing was computed")
        return took


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError("no count")
    return value


def _positive(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("no seconds")
    return float(value)


class Clock:
    """Counts what one call of a stage computes, and writes it down at the end. What it keeps does not grow with that.

    Parameters
    ----------
    timed : Timed or None
        None: nothing is written.
    file : Path or None
        ``.ida-rd/times.jsonl``; None: nothing is written.
    share : str
        Which share of the units is computed, if it is one.
    """

    def __init__(self, timed: Timed | None, file: Path | None, share: str = "") -> None:
        self.timed, self.file, self.share = timed, file, share
        self.seen = self.stored = self.parts_stored = self.parts_seen = 0
        self.units = self.parts = 0
        self.busy_s = 0.0
        self.places: set[Place] = set()
        self.memory: int | None = None
        self.gpu_memory: int | None = None
        self.rows: list[tuple[str, int, float]] = []

    def met(self, parts: int, missing: int) -> None:
        """A unit is met, of whose parts some are missing, or none."""
        self.seen, self.parts_seen = self.seen + 1, self.parts_seen + parts
        self.stored, self.parts_stored = self.stored + (not missing), self.parts_stored + parts - missing

    def add(self, name: str, spent: Spent | None) -> None:
        """A unit is computed; None: where that was, it was not said what it took."""
        if spent is None or self.timed is None:
            return
        self.units, self.parts = self.units + 1, self.parts + spent.parts
        self.busy_s += spent.seconds
        self.places.add(spent.place)
        self.memory = max(self.memory or 0, spent.memory or 0) or None
        self.gpu_memory = max(self.gpu_memory or 0, spent.gpu_memory or 0) or None
        if len(self.rows) < MOST_ROWS:
            self.rows.append((name, spent.parts, round(spent.seconds, 6)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, units are computed; then it is written down, also of a run that was ended."""
        begun, whole = time.perf_counter(), False
        try:
            yield
            whole = True
        finally:
            took = self._took(time.perf_counter() - begun, whole)
            if took is not None and self.file is not None:
                _append(self.file, took)

    def _took(self, wall_s: float, whole: bool) -> Took | None:
        if self.timed is None or not self.units:
            return None
        places = self.places
        return Took(
            **self.timed._asdict(),
            ended=round(time.time(), 1),
            whole=whole,
            share=self.share,
            units=self.units,
            stored=self.stored,
            parts=self.parts,
            parts_stored=self.parts_stored,
            parts_each=self.parts_seen / self.seen,
            busy_s=round(self.busy_s, 6),
            wall_s=round(wall_s, 6),
            load_s=round(max(place.load_s for place in places), 6),
            workers=len({place.process for place in places}),
            threads=max((place.threads for place in places if place.threads), default=None),
            device=", ".join(sorted({place.device for place in places})),
            processor=", ".join(sorted({place.processor for place in places})),
            memory=self.memory,
            gpu_memory=self.gpu_memory,
            seconds=self.rows,
        )


def _append(file: Path, took: Took) -> None:
    """Add a line. That it cannot be written ends no run, and shares that write at once lose a line at worst."""
    line = json.dumps({"schema": SCHEMA, **asdict(took)}, separators=(",", ":")).encode() + b"\n"
    with suppress(OSError, UserError):
        if file.parent.is_symlink() or file.is_symlink():
            return  # it would lead out of the project
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.stat().st_size + len(line) > LARGEST:
            lines = read_bytes(file, 2 * LARGEST).splitlines(keepends=True)
            with atomic_path(file, follow=False) as temporary:
                temporary.write_bytes(b"".join(lines[len(lines) // 2 :]))
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            os.write(handle, line)  # in one piece, so that of two at once neither is cut
        finally:
            os.close(handle)


def read_times(file: Path) -> list[Took]:
    """The lines of the file, oldest first; those that are none are passed over, and no file is no lines."""
    try:
        data = read_bytes(file, 2 * LARGEST)
    except (OSError, UserError):
        return []
    found = []
    for line in data.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            found.append(Took.of(json.loads(line)))
    return found


@dataclass(frozen=True)
class Cost:
    """What a stage took for one branch, over as many calls as it took: a run that was killed, or given more images."""

    calls: tuple[Took, ...]

    @property
    def last(self) -> Took:
        return self.calls[-1]

    @property
    def units(self) -> int:
        return sum(took.units for took in self.calls)

    @property
    def wall_s(self) -> float:
        return sum(took.wall_s for took in self.calls)

    @property
    def each_s(self) -> float:
        """Seconds of a worker for a whole unit: by its parts, since a unit may have been computed in part."""
        parts = sum(took.parts for took in self.calls)
        return sum(took.busy_s for took in self.calls) / parts * self.last.parts_each

    def of(self, units: int) -> float:
        """Seconds that so many units more would take, on as many workers as the last call had."""
        return self.last.load_s + units * self.each_s / self.last.workers


def costs(lines: Iterable[Took]) -> dict[tuple[str, str], Cost]:
    """What stands now, by stage and branch.

    A call that found nothing in the store computed all anew: what was spent before it was for something else. Shares
    find nothing of each other, and add up.
    """
    found: dict[tuple[str, str], Cost] = {}
    for took in lines:
        key = took.stage, took.branch
        before = found[key].calls if key in found and (took.parts_stored or took.share) else ()
        found[key] = Cost((*before, took))
    return found

"""Memory: how much is free, how many workers it is enough for, and the line that says that there is too little.

A container's limit counts as the machine's memory does, where it is smaller: the kernel kills what goes beyond it.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import psutil

from ida_rd.core.errors import UserError
from ida_rd.core.foreign import reason
from ida_rd.engine.device import worker_count

__all__ = ["affordable", "free_bytes", "out_of_memory", "too_large"]

SHARE = 0.8  # of the free memory that workers may plan with: estimates are estimates, and others want some too
WORKER_BYTES = 250_000_000  # of a worker itself: its libraries and its network, as far as it shares them with none
# How libraries say it, where they raise something else than MemoryError.
SIGNS = re.compile(
    r"can.?not allocate memory|can't allocate memory|out of memory|bad_alloc|not enough memory|ALLOC_FAILED", re.I
)
WANTED = re.compile(r"(?:tried to allocate|unable to allocate)\s+([\d.]+)\s*([KMGTP]i?B|bytes)", re.I)
UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
NO_LIMIT = 2**60  # version 1 writes about 2^63


def free_bytes(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that can be had: what is free on the machine, and what the limits of its control groups leave.

    Parameters
    ----------
    groups, mount : Path
        Where the kernel says which groups this process is in, and what their limits are.
    """
    return min([psutil.virtual_memory().available, *_left(groups, mount)])


def _left(groups: Path, mount: Path) -> list[int]:
    """What each limited group that this process is in has left."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # not Linux
        return []
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top, names = mount, ("memory.max", "memory.current", "inactive_file")
            if not (mount / "cgroup.controllers").exists():
                top = mount / "unified"
        elif "memory" in controllers.split(","):
            top, names = mount / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        place = top / path.strip("/")
        # Within a container the path may be that of the host, of which only the container's own part is mounted.
        for folder in {top, place, *(p for p in place.parents if p.is_relative_to(top))}:
            left = _group(folder, *names)
            if left is not None:
                found.append(left)
    return found


def _group(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """What a group has left; what it has read from files is given back when it is wanted. None: no limit."""
    try:
        most = (folder / limit).read_text().strip()
        if not most.isdigit() or int(most) >= NO_LIMIT:
            return None
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(int(most) - used + int(stat.get(cache, 0)), 0)
    except (OSError, ValueError):
        return None


def affordable(most: int, need: float | None, label: str) -> int:
    """How many workers to start: `most`, or as many as there is memory for, and at least one.

    A line says so where memory decides, or is not even enough for one. ``IDA_RD_WORKERS`` is obeyed.

    Parameters
    ----------
    most : int
        As many as there are cores and units.
    need : float or None
        Bytes that the largest unit takes; None: not known.
    label : str
        Begins the line.
    """
    if need is None:
        return most
    free = free_bytes()
    count = max(1, min(most, int(SHARE * free / (need + WORKER_BYTES))))
    fits = need + WORKER_BYTES <= free
    if os.environ.get("IDA_RD_WORKERS", "").strip():
        count = most
    if count < most or not fits:
        print(
            f"{label}: {count} of {worker_count()} processes, for lack of memory: the largest image needs about"
            f" {_size(need + WORKER_BYTES)} in each, {_size(free)} are free"
            + ("" if fits else "; this may fail: set images.crop to take smaller images"),
            file=sys.stderr,
            flush=True,
        )
    return count


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was too little memory, whichever library raised it."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(SIGNS.search(str(error)))  # torch, on a CPU and on a GPU


def too_large(
    error: BaseException, label: str, what: str, size: tuple[int, int] | None, need: float | None
) -> UserError:
    """The line for a unit that there was too little memory for.

    Parameters
    ----------
    error : BaseException
    label : str
        Of the work.
    what : str
        What there is too little for: an image by its name.
    size : tuple of int or None
        Width and height of the image.
    need : float or None
        Bytes that it takes, as estimated.
    """
    pixels = f" ({size[0]} x {size[1]} pixels)" if size else ""
    wanted = WANTED.search(reason(error))
    parts = [f"about {_size(need)} in all"] if need else []
    if wanted:
        parts.append(f"{_size(float(wanted[1]) * UNITS[wanted[2][0].lower()])} at once when it failed")
    how = f", {', '.join(parts)}" if parts else ""
    other = "the processor (IDA_RD_DEVICE=cpu)" if "CUDA" in str(error) else "fewer processes (IDA_RD_WORKERS=1)"
    return UserError(
        f"{label}: {what}{pixels} needs more memory than there is{how}: set images.crop to take smaller images,"
        f" or use {other}; finished images are kept"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"

"""Adapt weights to one downscaler: all that decides the bytes of a weight file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ida_rd.adapt.contract import find_adapter
from ida_rd.adapt.recipe import decides
from ida_rd.adapt.sources import source_of
from ida_rd.core.adapted import ADAPTED
from ida_rd.core.errors import UserError
from ida_rd.core.foreign import MEBIBYTE, read_bytes
from ida_rd.core.readers import parse_json
from ida_rd.core.weights import expecting, read_weights
from ida_rd.engine.precision import note_slow
from ida_rd.engine.store import Record

__all__ = ["PART", "adapt_weights", "described", "open_work"]

PART = "weights"
LARGEST_LOG = 256 * MEBIBYTE
SHOWN = 40  # losses that a record has


def open_work(recipe: dict[str, Any], device: str) -> Callable[[Path, list[str]], dict[str, Record]]:
    """Return the function that trains, given the folder of its state; its one part is the weight file."""

    def train(out: Path, parts: list[str]) -> dict[str, Record]:
        content, value = adapt_weights(recipe, out)
        return {PART: Record(value, content, ".safetensors")}

    return train


def adapt_weights(recipe: Mapping[str, Any], out: Path) -> tuple[bytes, dict[str, Any]]:
    """Train by a recipe, in one thread, resuming from what lies in `out`.

    Parameters
    ----------
    recipe : mapping
    out : Path
        Folder of the state; there is none while a photograph cannot be read.

    Returns
    -------
    content : bytes
        Of the weight file.
    value : dict
        ``losses``, their means over parts of the training; ``skipped``, steps whose gradient was not finite; and
        ``cost`` in seconds and bytes, which is another each time.
    """
    import torch

    from ida_rd.training.export import exported
    from ida_rd.training.loop import LOG, read_checkpoint

    adapter = find_adapter(recipe, where=f"adapted.{recipe['name']}.adapt")
    wanted = decides(recipe)
    note_slow(recipe["budget"]["precision"], f"precision of {recipe['name']}")
    (weight,) = recipe["weights"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same order of sums, whatever machine it is
    try:
        with expecting(recipe):
            initial = read_weights(weight, recipe["base"])
        source = source_of(recipe, out)
        checkpoint = adapter.adapt(wanted, recipe["budget"], initial, source, out)
    finally:
        torch.set_num_threads(threads)
    state = read_checkpoint(checkpoint)
    about = {"downscaler": described(recipe["downscaler"]), "factor": recipe["factor"], "budget": recipe["budget"]}
    about |= {"from": recipe["weights"], "photographs": len(recipe["images"]["files"])}
    content = exported(out, {ADAPTED: json.dumps(about, sort_keys=True)})
    cost = {"seconds": round(float(state["seconds"]), 1), "peak_bytes": _peak_bytes()}
    return content, {"losses": _losses(out / LOG, adapter.LOSSES), "skipped": int(state["skipped"]), "cost": cost}


def _peak_bytes() -> int | None:
    """Most memory that this process has had; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def described(downscaler: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader is told of a downscaler: its method, parameters and degradations."""
    return {key: downscaler[key] for key in ("method", "parameters", "degrade") if key in downscaler}


def _losses(log: Path, logged: Iterable[str]) -> list[dict[str, Any]]:
    """Means over about `SHOWN` parts of the training. A step that was done again after a kill counts once."""
    entries: dict[int, dict[str, Any]] = {}
    for line in read_bytes(log, LARGEST_LOG).splitlines():
        try:
            entry = parse_json(line, str(log), "remove its folder")
        except UserError:  # the line that was being written at a kill
            continue
        entries[int(entry["step"])] = entry
    steps = sorted(entries)
    size = -(-len(steps) // SHOWN)
    found = []
    for start in range(0, len(steps), size):
        part = [entries[step] for step in steps[start : start + size]]
        keys = [key for key in logged if key in part[0]]
        found.append({"step": steps[min(start + size, len(steps)) - 1]}
                     | {key: round(sum(e[key] for e in part) / len(part), 6) for key in keys})  # fmt: skip
    return found

"""What computed a result: library versions, Python, machine, device. Recorded beside results, never in a recipe."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["environment", "joined"]


def environment(device: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of `packages`, Python's, the processor, and the torch device (with a GPU's name)."""
    kind = device.partition(":")[0]  # which of the GPUs of a machine it was decides nothing: its model is named
    record = {"python": platform.python_version(), "machine": platform.machine(), "device": kind}
    record["processor"] = _processor()  # libraries choose their code by it, and sum in another order
    for package in packages:
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = "not installed"
    if device.startswith("cuda"):
        import torch

        record["gpu"] = torch.cuda.get_device_name(device)
    return record


@cache
def _processor() -> str:
    """Name of the processor's model, where the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())[:100]
    return platform.processor()[:100] or "unknown"


def joined(records: Iterable[dict[str, str]]) -> dict[str, str]:
    """Merge records: units that the store had may be of other versions, and then all versions are named."""
    found: dict[str, set[str]] = {}
    for record in records:
        for key, value in record.items():
            found.setdefault(key, set()).add(value)
    return {key: ", ".join(sorted(values)) for key, values in found.items()}

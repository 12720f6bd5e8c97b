"""What computed a result: library versions, Python, machine, device. Recorded beside results, never in a recipe."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

__all__ = ["environment", "joined"]


def environment(device: str, packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of `packages`, Python's, the processor's type, and the torch device (with a GPU's name)."""
    record = {"python": platform.python_version(), "machine": platform.machine(), "device": device}
    for package in packages:
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = "not installed"
    if device.startswith("cuda"):
        import torch

        record["gpu"] = torch.cuda.get_device_name(device)
    return record


def joined(records: Iterable[dict[str, str]]) -> dict[str, str]:
    """Merge records: units that the store had may be of other versions, and then all versions are named."""
    found: dict[str, set[str]] = {}
    for record in records:
        for key, value in record.items():
            found.setdefault(key, set()).add(value)
    return {key: ", ".join(sorted(values)) for key, values in found.items()}

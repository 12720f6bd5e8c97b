"""Where the work runs, from the environment: device and worker processes. Nothing here may change a result.

The settings are in no recipe, so they never invalidate a cache:

``IDA_RD_DEVICE``
    ``auto`` (default: a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``.
``IDA_RD_WORKERS``
    Worker processes; default: the cores that this process may use. A GPU is fed by one process.
"""

from __future__ import annotations

import os
import re

from ida_rd.core.errors import UserError

__all__ = ["device_name", "worker_count"]


def worker_count() -> int:
    """Number of worker processes, from ``IDA_RD_WORKERS`` or the available cores."""
    text = os.environ.get("IDA_RD_WORKERS", "").strip()
    if text:
        if not text.isdigit() or int(text) < 1:
            raise UserError(f"IDA_RD_WORKERS is {text!r}: give a whole number of at least 1, or unset it")
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_name() -> str:
    """Torch device from ``IDA_RD_DEVICE``: ``cpu``, ``cuda`` or ``cuda:N``. Imports torch."""
    import torch

    text = os.environ.get("IDA_RD_DEVICE", "").strip() or "auto"
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if text == "cpu":
        return text
    match = re.fullmatch(r"cuda(?::(\d+))?", text)
    if match and torch.cuda.is_available() and int(match.group(1) or 0) < torch.cuda.device_count():
        return text
    if match:
        raise UserError(f"IDA_RD_DEVICE is {text!r}, but this machine has no such device: use auto or cpu")
    raise UserError(f"IDA_RD_DEVICE is {text!r}: use auto, cpu, cuda or cuda:N")

"""Where the work runs, from the environment: devices and worker processes. Nothing here may change a result.

The settings are in no recipe, so they never invalidate a cache:

``IDA_RD_ENGINE``
    ``local`` (default: processes of this machine) or ``dask``: a cluster (`ida_rd.engine.cluster`).
``IDA_RD_DEVICE``
    ``auto`` (default: every GPU that is visible, or the CPU), ``cpu``, ``cuda`` (every GPU), ``cuda:1``,
    ``cuda:0,cuda:2``.
``IDA_RD_WORKERS``
    Worker processes on the CPU; default: the cores that this process may use. A GPU is fed by one process.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ida_rd.core.errors import UserError

__all__ = ["assigned", "device_name", "devices", "engine_name", "no_collector", "worker_count"]

ENGINES = ("local", "dask")


def engine_name() -> str:
    """What computes units, from ``IDA_RD_ENGINE``."""
    text = os.environ.get("IDA_RD_ENGINE", "").strip() or "local"
    if text not in ENGINES:
        raise UserError(f"IDA_RD_ENGINE is {text!r}: use local or dask")
    return text


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


def assigned(setting: str, gpus: int) -> list[str]:
    """Torch devices that a setting names, where there are `gpus` of them: each is fed by one process.

    Parameters
    ----------
    setting : str
        Value of ``IDA_RD_DEVICE``; empty: ``auto``.
    gpus : int
        How many GPUs torch sees.

    Returns
    -------
    list of str
        ``cpu``; ``cuda``, the only GPU; or, of several, each by its number.

    Raises
    ------
    UserError
        A device that is not here, twice the same, or no device.
    """
    text = setting.strip() or "auto"
    if text == "cpu" or (text == "auto" and not gpus):
        return ["cpu"]
    if text in ("auto", "cuda") and gpus:
        return ["cuda"] if gpus == 1 else [f"cuda:{number}" for number in range(gpus)]
    names = [name.strip() for name in text.split(",")]
    numbers = [re.fullmatch(r"cuda(?::(\d+))?", name) for name in names]
    if not all(numbers):
        raise UserError(f"IDA_RD_DEVICE is {text!r}: use auto, cpu, cuda, cuda:N or several as cuda:0,cuda:2")
    found = [int(match[1] or 0) for match in numbers if match]
    if max(found) >= gpus:
        raise UserError(f"IDA_RD_DEVICE is {text!r}, but this machine has no such device: use auto or cpu")
    if len(set(found)) < len(found):
        raise UserError(f"IDA_RD_DEVICE is {text!r}: it names a device twice, and each is fed by one process")
    return names


@contextmanager
def no_collector() -> Iterator[None]:
    """Nothing of what a framework loads is garbage: to look for some again and again takes an eighth of loading it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def devices() -> list[str]:
    """Torch devices that this machine's processes use, one process each where they are GPUs. Imports torch."""
    with no_collector():
        import torch

    return assigned(os.environ.get("IDA_RD_DEVICE", ""), torch.cuda.device_count() if torch.cuda.is_available() else 0)


def device_name() -> str:
    """Torch device of work that stays in one process: ``cpu``, ``cuda`` or ``cuda:N``. Imports torch."""
    return devices()[0]

"""What a training leaves beside its checkpoint: ``training.json``, what it was made from, and ``log.jsonl``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file, write_json
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes
from ida_rd.core.readers import parse_json, read_json
from ida_rd.training.loop import LOG

__all__ = ["RECORD", "read_run", "write_record"]

RECORD = "training.json"
LARGEST_LOG = 256 * MEBIBYTE


def write_record(
    out: Path,
    config: Mapping[str, Any],
    photographs: Sequence[tuple[Path, Mapping[str, str]]],
    device: torch.device,
    initial: Path | None,
) -> None:
    """Write settings, photographs with their credits, code, library, device and first weights of a run."""
    record = {
        "config": dict(config),
        "images": [{"file": path.name, **row} for path, row in photographs],
        "commit": _commit(),
        "torch": torch.__version__,
        "device": device.type,
        "initial": sha256_file(initial) if initial else None,
    }
    write_json(out / RECORD, record)


def read_run(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the record and the log of a run, given the ``--out`` of its training."""
    hint = "--runs takes the --out of training runs"
    record = read_json(run / RECORD, hint=hint)
    if not (run / LOG).is_file():
        raise UserError(f"{run / LOG} does not exist: {hint}")
    with decoding(f"{run / LOG}: not a log of a training", hint):
        log = [parse_json(line, str(run / LOG), hint) for line in read_bytes(run / LOG, LARGEST_LOG).splitlines()]
        if not isinstance(record, dict) or not all(isinstance(entry, dict) for entry in log):
            raise ValueError("something else than an object of JSON")
    return record, log


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""A trained generator as the two files that ``method: pulse`` takes: ``python export.py --run state --out weights``.

The moving average of `train`, in float32, as ``mapping.safetensors`` and ``synthesis.safetensors``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import save

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_bytes
from ida_rd.core.foreign import decoding
from ida_rd.training.loop import CHECKPOINT, read_checkpoint

NETWORKS = ("mapping", "synthesis")


def export(run: Path, out: Path) -> None:
    """Write the two files of ``run/checkpoint.pt`` into the folder `out`."""
    path = run / CHECKPOINT
    if not path.is_file():
        raise UserError(f"{path} does not exist: --run takes the --out of train.py")
    state = read_checkpoint(path)
    with decoding(f"{path} is not a checkpoint of train.py", "--run takes the --out of train.py"):
        done = state["stage"] == state["product"]["stage"] and state["step"] == state["settings"]["steps"]
        averages = state["averages"]["generator"]
        files = {
            name: {key.removeprefix(f"{name}."): value.contiguous() for key, value in averages.items()
                   if key.startswith(f"{name}.")}
            for name in NETWORKS
        }  # fmt: skip
    if odd := [name for name, tensors in files.items() if not tensors]:
        raise UserError(f"{path} has no {odd[0]} network: --run takes the --out of train.py")
    if not done:
        raise UserError(f"{path}: the run has not reached its last step yet; let it continue")
    for name, tensors in files.items():
        write_bytes(out / f"{name}.safetensors", save(tensors))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python export.py", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="the --out of train.py")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    export(arguments.run, arguments.out)


if __name__ == "__main__":
    exit_with_line(main)

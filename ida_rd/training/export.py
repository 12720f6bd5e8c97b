"""Turn a training run into a weight file: ``python -m ida_rd.training.export --run DIR --out FILE``.

Takes the averaged weights, or with ``--last`` those of the last step, rounds them to float16, and writes safetensors
with the network's configuration as metadata. The run's checkpoint says which they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_bytes
from ida_rd.core.foreign import decoding
from ida_rd.training.loop import CHECKPOINT, read_checkpoint

__all__ = ["export", "exported"]


def export(run: Path, out: Path, *, last: bool = False) -> None:
    """Write the averaged weights of ``run/checkpoint.pt``, or the last, to `out`."""
    write_bytes(out, exported(run, last=last))


def exported(run: Path, metadata: Mapping[str, str] | None = None, *, last: bool = False) -> bytes:
    """Content of the weight file of ``run/checkpoint.pt``; `metadata` are further texts in it.

    Where rates fall to 0, the last weights are settled by themselves, and an average that reaches back to steps of high
    rates is not always the better one: of a network that still moved far, it is another network.
    """
    checkpoint = run / CHECKPOINT
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} does not exist: --run takes the --out of a training run")
    state = read_checkpoint(checkpoint)
    with decoding(f"{checkpoint}: not a checkpoint of a training", "--run takes the --out of a training run"):
        product = state["product"]
        done = state["stage"] == product["stage"]
        weights = state["modules" if last else "averages"][product["module"]]
        tensors = {name: tensor.half().contiguous() for name, tensor in weights.items()}
        config = json.dumps(product["config"])
    if not done:
        raise UserError(f"{checkpoint}: the run has not reached its stage {product['stage']} yet; let it continue")
    return _ordered(save(tensors, metadata={"format": "pt", "config": config} | dict(metadata or {})))


def _ordered(file: bytes) -> bytes:
    """Sort a safetensors file's metadata, which the library writes in a different order each time."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ida_rd.training.export", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="the --out of a training run")
    parser.add_argument("--out", type=Path, required=True, help="the weight file to write")
    parser.add_argument("--last", action="store_true", help="the weights of the last step, not their average")
    arguments = parser.parse_args()
    export(arguments.run, arguments.out, last=arguments.last)


if __name__ == "__main__":
    exit_with_line(main)

"""Turn a training run into a weight file: ``python -m ida_rd.training.export --run DIR --out FILE``.

Takes the averaged weights, rounds them to float16, and writes safetensors with the network's
configuration as metadata.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save

from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_bytes
from ida_rd.training.flow import NETWORKS

__all__ = ["export"]


def export(run: Path, out: Path) -> None:
    """Write the averaged weights of ``run/checkpoint.pt`` to `out`."""
    checkpoint = run / "checkpoint.pt"
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} does not exist: --run takes the --out of a training run")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["stage"] != "nll":
        raise UserError(f"{checkpoint}: the run has not reached its likelihood stage yet; let it go on")
    tensors = {name: tensor.half().contiguous() for name, tensor in state["ema"].items()}
    config = NETWORKS[state["config"]["network"]].as_dict()
    write_bytes(out, save(tensors, metadata={"format": "pt", "config": json.dumps(config)}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ida_rd.training.export", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="the --out of a training run")
    parser.add_argument("--out", type=Path, required=True, help="the weight file to write")
    arguments = parser.parse_args()
    export(arguments.run, arguments.out)


if __name__ == "__main__":
    exit_with_line(main)

"""Published checkpoints with the state of a training beside their tensors, however large; see `ida_rd.core.pickled`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.core.foreign import decoding

__all__ = ["LEFT_OUT", "map_checkpoint"]

# What training leaves beside the tensors: named in a pickle, not looked up, and left out of what is read.
LEFT_OUT = frozenset(
    {
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",  # a key of Lightning's own state
        "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
        "numpy.core.multiarray.scalar",  # a score
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "collections.Counter",  # of a schedule of learning rates
        "collections.defaultdict",
    }
)


def map_checkpoint(path: Path) -> Any:
    """What ``torch.save`` wrote: dictionaries, plain values, and tensors, whose numbers stay in the file.

    Raises
    ------
    UserError
        It is damaged, or would run something.
    """
    from ida_rd.core.pickled import read_mapped

    with decoding(f"{path}: not a checkpoint of plain tensors", "nothing in it was run; give the right file"):
        return read_mapped(path, LEFT_OUT)

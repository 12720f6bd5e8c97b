"""What a weight file says it was adapted to: a text beside its tensors, read without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ida_rd.core.foreign import MEBIBYTE, decoding

__all__ = ["ADAPTED", "adapted_to"]

ADAPTED = "adapted"  # key of the text
LARGEST_HEADER = 8 * MEBIBYTE  # as in `ida_rd.core.tensors`


def adapted_to(path: Path) -> dict[str, Any] | None:
    """What the weights were adapted to, and by which budget; None if the file says nothing.

    Raises
    ------
    UserError
        A ``.safetensors`` file whose header is damaged.
    """
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return None
    with decoding(f"{path}: not a safetensors file"), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST_HEADER:
            raise ValueError(f"a header of {size:,} bytes, more than {LARGEST_HEADER:,}")
        metadata = json.loads(file.read(size)).get("__metadata__") or {}
        found = json.loads(metadata[ADAPTED]) if ADAPTED in metadata else None
        if found is not None and not isinstance(found, dict):
            raise ValueError(f"its text {ADAPTED!r} is no mapping")
        return found

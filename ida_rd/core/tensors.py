"""Weight files are plain tensors: read once, hashed, and decoded from the bytes that were hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ida_rd.core.errors import UserError, did_you_mean
from ida_rd.core.foreign import MEBIBYTE, decoding, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LARGEST_FILE", "TensorFile", "load_tensors", "read_tensors"]

LARGEST_FILE = 8 * 1024 * MEBIBYTE
LARGEST_HEADER = 8 * MEBIBYTE  # of safetensors


@dataclass(frozen=True)
class TensorFile:
    """What a weight file holds.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the bytes that were decoded.
    state : Any
        Dictionaries, lists, tuples, plain values, and dense tensors on the CPU.
    metadata : dict of str to str
        Texts beside the tensors of a ``.safetensors`` file.
    """

    path: Path
    sha256: str
    state: Any
    metadata: dict[str, str]

    def tensors(self, key: str | None = None) -> dict[str, Tensor]:
        """The named tensors; `key` and errors as in `load_tensors`."""
        state, path = self.state, self.path
        inside = [str(k) for k, v in state.items() if _named(v) and v] if isinstance(state, dict) else []
        if key is not None:
            if key in inside:
                return state[key]
            raise UserError(f"{path}: holds no dictionary of tensors called {key!r}; {did_you_mean(key, inside)}")
        if _named(state):
            return state
        if inside:
            raise UserError(f"{path}: its tensors are in {', '.join(inside)}: choose one of these by its key")
        raise UserError(f"{path}: expected a dictionary of tensors")


def read_tensors(path: Path, check: Callable[[str], None] | None = None) -> TensorFile:
    """Read a ``.safetensors`` file, or one that ``torch.save`` wrote: the only way in for weights of any method.

    Parameters
    ----------
    path : Path
    check : callable, optional
        Given the SHA-256 of the content before any of it is decoded; raises UserError.

    Raises
    ------
    UserError
        It is not there, or damaged, or holds anything but tensors and plain values; nothing in it is ever run.
    """
    try:
        content = read_bytes(path, LARGEST_FILE)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): correct the path") from None
    digest = hashlib.sha256(content).hexdigest()
    if check is not None:
        check(digest)
    if path.suffix.lower() == ".safetensors":
        with decoding(f"{path}: not a safetensors file"):
            return TensorFile(path, digest, *_read_safetensors(content))
    with decoding(f"{path}: not a file of plain tensors", "nothing in it was run; give a file of tensors alone"):
        from ida_rd.core.pickled import read_pickled

        return TensorFile(path, digest, read_pickled(content), {})


def load_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Load named tensors from a ``.safetensors`` or ``.pth`` file.

    Parameters
    ----------
    path : Path
    key : str, optional
        For a checkpoint that holds more (several networks, the state of an optimiser): the dictionary of tensors to
        take, such as ``params_ema``.

    Raises
    ------
    UserError
        The file is damaged, or what is asked of it is not a dictionary of tensors. Nothing but tensors and plain
        values is read from it, and nothing in it is ever executed.
    """
    return read_tensors(Path(path)).tensors(key)


def _read_safetensors(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors.torch import load

    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("it ends too early")
    if size > LARGEST_HEADER:
        raise ValueError(f"a header of {size:,} bytes, more than {LARGEST_HEADER:,}")
    header = json.loads(content[8 : 8 + size])
    try:
        tensors = load(content)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # which Rust's panics become, and is no Exception
            raise
        raise ValueError(str(error)) from None
    return tensors, dict(header.get("__metadata__") or {})


def _named(value: Any) -> bool:
    import torch

    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items()
    )

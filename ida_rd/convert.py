"""Published checkpoints, which are pickles with training state, to plain tensors: ``ida-rd weights convert``.

    python -m ida_rd.convert FILE TARGET [KEY]

is the part that reads: a process of its own, which opens the file and writes `TARGET`, and can do nothing else. It
prints what it wrote, as JSON. The pickle is interpreted, never run (`ida_rd.core.pickled`); that process is for what
the interpreter, or a library under it, should get wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ida_rd.core.checkpoints import LEFT_OUT
from ida_rd.core.converted import remember
from ida_rd.core.errors import UserError, did_you_mean, exit_with_line, printable
from ida_rd.core.files import atomic_path, sha256_file
from ida_rd.core.foreign import decoding
from ida_rd.core.tensors import LARGEST_HEADER
from ida_rd.core.weights import catalogue

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["confine", "convert", "main", "transcribe"]

FIRST = "state_dict"  # where Lightning keeps the network
TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
FORBIDDEN = ("os.", "subprocess.", "socket.", "ctypes.", "shutil.", "pickle.find_class", "exec", "compile", "import")
HARMLESS = ("os.listdir", "os.scandir")


def convert(path: Path, out: Path | None = None, key: str | None = None) -> dict[str, Any]:
    """Write the tensors of a checkpoint as safetensors.

    Parameters
    ----------
    path : Path
        What ``torch.save`` wrote.
    out : Path, optional
        By default beside it, with the ending ``.safetensors``. It is whole or absent.
    key : str, optional
        Of the dictionary of tensors to take, such as ``params_ema``. By default ``state_dict``, or the only one.

    Returns
    -------
    dict
        ``path``, ``tensors`` (how many), ``bytes``, ``key``, ``sha256`` (of `path`), ``left_out``, keys beside them,
        and ``stands_for``, ids of weights that `out` is taken for from now on: those that `path` is, unless the
        tensors were chosen by `key`, since others may be meant.

    Raises
    ------
    UserError
        It is no such file, or damaged, or would run something, or holds no tensors; or `out` is there.
    """
    if not path.is_file():
        raise UserError(f"{path}: {'is no ordinary file' if path.exists() else 'no such file'}: give a checkpoint")
    target = path.with_suffix(".safetensors") if out is None else out
    if os.path.lexists(target):
        raise UserError(f"{target} is there: remove it, or choose another place by --out")
    if target.suffix != ".safetensors":
        raise UserError(f"--out {target}: give a name that ends in .safetensors")
    with atomic_path(target) as partial:
        found = _in_a_process(path, partial, key)
        # Not by the word of a process that a pickle may have got hold of.
        source, made = sha256_file(path), sha256_file(partial)
        if found["sha256"] != source:
            raise UserError(f"{path} changed while it was read: leave it alone, and convert it again")
    known = []
    if key is None and remember(made, source):
        known = [weight.id for weight in catalogue().values() if source in weight.sha256]
    return found | {"path": str(target), "stands_for": known}


def _in_a_process(path: Path, target: Path, key: str | None) -> dict[str, Any]:
    from ida_rd.core.ending import started

    command = [sys.executable, "-m", "ida_rd.convert", str(path), str(target), *([] if key is None else [key])]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONSAFEPATH": "1", "IDA_RD_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with started(process.pid):
        out, messages = process.communicate()
    if process.returncode == 0:
        return dict(json.loads(out))
    lines = messages.decode(errors="replace").strip().splitlines()
    said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if said:
        raise UserError(said[-1])
    code = process.returncode
    how = signal.Signals(-code).name if code < 0 else printable((lines or [f"exit code {code}"])[-1])
    raise UserError(f"{path}: reading it ended early ({how}): too little memory, or a file that is damaged or changing")


def main() -> None:
    """Read, choose, write, and say what was written."""
    import torch  # before `confine`, with all that this imports

    from ida_rd.core import pickled  # noqa: F401

    path, target, key = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
    torch.zeros(1).numpy()
    confine(target, 2 * path.stat().st_size + 2 * LARGEST_HEADER)
    print(json.dumps(transcribe(path, target, key)))


def transcribe(path: Path, target: Path, key: str | None) -> dict[str, Any]:
    """Do what `convert` does, in this process, and in place of what may be there."""
    from ida_rd.core.pickled import read_mapped

    digest = sha256_file(path)
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":
            raise UserError(f"{path}: begins as a safetensors file does: use it as it is")
    with decoding(f"{path}: not a checkpoint of plain tensors", "nothing in it was run, and nothing was written"):
        state = read_mapped(path, LEFT_OUT)
    where, tensors = _chosen(path, state, key)
    size = _write(path, target, tensors, {"format": "pt", "source_sha256": digest})
    left = sorted(str(name) for name in state if where is not None and str(name) != where)
    return {"tensors": len(tensors), "bytes": size, "key": where, "sha256": digest, "left_out": left}


def confine(target: Path, largest: int) -> None:
    """From here on this process runs no program, talks to nobody, imports nothing, and writes nothing but `target`."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    allowed = str(target)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            place, mode, flags = arguments
            if (flags & writing or set(str(mode or "")) & set("wax+")) and str(place) != allowed:
                raise UserError(f"{place}: would be written while a checkpoint is read: it is refused")
        elif event.startswith(FORBIDDEN) and event not in HARMLESS:
            raise UserError(f"{event} {printable(arguments)}: would be done while a checkpoint is read: it is refused")

    sys.addaudithook(watch)


def _tensors_in(state: Any) -> bool:
    from torch import Tensor

    return isinstance(state, dict) and any(isinstance(value, Tensor) for value in state.values())


def _chosen(path: Path, state: Any, key: str | None) -> tuple[str | None, dict[str, Tensor]]:
    """The key of the dictionary that is taken, None for the whole, and its tensors."""
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, expected a dictionary of tensors")
    inside = [str(name) for name, value in state.items() if _tensors_in(value)]
    if key is not None:
        by_name = {str(name): value for name, value in state.items() if isinstance(value, dict)}
        if key not in by_name:
            raise UserError(f"{path}: holds no dictionary called {key!r}; {did_you_mean(key, inside)}")
        where: str | None = key
    elif FIRST in inside or len(inside) == 1:
        where = FIRST if FIRST in inside else inside[0]
    elif inside:
        raise UserError(f"{path}: its tensors are in {', '.join(inside)}: choose one of these by --key")
    else:
        where = None
    found: dict[str, Tensor] = {}
    _collect(path, state if where is None else next(v for n, v in state.items() if str(n) == where), "", found)
    if not found:
        raise UserError(f"{path}: holds no tensors{'' if where is None else f' in {where}'}: give another file")
    return where, found


def _collect(path: Path, state: Mapping[Any, Any], prefix: str, found: dict[str, Tensor]) -> None:
    """Tensors of dictionaries within dictionaries, their names joined by dots."""
    from torch import Tensor

    for name, value in state.items():
        whole = f"{prefix}{name}"
        if isinstance(value, dict):
            _collect(path, value, f"{whole}.", found)
        elif isinstance(value, Tensor):
            if whole in found or whole == "__metadata__":
                raise UserError(
                    f"{path}: two of its values are called {whole!r} in a safetensors file: choose by --key"
                )
            found[whole] = value


def _write(path: Path, target: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> int:
    """Write safetensors, one tensor after the other, so that no more than one is in memory; returns their bytes.

    The same tensors give the same bytes, in the order that the library itself has: the largest elements first.
    """
    import torch

    kinds = {name: TYPES.get(str(tensor.dtype).removeprefix("torch.")) for name, tensor in tensors.items()}
    for name, kind in kinds.items():
        if kind is None:
            raise UserError(f"{path}: {name} is of the type {tensors[name].dtype}, which is not converted")
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(texts)}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        header[name] = {"dtype": kinds[name], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise UserError(f"{path}: the names of its tensors have {len(text):,} bytes, more than {LARGEST_HEADER:,}")
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return end


if __name__ == "__main__":
    exit_with_line(main)

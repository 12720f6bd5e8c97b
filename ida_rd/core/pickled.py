"""State dictionaries that ``torch.save`` wrote, read without unpickling.

A pickle is a program. `ida_rd.core.instructions` interprets the few instructions that tensors in dictionaries need, and
knows no function but those that put a tensor together. Nothing is allocated that the file does not contain: a storage
is as large as its bytes.

Both layouts are read: the zip archive, and the row of pickles of torch before 1.6. TorchScript archives are refused:
they hold code.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ida_rd.core.foreign import read_bytes
from ida_rd.core.instructions import SLACK, Interpreter, Mark, Name, Storage

__all__ = ["read_mapped", "read_pickled"]

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MOST_MEMBERS = 100_000
MOST_PARTS = 10_000_000  # of all values, each counted wherever it is used
DEEPEST = 50
CENTRAL_RECORD, LOCAL_RECORD, LOCAL_SIZE = b"PK\x01\x02", b"PK\x03\x04", 30
ALIGNED = 16  # bytes: of the largest element


def read_pickled(content: bytes) -> Any:
    """Read what ``torch.save`` wrote: dictionaries, lists, tuples, plain values and dense tensors on the CPU.

    Raises
    ------
    Exception
        Of any kind, if it is something else; the caller stands in `ida_rd.core.foreign.decoding`.
    """
    state = _read_zip(content) if content[:4] == LOCAL_RECORD else _read_legacy(content)
    _weigh(state)
    return state


def read_mapped(path: Path, outside: frozenset[str]) -> Any:
    """Read a file as `read_pickled` does, however large: its numbers stay in the file, which must not change.

    Parameters
    ----------
    path : Path
        One of the old layout is read as a whole.
    outside : frozenset of str
        Names of classes and functions of which a checkpoint may make use, besides its tensors; see `Outside`. What is
        done with them is not read.
    """
    with path.open("rb") as file:
        if file.read(len(LOCAL_RECORD)) != LOCAL_RECORD:
            state = _read_legacy(read_bytes(path, path.stat().st_size), outside)
        else:
            try:
                archive = zipfile.ZipFile(file)
            except zipfile.BadZipFile:  # its list of content is at its end
                raise ValueError("it is cut off or damaged: get it again") from None
            with archive:
                state = _read_archive(archive, path.stat().st_size, outside, np.memmap(path, np.uint8, "c"))
    _weigh(state)
    return state


def _read_zip(content: bytes) -> Any:
    if content.count(CENTRAL_RECORD) > MOST_MEMBERS:
        raise ValueError(f"a zip archive of more than {MOST_MEMBERS:,} files")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _read_archive(archive, len(content), frozenset())


def _read_archive(
    archive: zipfile.ZipFile, size: int, outside: frozenset[str], mapped: NDArray[np.uint8] | None = None
) -> Any:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise ValueError("two files of one name in a zip archive")
    roots = [name.removesuffix("data.pkl") for name in members if name.partition("/")[2] == "data.pkl"]
    if any(name.partition("/")[2].startswith(("code/", "constants.pkl")) for name in members):
        raise ValueError("a TorchScript archive, which holds code")
    if len(roots) != 1:
        raise ValueError("a zip archive without tensors of torch.save")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members.values()):
        raise ValueError("a zip archive of an unusual compression")
    if sum(info.file_size for info in members.values()) > 2 * size + SLACK:
        raise ValueError("it is compressed, to less than half of its content")

    def member(name: str) -> bytes:
        return archive.read(members[roots[0] + name])

    if roots[0] + "byteorder" in members and member("byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")

    def storage(numel: int, dtype: torch.dtype, key: str) -> Tensor:
        if numel == 0:
            return torch.empty(0, dtype=torch.uint8)
        nbytes = numel * dtype.itemsize
        info = members[f"{roots[0]}data/{key}"]
        if info.file_size != nbytes:
            raise ValueError(f"the storage {key} has another size than it says")
        if mapped is not None and info.compress_type == zipfile.ZIP_STORED:
            return _in_place(mapped, info)
        filled = torch.empty(nbytes, dtype=torch.uint8)
        filled.numpy()[:] = np.frombuffer(member(f"data/{key}"), np.uint8)
        return filled

    return Interpreter(storage, size, outside).run(io.BytesIO(member("data.pkl")))


def _in_place(mapped: NDArray[np.uint8], info: zipfile.ZipInfo) -> Tensor:
    """A file that an archive holds as it is, of which the checksum is compared."""
    head = mapped[info.header_offset : info.header_offset + LOCAL_SIZE].tobytes()
    if head[:4] != LOCAL_RECORD or len(head) < LOCAL_SIZE:
        raise ValueError(f"{info.filename} is not where the archive says")
    start = info.header_offset + LOCAL_SIZE + sum(int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
    content = mapped[start : start + info.file_size]
    if len(content) < info.file_size or zlib.crc32(content) != info.CRC:
        raise ValueError(f"{info.filename} is damaged")
    return torch.from_numpy(content.copy() if start % ALIGNED else np.asarray(content))


def _read_legacy(content: bytes, outside: frozenset[str] = frozenset()) -> Any:
    left = len(content)
    waiting: dict[str, tuple[int, Tensor]] = {}

    def storage(numel: int, dtype: torch.dtype, key: str) -> Tensor:
        nonlocal left
        left -= numel * dtype.itemsize
        if left < 0:
            raise ValueError("its storages are larger than the file")
        waiting[key] = numel, torch.empty(numel * dtype.itemsize, dtype=torch.uint8)
        return waiting[key][1]

    file = io.BytesIO(content)
    interpreter = Interpreter(storage, len(content), outside)
    if interpreter.run(file) != LEGACY_MAGIC:
        raise ValueError("it begins with something else than torch.save does")
    if interpreter.run(file) != LEGACY_PROTOCOL:
        raise ValueError("another version of torch's old format")
    if interpreter.run(file).get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    state = interpreter.run(file)
    for key in interpreter.run(file):
        numel, filled = waiting.pop(key)
        if int.from_bytes(file.read(8), "little") != numel:
            raise ValueError(f"the storage {key} has another size than it says")
        if file.readinto(filled.numpy().data) != len(filled):
            raise ValueError("it ends too early")
    if waiting:
        raise ValueError("it ends too early")
    return state


def _weigh(value: Any) -> None:
    """Refuse what is nested without end, or would be too large if all that is used twice were written twice."""
    known: dict[int, tuple[int, int]] = {}

    def weight(value: Any, depth: int) -> tuple[int, int]:
        if isinstance(value, Name | Storage) or value is Mark:
            what = value if isinstance(value, Name) else "something"
            raise ValueError(f"{what}: neither a dense tensor nor a plain value")
        if not isinstance(value, dict | list | tuple):
            return 1, 0
        if id(value) not in known:
            if depth > DEEPEST:
                raise ValueError("it is nested too deeply")
            known[id(value)] = 0, DEEPEST + 1  # until it is known: a value inside itself
            inside = list(value.values()) if isinstance(value, dict) else list(value)
            inside += [vars(value)["_metadata"]] if getattr(value, "_metadata", None) is not None else []
            parts = [weight(part, depth + 1) for part in inside]
            known[id(value)] = 1 + sum(n for n, _ in parts), 1 + max((height for _, height in parts), default=0)
        if known[id(value)][0] > MOST_PARTS or known[id(value)][1] > DEEPEST:
            raise ValueError("it is nested too deeply")
        return known[id(value)]

    weight(value, 0)

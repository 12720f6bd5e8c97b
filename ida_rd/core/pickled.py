"""State dictionaries that ``torch.save`` wrote, read without unpickling.

A pickle is a program. This interprets the few instructions that tensors in dictionaries need, and knows no function
but those that put a tensor together; whatever else a file asks for is refused by name. Nothing is allocated that the
file does not contain: a storage is as large as its bytes, a tensor lies within its storage, and all of them together
are no larger than twice the file.

Both layouts are read: the zip archive, and the row of pickles of torch before 1.6. TorchScript archives are refused:
they hold code.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ida_rd.core.foreign import MEBIBYTE

__all__ = ["read_pickled"]

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MOST_INSTRUCTIONS = 2_000_000  # a network of 1,000 tensors has 20,000
MOST_MEMBERS = 100_000
MOST_PARTS = 10_000_000  # of all values, each counted wherever it is used
DEEPEST = 50
MOST_DIMENSIONS = 64
CENTRAL_RECORD = b"PK\x01\x02"
# Besides the tensors: of a zip archive that was packed anew, and compressed, by another program.
SLACK = MEBIBYTE
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}


class _Name(NamedTuple):
    """A class or function that a pickle names; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class _Storage:
    """Bytes, (n,) uint8, and what they are."""

    content: Tensor
    dtype: torch.dtype


class _Mark:
    pass


def read_pickled(content: bytes) -> Any:
    """Read what ``torch.save`` wrote: dictionaries, lists, tuples, plain values and dense tensors on the CPU.

    Raises
    ------
    Exception
        Of any kind, if it is something else; the caller stands in `ida_rd.core.foreign.decoding`.
    """
    state = _read_zip(content) if content[:4] == b"PK\x03\x04" else _read_legacy(content)
    _weigh(state)
    return state


def _read_zip(content: bytes) -> Any:
    if content.count(CENTRAL_RECORD) > MOST_MEMBERS:
        raise ValueError(f"a zip archive of more than {MOST_MEMBERS:,} files")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
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
        if sum(info.file_size for info in members.values()) > 2 * len(content) + SLACK:
            raise ValueError("it is compressed, to less than half of its content")

        def member(name: str) -> bytes:
            return archive.read(members[roots[0] + name])

        if roots[0] + "byteorder" in members and member("byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")

        def storage(numel: int, dtype: torch.dtype, key: str) -> Tensor:
            if numel == 0:
                return torch.empty(0, dtype=torch.uint8)
            nbytes = numel * dtype.itemsize
            if members[f"{roots[0]}data/{key}"].file_size != nbytes:
                raise ValueError(f"the storage {key} has another size than it says")
            filled = torch.empty(nbytes, dtype=torch.uint8)
            filled.numpy()[:] = np.frombuffer(member(f"data/{key}"), np.uint8)
            return filled

        return _Interpreter(storage, len(content)).run(io.BytesIO(member("data.pkl")))


def _read_legacy(content: bytes) -> Any:
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
    interpreter = _Interpreter(storage, len(content))
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


class _Interpreter:
    """The instructions of a pickle that tensors in dictionaries need.

    Parameters
    ----------
    storage : callable
        Gives the bytes of a storage, by its number of elements, their type and its key.
    size : int
        Bytes of the file.
    """

    def __init__(self, storage: Callable[[int, torch.dtype, str], Tensor], size: int) -> None:
        self._storage, self._limit, self._total = storage, 2 * size + SLACK, 0
        self._storages: dict[str, _Storage] = {}
        self._count = 0

    def run(self, file: io.BytesIO) -> Any:
        """Interpret one pickle of a file."""
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        given: Any
        for code, given, _ in pickletools.genops(file):
            self._count += 1
            if self._count > MOST_INSTRUCTIONS:
                raise ValueError(f"more than {MOST_INSTRUCTIONS:,} instructions")
            name = code.name
            if name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"):
                stack.append(given)
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[given] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[given])
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name == "MARK":
                stack.append(_Mark)
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "TUPLE":
                stack.append(tuple(_pop_mark(stack)))
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            elif name in ("APPEND", "APPENDS"):
                items = [stack.pop()] if name == "APPEND" else _pop_mark(stack)
                _expect(stack[-1], list).extend(items)
            elif name in ("SETITEM", "SETITEMS"):
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _pop_mark(stack)
                _fill(_expect(stack[-1], dict, OrderedDict), items[::2], items[1::2])
            elif name == "GLOBAL":
                stack.append(_Name(*given.split(" ")))
            elif name == "BINPERSID":
                stack.append(self._persistent(_expect(stack.pop(), tuple)))
            elif name in ("REDUCE", "NEWOBJ"):
                arguments = _expect(stack.pop(), tuple)
                stack.append(self._call(_expect(stack.pop(), _Name), arguments))
            elif name == "BUILD":
                attributes = _expect(stack.pop(), dict, OrderedDict)
                if set(attributes) - {"_metadata"}:
                    raise ValueError("an object with attributes")
                _expect(stack[-1], OrderedDict).__dict__.update(attributes)
            elif name == "STOP":
                return stack.pop()
            elif name != "PROTO":
                raise ValueError(f"the instruction {name}")
        raise ValueError("it ends too early")

    def _persistent(self, given: tuple[Any, ...]) -> _Storage:
        """A storage, by ``("storage", type, key, device, elements)``; old files add a part of it."""
        if len(given) not in (5, 6) or given[0] != "storage":
            raise ValueError("something kept outside that is no storage")
        kind, key, numel = _expect(given[1], _Name), str(_expect(given[2], str, int)), _natural(given[4])
        if kind.name not in STORAGES or kind.module not in ("torch", "torch.storage", "torch.cuda"):
            raise ValueError(f"{kind}: not a dense tensor")
        dtype = STORAGES[kind.name]
        if key not in self._storages:
            self._storages[key] = _Storage(self._storage(numel, dtype, key), dtype)
        whole = self._storages[key].content
        if len(whole) != numel * dtype.itemsize:
            raise ValueError(f"the storage {key} has two sizes")
        if len(given) == 6 and given[5] is not None:
            _, start, count = _expect(given[5], tuple)
            first, length = _natural(start) * dtype.itemsize, _natural(count) * dtype.itemsize
            if first + length > len(whole):
                raise ValueError("a part that lies outside of its storage")
            whole = whole[first : first + length].clone() if first % 16 else whole[first : first + length]
        return _Storage(whole, dtype)

    def _call(self, function: _Name, given: tuple[Any, ...]) -> Any:
        name = str(function)
        if name == "collections.OrderedDict":
            made: OrderedDict[Any, Any] = OrderedDict()
            pairs = _expect(given[0], list) if given else []
            _fill(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
            return made
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            storage = _expect(given[0], _Storage)
            return self._tensor(storage.content, storage.dtype, *given[1:4])
        if name == "torch._utils._rebuild_tensor_v3":
            return self._tensor(_expect(given[0], _Storage).content, _dtype(given[6]), *given[1:4])
        if name in (
            "torch._utils._rebuild_parameter",
            "torch._utils._rebuild_parameter_with_state",
            "torch.nn.parameter.Parameter",
        ):
            return _expect(given[0], Tensor)
        if name == "torch.Size":
            return tuple(_natural(side) for side in _expect(given[0], tuple))
        if name == "torch.device":
            return _expect(given[0], str)
        if name == "_codecs.encode":
            return _expect(given[0], str).encode("latin-1")
        raise ValueError(f"{name}: neither a dense tensor nor a plain value")

    def _tensor(self, content: Tensor, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
        offset, size = _natural(offset), [_natural(side) for side in _expect(size, tuple)]
        stride = [_natural(step) for step in _expect(stride, tuple)]
        if len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
            raise ValueError("a tensor whose sizes and strides do not pair")
        # Torch checks neither: it would enlarge the storage.
        numel = math.prod(size)
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True)) if numel else -1
        nbytes = numel * dtype.itemsize
        if (last + 1) * dtype.itemsize > len(content) or nbytes > len(content):
            raise ValueError("a tensor that is larger than its storage")
        self._total += nbytes
        if self._total > self._limit:
            raise ValueError("its tensors are more than twice as large as the file")
        if not numel:
            return torch.empty(size, dtype=dtype)
        return content.view(dtype).as_strided(size, stride, offset)


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def _pop_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _Mark:
        items.append(item)
    return items[::-1]


def _fill(target: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    for key, value in zip(keys, values, strict=True):
        # The hash of a nested tuple takes time without end.
        target[_expect(key, str, int)] = value


def _expect(value: Any, *types: type) -> Any:
    if type(value) not in types:
        wanted = " or ".join(kind.__name__.removeprefix("_").lower() for kind in types)
        raise ValueError(f"{type(value).__name__.removeprefix('_').lower()} where {wanted} is expected")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a size that is none")
    return value


def _dtype(value: Any) -> torch.dtype:
    kind = _expect(value, _Name)
    found = vars(torch).get(kind.name) if kind.module == "torch" else None
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{kind}: not the type of a tensor's numbers")
    return found


def _weigh(value: Any) -> None:
    """Refuse what is nested without end, or would be too large if all that is used twice were written twice."""
    known: dict[int, tuple[int, int]] = {}

    def weight(value: Any, depth: int) -> tuple[int, int]:
        if isinstance(value, _Name | _Storage) or value is _Mark:
            what = value if isinstance(value, _Name) else "something"
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

"""The instructions of a pickle that tensors in dictionaries need, without one that looks up or runs anything.

Whatever else a pickle asks for is refused by name. No tensor is larger than its storage, and all of them together are
no larger than twice the file.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ida_rd.core.foreign import MEBIBYTE

__all__ = ["SLACK", "Interpreter", "Mark", "Name", "Outside", "Storage"]

MOST_INSTRUCTIONS = 2_000_000  # a network of 1,000 tensors has 20,000
MOST_DIMENSIONS = 64
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


class Name(NamedTuple):
    """A class or function that a pickle names; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Storage:
    """Bytes, (n,) uint8, and what they are."""

    content: Tensor
    dtype: torch.dtype


class Mark:
    pass


class Outside(str):
    """What stands in the place of a class, or of what a function would give: its name, which was not looked up."""

    __slots__ = ()


class Interpreter:
    """The instructions of a pickle that tensors in dictionaries need.

    Parameters
    ----------
    storage : callable
        Gives the bytes of a storage, by its number of elements, their type and its key.
    size : int
        Bytes of the file.
    outside : frozenset of str
        Names in whose place an `Outside` stands.
    """

    def __init__(
        self, storage: Callable[[int, torch.dtype, str], Tensor], size: int, outside: frozenset[str] = frozenset()
    ) -> None:
        self._storage, self._limit, self._total, self._outside = storage, 2 * size + SLACK, 0, outside
        self._storages: dict[str, Storage] = {}
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
                stack.append(Mark)
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
                if type(stack[-1]) is not Outside:
                    _expect(stack[-1], list).extend(items)
            elif name in ("SETITEM", "SETITEMS"):
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _pop_mark(stack)
                if type(stack[-1]) is not Outside:
                    _fill(_expect(stack[-1], dict, OrderedDict), items[::2], items[1::2])
            elif name == "GLOBAL":
                named = Name(*given.split(" "))
                stack.append(Outside(named) if str(named) in self._outside else named)
            elif name == "BINPERSID":
                stack.append(self._persistent(_expect(stack.pop(), tuple)))
            elif name in ("REDUCE", "NEWOBJ"):
                arguments, function = _expect(stack.pop(), tuple), _expect(stack.pop(), Name, Outside)
                stack.append(function if type(function) is Outside else self._call(function, arguments))
            elif name == "BUILD" and type(stack[-2]) is Outside:
                stack.pop()
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

    def _persistent(self, given: tuple[Any, ...]) -> Storage:
        """A storage, by ``("storage", type, key, device, elements)``; old files add a part of it."""
        if len(given) not in (5, 6) or given[0] != "storage":
            raise ValueError("something kept outside that is no storage")
        kind, key, numel = _expect(given[1], Name), str(_expect(given[2], str, int)), _natural(given[4])
        if kind.name not in STORAGES or kind.module not in ("torch", "torch.storage", "torch.cuda"):
            raise ValueError(f"{kind}: not a dense tensor")
        dtype = STORAGES[kind.name]
        if key not in self._storages:
            self._storages[key] = Storage(self._storage(numel, dtype, key), dtype)
        whole = self._storages[key].content
        if len(whole) != numel * dtype.itemsize:
            raise ValueError(f"the storage {key} has two sizes")
        if len(given) == 6 and given[5] is not None:
            _, start, count = _expect(given[5], tuple)
            first, length = _natural(start) * dtype.itemsize, _natural(count) * dtype.itemsize
            if first + length > len(whole):
                raise ValueError("a part that lies outside of its storage")
            whole = whole[first : first + length].clone() if first % 16 else whole[first : first + length]
        return Storage(whole, dtype)

    def _call(self, function: Name, given: tuple[Any, ...]) -> Any:
        name = str(function)
        if name == "collections.OrderedDict":
            made: OrderedDict[Any, Any] = OrderedDict()
            pairs = _expect(given[0], list) if given else []
            _fill(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
            return made
        if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            storage = _expect(given[0], Storage)
            return self._tensor(storage.content, storage.dtype, *given[1:4])
        if name == "torch._utils._rebuild_tensor_v3":
            return self._tensor(_expect(given[0], Storage).content, _dtype(given[6]), *given[1:4])
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
    while (item := stack.pop()) is not Mark:
        items.append(item)
    return items[::-1]


def _fill(target: dict[Any, Any], keys: list[Any], values: list[Any]) -> None:
    for key, value in zip(keys, values, strict=True):
        # The hash of a nested tuple takes time without end.
        target[_expect(key, str, int, Outside)] = value


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
    kind = _expect(value, Name)
    found = vars(torch).get(kind.name) if kind.module == "torch" else None
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{kind}: not the type of a tensor's numbers")
    return found

"""Build a network from names and sizes that a stranger chose, within a budget of memory.

A library that recognises networks takes their depth from the largest number in a name, and their width from the size
of one tensor: a file of a few kilobytes can describe a network of many gigabytes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ida_rd.core.foreign import MEBIBYTE

__all__ = ["check_names", "within_budget"]

# A network of spandrel's is built with at most 3 times the bytes of its tensors, 4 new tensors and 12 operations for
# each of them.
BYTES = (8, 128 * MEBIBYTE)
TENSORS = (10, 2_000)
OPERATIONS = (40, 20_000)
MOST_NAMES = 20_000


def check_names(state: Mapping[str, Tensor]) -> None:
    """Refuse names that would make a network of many more layers than there are, and tensors without elements.

    Raises
    ------
    ValueError
        Says which.
    """
    if len(state) > MOST_NAMES:
        raise ValueError(f"{len(state):,} tensors, more than {MOST_NAMES:,}")
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for name, tensor in state.items():
        if not tensor.numel():
            raise ValueError(f"{name} has no elements")
        parts = name.split(".")
        for i, part in enumerate(parts):
            try:
                number = int(part)  # as the library reads it, which takes 1_000 and +5 for numbers
            except ValueError:
                continue
            if str(number) != part or number < 0:
                raise ValueError(f"{name}: {part} is no number of a layer")
            numbers[".".join(parts[:i])].add(number)
    for prefix, found in numbers.items():
        if max(found) + 1 > 4 * len(found) + 16:
            raise ValueError(f"{prefix}.{max(found)} is the number of one of {len(found)} layers")


@contextmanager
def within_budget(state: Mapping[str, Tensor]) -> Iterator[None]:
    """Build a network inside; ValueError before it needs much more memory or time than `state` justifies."""
    with _Budget(len(state), sum(tensor.numel() * tensor.element_size() for tensor in state.values())):
        yield


class _Budget(TorchDispatchMode):
    """Looks at every operation of torch: first on tensors without memory, then, if it fits, as it is."""

    def __init__(self, count: int, nbytes: int) -> None:
        super().__init__()
        self.bytes_left = BYTES[0] * nbytes + BYTES[1]
        self.tensors_left = TENSORS[0] * count + TENSORS[1]
        self.operations_left = OPERATIONS[0] * count + OPERATIONS[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations_left -= 1
        schema = func._schema
        if not any(returned.alias_info for returned in schema.returns):  # neither a view nor in place
            self._spend(_shapes(func, args, kwargs))
        if self.operations_left < 0 or self.tensors_left < 0 or self.bytes_left < 0:
            raise ValueError("it describes a network that is much larger than the file")
        return func(*args, **kwargs)

    def _spend(self, made: Any) -> None:
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, Tensor):
                self.tensors_left -= 1
                self.bytes_left -= math.prod(tensor.shape) * tensor.element_size()


def _shapes(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation would give, without memory; None where that depends on values, as for single numbers."""

    def empty(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.empty_like(value, device="meta")
        if isinstance(value, list | tuple):
            return type(value)(empty(part) for part in value)
        return value

    without = {key: empty(value) for key, value in kwargs.items()}
    if any(argument.name == "device" for argument in func._schema.arguments):
        without["device"] = torch.device("meta")
    try:
        return func(*empty(args), **without)
    except (NotImplementedError, RuntimeError):
        return None

"""Files that hold several networks, told apart by what the names of their tensors begin with; without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ida_rd.models.latent.checkpoint import Names
from ida_rd.models.latent.layout import Shapes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Part", "missing_of", "same", "taken"]

SHOWN = 4


def same(name: str) -> tuple[str, ...]:
    """The names of a part whose file calls its tensors as the network does."""
    return (name,)


@dataclass(frozen=True)
class Part:
    """One network of a file.

    Attributes
    ----------
    what : str
        For errors.
    prefixes : tuple of str
        What its names begin with. A single one is no part of the names that `names` is given; of several, each is.
    config : object
    shapes : dict
        Of its tensors, under their names in the network.
    names : callable
        Of a tensor in the file to those of `shapes`.
    """

    what: str
    prefixes: tuple[str, ...]
    config: Any
    shapes: Shapes
    names: Names = same

    def of(self, name: str) -> str | None:
        """A tensor's name within the part; None: it is of another."""
        if not name.startswith(self.prefixes):
            return None
        return name.removeprefix(self.prefixes[0]) if len(self.prefixes) == 1 else name


def missing_of(names: Collection[str], parts: Iterable[Part]) -> str | None:
    """What is missing of the first part that is not whole, given the names of a file; None: all are."""
    for part in parts:
        given = [within for name in names if (within := part.of(name)) is not None]
        found = {target for name in given for target in part.names(name)}
        if missing := [name for name in part.shapes if name not in found]:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            where = f" ({part.prefixes[0]}...)" if len(part.prefixes) == 1 else ""
            return f"{part.what}{where} is not whole: {', '.join(missing[:SHOWN])}{more}"
    return None


def taken(part: Part, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a part by their names within it, taken out of those of a file, so that none is held twice."""
    names = {name: within for name in tensors if (within := part.of(name)) is not None}
    return {within: tensors.pop(name) for name, within in names.items()}

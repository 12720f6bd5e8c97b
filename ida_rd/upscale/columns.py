"""Columns of its own that an upscaler declares: they are summed up beside the scores.

A method module may define ``columns(parameters) -> dict[str, Column]``. Each is a column of its samples
(`ida_rd.upscale.contract.Samples`), there for every sample, finite or not. Columns that are not declared stay in
``samples.csv`` alone.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ida_rd.core.errors import UserError
from ida_rd.core.methods import OpenedMethod

__all__ = ["Column", "columns_of", "declared"]


class Column(NamedTuple):
    """A column of an upscaler's samples.

    Attributes
    ----------
    kind : str
        ``share``: True or False of each sample; ``mean``: a number.
    label : str
        Head of its column in tables.
    text : str
        What it is, for below them; without a full stop.
    """

    kind: Literal["share", "mean"]
    label: str
    text: str


def columns_of(method: OpenedMethod) -> dict[str, Column]:
    """The columns that a method declares with its parameters."""
    told = getattr(method.module, "columns", None)
    return dict(told(method.parameters)) if callable(told) else {}


def declared(method: OpenedMethod) -> dict[str, Any]:
    """The same as part of what recipes know about an upscaler; nothing for one that declares none."""
    found = columns_of(method)
    if len({column.label for column in found.values()}) != len(found):
        raise UserError("its columns must have different labels")
    return {"columns": {name: column._asdict() for name, column in found.items()}} if found else {}

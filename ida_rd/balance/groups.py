"""From attributes to groups: ages to age groups, labels to the groups that they count as, groups to joint cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ida_rd.core.errors import UserError, did_you_mean

__all__ = ["OTHERS", "Cells", "cells", "edge_labels", "entropy", "group_names", "grouped", "maximum_entropy"]

OTHERS = "others"
MOST_CELLS = 1_000_000


def group_names(rule: dict[str, Any], values: pd.Series) -> list[str]:
    """Names of an attribute's groups, in order.

    Parameters
    ----------
    rule : dict
        ``edges`` (rising numbers) with ``labels``, one more; or ``groups``, names to the labels that count as each; or
        neither: each label is a group of its own. ``others`` says what becomes of labels that are in no group.
    values : Series
        The attribute, for the third case.
    """
    if rule.get("edges") is not None:
        return list(rule["labels"] or edge_labels(rule["edges"]))
    if rule.get("groups") is not None:
        return [*rule["groups"], *([OTHERS] if rule["others"] == "keep" else [])]
    return sorted(str(value) for value in values.dropna().unique())


def edge_labels(edges: list[float]) -> list[str]:
    """Name the groups between edges: below the first, from one up to the next, from the last up."""
    # A cell that begins with a minus and is no number would be a formula to a spreadsheet.
    first = [f"from {edge:g}" if edge < 0 else f"{edge:g}" for edge in edges]
    middle = [f"{a} to {b:g}" for a, b in zip(first, edges[1:], strict=False)]
    return [f"below {edges[0]:g}", *middle, f"{first[-1]} up"]


def grouped(name: str, values: pd.Series, rule: dict[str, Any]) -> pd.Series:
    """Group of every row; missing where the attribute is, or where its label is to be left out.

    An edge belongs to the group above it: with edges 19, 37, 55 an age of 18.5 is in the first group and one of 19
    in the second.

    Raises
    ------
    UserError
        Edges for labels, or a label that is in no group where ``others`` is ``error``.
    """
    names = group_names(rule, values)
    if rule.get("edges") is not None:
        if not pd.api.types.is_numeric_dtype(values):
            raise UserError(
                f"balance.attributes.{name}.edges: {name} is not a number ({values.dropna().iloc[0]!r}, for example)"
            )
        place = np.searchsorted(rule["edges"], values.to_numpy(np.float64), side="right")
        found = pd.Series(np.array(names, dtype=object)[place], index=values.index)
        return found.where(values.notna())
    labels = values.map(str).where(values.notna())
    if rule.get("groups") is None:
        return labels
    belongs = {str(label): group for group, members in rule["groups"].items() for label in members}
    found = labels.map(belongs)
    if odd := sorted(set(labels.dropna()) - belongs.keys()):
        if rule["others"] == "error":
            raise UserError(
                f"balance.attributes.{name}.groups: no group has the label {odd[0]!r}; {did_you_mean(odd[0], belongs)}"
                " Add it, or set others: keep or leave-out"
            )
        if rule["others"] == "keep":
            found = found.mask(labels.isin(odd), OTHERS)
    return found


@dataclass(frozen=True)
class Cells:
    """Joint groups of all attributes.

    Attributes
    ----------
    table : DataFrame
        One row per cell, in order: one column per attribute with its group.
    of : ndarray
        (N,), cell of each row, 0-based; -1 where an attribute is missing.
    """

    table: pd.DataFrame
    of: NDArray[np.int64]

    def counts(self, rows: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows in each cell, of all rows or of those given."""
        chosen = self.of if rows is None else self.of[rows]
        return np.bincount(chosen[chosen >= 0], minlength=len(self.table))


def cells(table: pd.DataFrame, rules: dict[str, dict[str, Any]]) -> Cells:
    """Sort rows into the cells of the product of all attributes' groups.

    Parameters
    ----------
    table : DataFrame
        One column per attribute.
    rules : dict
        Attribute to rule; see `group_names`.
    """
    names = {}
    place = np.zeros(len(table), dtype=np.int64)
    missing = np.zeros(len(table), dtype=bool)
    for attribute, rule in rules.items():
        if attribute not in table:
            raise UserError(
                f"balance.attributes: no source gives {attribute!r}; {did_you_mean(attribute, table.columns)}"
            )
        names[attribute] = group_names(rule, table[attribute])
        found = grouped(attribute, table[attribute], rule)
        code = pd.Categorical(found, categories=names[attribute]).codes.astype(np.int64)
        missing |= code < 0
        place = place * len(names[attribute]) + code
    sizes = [len(groups) for groups in names.values()]
    if math.prod(sizes) > MOST_CELLS:
        raise UserError(
            f"balance.attributes: {' x '.join(map(str, sizes))} joint groups are more than {MOST_CELLS:,}: group the"
            " labels, or balance by fewer attributes"
        )
    index = pd.MultiIndex.from_product(names.values(), names=list(names))
    return Cells(index.to_frame(index=False), np.where(missing, -1, place))


def entropy(counts: NDArray[np.int64]) -> float:
    """Joint entropy of a distribution over groups, in bits: ``-sum p log2 p``."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0  # no negative zero


def maximum_entropy(size: int, available: NDArray[np.int64]) -> float:
    """Return the entropy of the evenest selection of `size` that groups of these sizes allow, in bits."""
    from ida_rd.balance.selection import even_quotas

    return entropy(even_quotas(available, size))

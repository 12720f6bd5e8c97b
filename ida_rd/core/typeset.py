"""Tables and numbers as text: Markdown for people, LaTeX for papers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ida_rd.core.errors import printable

__all__ = ["interval", "latex_tabular", "latex_text", "markdown_table", "number", "p_value", "places_of"]

LINE_ENDS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


def places_of(value: float) -> int:
    """Decimal places that a score is shown with: 2 for ten and above (decibels, bits), otherwise 4."""
    return 2 if abs(value) >= 10 else 4


def number(value: float, places: int | None = None, *, signed: bool = False) -> str:
    """Set a number with `places` decimals, by default those of `places_of`."""
    return f"{value:{'+' if signed else ''}.{places_of(value) if places is None else places}f}"


def interval(
    value: float, low: float, high: float, *, places: int | None = None, signed: bool = False, bold: bool = False
) -> str:
    """Set a value and its interval as ``0.1234 [0.1200, 0.1300]``, all with the decimals of the value."""
    places = places_of(value) if places is None else places
    first, *ends = (number(x, places, signed=signed) for x in (value, low, high))
    return f"{f'**{first}**' if bold else first} [{', '.join(ends)}]"


def p_value(p: float) -> str:
    """Three decimals, or two significant digits below a thousandth."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def markdown_table(head: Sequence[str | None], rows: Iterable[Sequence[str]]) -> list[str]:
    """Set a table as Markdown.

    Parameters
    ----------
    head : sequence of str or None
        Titles of the columns; None: a column without one. (An empty text is set as in a row, with two blanks.)
    rows : iterable of sequence of str
        Cells.

    Returns
    -------
    list of str
        Lines, without line ends.
    """
    return [
        "|" + "|".join(" " if title is None else f" {title} " for title in head) + "|",
        "|---" * len(head) + "|",
        *("| " + " | ".join(LINE_ENDS.sub(" ", cell) for cell in cells) + " |" for cells in rows),
    ]


def latex_text(text: str) -> str:
    """Return a text as LaTeX sets it, its special characters escaped."""
    return printable(LINE_ENDS.sub(" ", text)).translate(LATEX)


def latex_tabular(
    columns: str, head: Sequence[str], blocks: Iterable[Iterable[Sequence[str]]], *, note: Iterable[str] = ()
) -> str:
    r"""Set a table as a LaTeX ``tabular``, for a document that loads booktabs.

    Parameters
    ----------
    columns : str
        Their alignment, such as ``llc``.
    head : sequence of str
        Titles of the columns.
    blocks : iterable of iterable of sequence of str
        Blocks, each below a rule of its own, of rows of cells. They are LaTeX already: see `latex_text`.
    note : iterable of str
        Lines of comment above.
    """
    lines = [f"% {line}" for line in note]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(head)]
    for block in blocks:
        lines += [r"\midrule", *(_latex_row(cells) for cells in block)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"

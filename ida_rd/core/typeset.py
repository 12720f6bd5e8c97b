"""Tables and numbers as text: Markdown for people, LaTeX for papers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from ida_rd.core.errors import printable

__all__ = [
    "counted",
    "interval",
    "latex_tabular",
    "latex_text",
    "markdown_table",
    "number",
    "p_value",
    "places_of",
    "share",
]

LINE_ENDS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")
LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


def places_of(value: float) -> int:
    """Decimal places of a score that stands without an interval: 2 for ten and above (decibels, bits), otherwise 3."""
    return 2 if abs(value) >= 10 else 3


def number(value: float, places: int | None = None, *, signed: bool = False) -> str:
    """Set a number with `places` decimals, by default those of `places_of`."""
    return f"{value:{'+' if signed else ''}.{places_of(value) if places is None else places}f}"


def interval(
    value: float,
    low: float | None,
    high: float | None,
    *,
    places: int | None = None,
    signed: bool = False,
    bold: bool = False,
) -> str:
    """Set a value and its interval as ``0.123 [0.101, 0.145]``, or the value alone where there is none.

    By default with as many decimals as show two digits of half the interval's width: 3 or 4, from ten on 1 or 2. More
    would be noise. `ida_rd.study.numbers` prints three significant digits instead: its differences can be far smaller
    than what four decimals show.
    """
    given = low is not None and high is not None and not math.isnan(low) and not math.isnan(high)
    if places is None and given:
        half = (high - low) / 2  # type: ignore[operator]
        least, most = (1, 2) if abs(value) >= 10 else (3, 4)
        places = min(most, max(least, 1 - math.floor(math.log10(half)))) if half > 0 else places_of(value)
    first = number(value, places, signed=signed)
    first = f"**{first}**" if bold else first
    if not given:
        return first
    ends = (number(x, places, signed=signed) for x in (low, high))  # type: ignore[arg-type]
    return f"{first} [{', '.join(ends)}]"


def counted(photographs: int, images: int) -> str:
    """Say of how many photographs a number is, and of how many tiles, if a photograph has several."""
    some = f"{photographs} photograph{'' if photographs == 1 else 's'}"
    return some if photographs == images else f"{images} tiles of {some}"


def share(value: float) -> str:
    """Set a share as a percentage: small ones with the digits that they have."""
    if value == 0:
        return "0"
    return f"{100 * value:.3g} %" if value >= 0.995 else f"{100 * value:.2g} %"


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

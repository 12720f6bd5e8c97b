"""What all figures have in common."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

__all__ = ["COLOURS", "MARKERS", "STYLE", "without_date", "write_below"]

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "ida-rd",  # the same picture gives the same file
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text stays text
    "text.parse_math": False,  # a name with two $ is a name
}
# Okabe and Ito's palette: the colour-blind can distinguish its colours, and everyone the markers, in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


def without_date(form: str) -> dict[str, None]:
    """The metadata of a figure that say when it was drawn and by what: none."""
    return dict.fromkeys({"png": ["Software"], "svg": ["Date"], "pdf": ["CreationDate", "Creator", "Producer"]}[form])


def write_below(figure: Figure, *lines: str) -> None:
    """Write lines below a figure, such as of how many photographs it is; empty ones are left out."""
    if text := "\n".join(line for line in lines if line):
        figure.supxlabel(text, fontsize=8, color="0.35")

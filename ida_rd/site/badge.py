"""A score as a small picture, for the README of whoever wrote the downscaler: static SVG, no service behind it."""

from __future__ import annotations

from html import escape

from ida_rd.core import typeset
from ida_rd.core.errors import printable
from ida_rd.site.boards import Board, Entry

__all__ = ["badge", "badge_path", "badge_text"]

COLOURS = {"reproduced": "#0072b2", "verified": "#2e7d4f", "self-reported": "#6b6b68"}
CHARACTER, PAD, HEIGHT = 6.6, 8, 20  # pixels at 11 px; `textLength` makes any font as wide as that


def badge_path(board: Board, entry: Entry) -> str:
    """Where it lies in the bundle's folder: the same place whatever other bundles there are."""
    return f"badges/{board.upscaler}/x{board.factor}/{entry.downscaler}/{board.distortion}.svg"


def badge_text(board: Board, entry: Entry) -> tuple[str, str]:
    """What stands on it: of which benchmark; value and interval, distortion, tier."""
    score = entry.score
    value = typeset.interval(score["mean"], score["ci_low"], score["ci_high"])
    left = f"IDA-RD {board.benchmark or 'own images'}"
    return left, f"{entry.downscaler}: {board.label} {value}, {entry.tier}"


def badge(board: Board, entry: Entry) -> str:
    """The badge of an entry."""
    left, right = (printable(text) for text in badge_text(board, entry))
    widths = [round(CHARACTER * len(text)) + 2 * PAD for text in (left, right)]
    whole = sum(widths)
    title = escape(f"{left}: {right}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f'<rect width="{whole}" height="{HEIGHT}" rx="3" fill="{COLOURS[entry.tier]}"/>',
        f'<rect width="{widths[0]}" height="{HEIGHT}" rx="3" fill="#333"/>',
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">',
    ]
    for start, width, text in zip((0, widths[0]), widths, (left, right), strict=True):
        parts.append(f'<text x="{start + PAD}" y="14" textLength="{width - 2 * PAD}">{escape(text)}</text>')
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"

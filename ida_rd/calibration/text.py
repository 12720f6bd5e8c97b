"""Cards as tables: rows of all branches, Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ida_rd.calibration.card import BALLS, LENGTHS, LEVELS, MEAN_RANK, MISSES, OFF, OUTSIDE, RATIO, Card
from ida_rd.core.project import Branch
from ida_rd.core.typeset import counted, interval, latex_tabular, latex_text, markdown_table, number

__all__ = ["CLEAR", "Cards", "cards_curves", "cards_latex", "cards_markdown", "cards_table", "row_of", "verdict_of"]

Cards = Mapping[Branch, Card]
CLEAR = "no departure seen"
# Space, quantity, and the head of its column: the figures that a reader compares.
COLUMNS = (
    ("pixels", RATIO, "variance : bias², pixels"),
    ("features", RATIO, "features"),
    ("features", LENGTHS, "lengths, features"),
    ("pixels", OUTSIDE, "outside all samples, pixels"),
    ("wavelets 2 px", OUTSIDE, "finest wavelets"),
    ("features", OUTSIDE, "features"),
    ("pixels", MEAN_RANK, "mean rank, pixels"),
    (BALLS, f"coverage {LEVELS[0]:.0%}", f"coverage of {LEVELS[0]:.0%} balls"),
    (BALLS, f"coverage {LEVELS[1]:.0%}", f"of {LEVELS[1]:.0%}"),
    ("LR", MISSES, "misses LR"),
)
SCORES = (("pixels", "energy score, pixels"), ("features", "features"))


def verdict_of(card: Card) -> str:
    """The verdict in words."""
    said = [word if word == MISSES else f"{word} ({', '.join(spaces)})" for word, spaces in card.verdict.items()]
    return "; ".join(said) or CLEAR


def _joined(cards: Cards, of: str) -> pd.DataFrame:
    frames = []
    for branch, card in cards.items():
        where = {"upscaler": branch.upscaler, "factor": branch.factor, "downscaler": branch.downscaler}
        table = getattr(card, of)
        frames.append(pd.DataFrame([where] * len(table)).join(table))
    return pd.concat(frames, ignore_index=True)


def cards_table(cards: Cards) -> pd.DataFrame:
    """All rows: a branch, space and quantity each, and how many samples, images and photographs they rest on."""
    table = _joined(cards, "rows")
    of = [cards[Branch(*key)] for key in table[["upscaler", "factor", "downscaler"]].itertuples(index=False)]
    return table.assign(
        samples=[card.samples for card in of],
        images=[card.images for card in of],
        photographs=[card.photographs for card in of],
    )


def cards_curves(cards: Cards) -> pd.DataFrame:
    """What the figure draws."""
    return _joined(cards, "curves")


def row_of(card: Card, space: str, quantity: str) -> pd.Series | None:
    """The row of a card, if it has that one: small images have no features."""
    found = card.rows[(card.rows.space == space) & (card.rows.quantity == quantity)]
    return found.iloc[0] if len(found) else None


def _cell(row: pd.Series | None, level: float) -> str:
    if row is None or pd.isna(row.value):
        return "-"
    out = not row.low <= row.exact <= row.high if pd.isna(row.p_holm) else row.p_holm < level
    return interval(row.value, row.low, row.high, places=2, bold=bool(out))


def cards_markdown(cards: Cards, title: str, notes: tuple[str, ...] = ()) -> str:
    """The cards of one or more upscalers, one row per branch."""
    first = next(iter(cards.values()))
    confidence = first.settings.confidence
    exact = [
        row.exact if (row := row_of(first, space, quantity)) is not None else 0.0 for space, quantity, _ in COLUMNS
    ]
    lines = [
        f"# {title}",
        "",
        f"{counted(first.photographs, first.images)}, K = {first.samples}. Each cell: value [{confidence:.0%} interval"
        " over photographs]; bold where it departs from exact samples, after Holm's correction for all tests of its row"
        " where it is a test, and by its interval where it is none.",
        "",
    ]
    for upscaler, factor in dict.fromkeys((branch.upscaler, branch.factor) for branch in cards):
        head = [None, "verdict", *(name for _, _, name in COLUMNS), *(name for _, name in SCORES)]
        body = [["exact samples", "", *(number(value, 2) for value in exact), *["unknown"] * len(SCORES)]]
        for branch, card in cards.items():
            if (branch.upscaler, branch.factor) != (upscaler, factor):
                continue
            cells = [_cell(row_of(card, space, quantity), 1 - confidence) for space, quantity, _ in COLUMNS]
            for space, _ in SCORES:
                one = row_of(card, space, "energy score")
                assert one is not None
                cells.append(interval(one.value, one.low, one.high))
            body.append([branch.downscaler, verdict_of(card), *cells])
        lines += [f"## {upscaler}, x{factor}", "", *markdown_table(head, body), ""]
    lines += [
        "Exact samples have a ratio of 1, also of lengths (mean length between samples : from samples to the original);"
        " below it they are too alike for their error. Outside all samples: share of values that lie below or above all"
        " K. Mean rank: below 1/2 samples are too bright. Coverage: share of originals within balls about random"
        " references that hold 50 % and 90 % of the samples. Misses LR: share of samples that the downscaler takes more"
        f" than {OFF:g} level (RMSE) away from the LR image; - where it is no function. Energy score: lower is better,"
        " of decoders on the same images; levels in pixels.",
        *(f"\n{note}" for note in notes),
    ]
    return "\n".join(lines) + "\n"


def cards_latex(cards: Cards) -> str:
    """The same without intervals, for papers (booktabs); a block per upscaler and factor."""
    names = ["downscaler", *(name for _, _, name in COLUMNS), "verdict"]
    blocks: dict[tuple[str, int], list[list[str]]] = {}
    for branch, card in cards.items():
        found = [row_of(card, space, quantity) for space, quantity, _ in COLUMNS]
        cells = ["-" if row is None or pd.isna(row.value) else number(row.value, 2) for row in found]
        row = [latex_text(f"{branch.upscaler}, x{branch.factor}"), latex_text(branch.downscaler), *cells]
        blocks.setdefault((branch.upscaler, branch.factor), []).append([*row, latex_text(verdict_of(card))])
    first = next(iter(cards.values()))
    exact = [row_of(first, space, quantity) for space, quantity, _ in COLUMNS]
    told = ["exact samples", "", *("-" if row is None else number(row.exact, 2) for row in exact), ""]
    head = [latex_text(name) for name in ("upscaler", *names)]
    return latex_tabular("ll" + "r" * len(COLUMNS) + "l", head, [[told], *blocks.values()])

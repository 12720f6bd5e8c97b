"""The README's first finding, from the committed results of ``experiments/matched``; ``make figures`` calls it."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "experiments/matched/results/bsds500-test/matched.csv"
MARKS = ("<!-- finding: written by make figures -->\n", "<!-- end of finding -->\n")
BLIND, DISTORTION = (
    "heat-10",
    "lpips-alex",
)  # the shipped heat, the only one with two trainings each; the primary outcome
SHOWN = {"l0": "L0-regularized", "perceptual": "perceptual", "dpid": "DPID", "nearest": "nearest"}


def finding(table: pd.DataFrame) -> str:
    """The paragraph.

    Parameters
    ----------
    table : DataFrame
        ``matched.csv``.
    """
    rows = table[(table.blind == BLIND) & (table.distortion == DISTORTION)].set_index("downscaler").loc[list(SHOWN)]
    shares = [
        f"{SHOWN[str(name)]} {row['share']:.0%} [{row.share_low:.0%}, {row.share_high:.0%}]"
        for name, row in rows.iterrows()
    ]
    first = rows.iloc[0]
    text = (
        "**By LPIPS, most of what our blind decoder scores as lost is only unreadable to it.** L0-regularized"
        f" downscaling loses {first.excess:.3f} [{first.excess_low:.3f}, {first.excess_high:.3f}] more than bicubic at"
        " x4."
        " Adapted to its LR images for a few minutes, the same decoder finds most of that again. What stays lost:"
        f" {', '.join(shares)} ({int(first.photographs)} photographs of BSDS500, {int(first.trainings)} trainings each,"
        " 95% intervals; [adapted decoders, heats and distortions](experiments/matched/README.md))."
    )
    return fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def written(readme: str, text: str) -> str:
    """A README with the finding in its place."""
    before, _, rest = readme.partition(MARKS[0])
    return before + MARKS[0] + text + MARKS[1] + rest.partition(MARKS[1])[2]


def main() -> None:
    README.write_text(written(README.read_text(encoding="utf-8"), finding(pd.read_csv(RESULTS))), encoding="utf-8")


if __name__ == "__main__":
    main()

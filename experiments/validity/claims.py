"""Does the instrument measure? Judge the claims on the runs in ``order`` and ``factors``.

Every claim is a paired difference: per image, the mean over samples of one condition minus that of
the other (they share their latents), and a bootstrap interval of its mean over the images. A claim
holds if the interval excludes zero on the right side. Writes ``metrics/validity.json`` and
``metrics/tables/{claims,heat}.md`` beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd
import yaml

from ida_rd.aggregate.statistics import paired_difference, summarise
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_json, write_text
from ida_rd.core.tables import read_table
from ida_rd.core.typeset import interval, markdown_table, number

HERE = Path(__file__).resolve().parent
CONFIDENCE, RESAMPLES, SEED = 0.95, 10000, 0
DISTORTION = "lpips-alex"
PRESET = "heat-11"  # `flow`'s for x4; chosen on BSDS500 val, as its model card says
DETERMINISTIC = "heat-0"
# Every downscaler in a later group loses more than all in an earlier one.
ORDER = [["bilinear", "bicubic"], ["lanczos"], ["dpid", "l0", "perceptual"], ["nearest"]]
BESIDE = ["box"]  # in the table of heats; the paper says nothing about it
FACTORS = [4, 8, 16]


@dataclass(frozen=True)
class Claim:
    """``more`` loses more than ``less``, by ``difference`` [low, high]."""

    group: str
    less: str
    more: str
    difference: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.low > 0

    @property
    def interval(self) -> str:
        return interval(self.difference, self.low, self.high, places=4, signed=True)


def image_means(run: str, upscaler: str, factor: int, downscaler: str) -> pd.Series:
    """Mean distortion per image of a branch."""
    path = HERE / run / "data" / "distortion" / upscaler / f"x{factor}" / f"{downscaler}.csv"
    rows = read_table(path, hint=f"run `dvc repro` in experiments/validity/{run}")
    _, means = summarise(rows, DISTORTION, confidence=CONFIDENCE, resamples=100, seed=SEED)
    return means


def sample_counts() -> dict[str, float]:
    """How many samples all runs hold, how many of them were lost, and the largest clipped share of a branch."""
    tables = [read_table(path, hint="") for path in sorted(HERE.glob("*/data/distortion/*/*/*.csv"))]
    return {
        "samples": sum(len(rows) for rows in tables),
        "not_finite": sum(int((~rows.finite).sum()) for rows in tables),
        "drawn_again": sum(int((rows.attempts > 1).sum()) for rows in tables),
        "largest_clipped_share": max(float(rows.clipped.mean()) for rows in tables),
    }


def claim(group: str, less: tuple[str, pd.Series], more: tuple[str, pd.Series]) -> Claim:
    """Compare two conditions on the images that both have."""
    found = paired_difference(less[1], more[1], confidence=CONFIDENCE, resamples=RESAMPLES, seed=SEED)
    return Claim(group, less[0], more[0], found.mean, found.low, found.high)


def order_claims(upscaler: str) -> list[Claim]:
    """Every downscaler of a group against every one of the next."""
    means = {name: image_means("order", upscaler, 4, name) for group in ORDER for name in group}
    return [
        claim(f"order, {upscaler}", (less, means[less]), (more, means[more]))
        for earlier, later in pairwise(ORDER)
        for less in earlier
        for more in later
    ]


def factor_claims() -> list[Claim]:
    """Every factor against the one before, for each downscaler of that run."""
    claims = []
    for name in ("bicubic", "lanczos"):
        means = [(f"x{factor} {name}", image_means("factors", "flow-compact", factor, name)) for factor in FACTORS]
        claims += [claim("factors", less, more) for less, more in pairwise(means)]
    return claims


def heat_table(heats: dict[str, float]) -> str:
    """Mean per heat and downscaler, and bilinear minus bicubic."""
    names = [*(name for group in ORDER for name in group), *BESIDE]
    rows = []
    for upscaler, heat in heats.items():
        means = {name: image_means("order", upscaler, 4, name) for name in names}
        turn = claim("", ("bicubic", means["bicubic"]), ("bilinear", means["bilinear"]))
        rows.append([str(heat), *(number(means[name].mean(), 4) for name in names), turn.interval])
    return "\n".join(markdown_table(["heat", *names, "bilinear - bicubic"], rows)) + "\n"


def claims_table(claims: list[Claim]) -> str:
    """One row per claim."""
    rows = [
        [c.group, c.less, c.more, c.interval, "holds" if c.holds else "**reversed**" if c.high < 0 else "**not shown**"]
        for c in claims
    ]
    return "\n".join(markdown_table([None, "loses less", "loses more", "difference of LPIPS", None], rows)) + "\n"


def main() -> None:
    entries = yaml.safe_load((HERE / "order" / "params.yaml").read_text(encoding="utf-8"))["upscalers"]
    heats = {name: float(entry["heat"]) for name, entry in entries.items()}
    if PRESET not in heats or DETERMINISTIC not in heats:
        raise UserError(f"order/params.yaml: upscalers need {PRESET} and {DETERMINISTIC}")
    groups = {
        "order": order_claims(PRESET),
        "factors": factor_claims(),
        "deterministic": order_claims(DETERMINISTIC),
    }
    figures = {
        name: {f"{c.less} < {c.more}": {"difference": c.difference, "low": c.low, "high": c.high} for c in claims}
        for name, claims in groups.items()
    }
    counts = {f"{name}_hold": f"{sum(c.holds for c in claims)} of {len(claims)}" for name, claims in groups.items()}
    write_json(HERE / "metrics" / "validity.json", counts | sample_counts() | figures)
    write_text(
        HERE / "metrics" / "tables" / "claims.md", claims_table([c for claims in groups.values() for c in claims])
    )
    write_text(HERE / "metrics" / "tables" / "heat.md", heat_table(heats))
    print(claims_table([c for claims in groups.values() for c in claims]))


if __name__ == "__main__":
    exit_with_line(main)

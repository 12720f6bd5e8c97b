"""Does the instrument measure? Judge the claims on the runs in ``order`` and ``factors``.

Every claim is a paired difference: per photograph, the mean of one condition minus that of the other (they share their
latents), and the test that flips the signs of these. Claims of one kind by one upscaler are a family, corrected by
Holm's method; that *all* of a family hold is a conjunction, which needs no correction (intersection-union). A claim is
reversed if the difference is significant the other way. Writes ``metrics/validity.json`` and
``metrics/tables/{claims,heat}.md`` beside this file, and what made each run, and its images' scores, in
``metrics/tables/<run>``.

The preset heat is that of the weights, which was set without looking at any order (`ida_rd.upscale.flow.preset_heat`).
An upscaler of ``order`` that is no flow is a decoder of another family, and is asked the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from ida_rd.aggregate.comparisons import holm, rank_agreement
from ida_rd.aggregate.results import first_draw_failures, photographs_in
from ida_rd.aggregate.statistics import Difference, Photographs, paired_difference, summarise
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table
from ida_rd.core.typeset import counted, interval, markdown_table, number, p_value, share
from ida_rd.study.record import write_record
from ida_rd.upscale import flow

HERE = Path(__file__).resolve().parent
CONFIDENCE, RESAMPLES, SEED = 0.95, 10000, 0
DISTORTION = "lpips-alex"
# Every downscaler in a later group loses more than all in an earlier one.
ORDER = [["bilinear", "bicubic"], ["lanczos"], ["dpid", "l0", "perceptual"], ["nearest"]]
BESIDE = ["box"]  # in the table of heats; the paper says nothing about it
FACTORS = [4, 8, 16]


@dataclass(frozen=True)
class Claim:
    """``more`` loses more than ``less``; `p_holm` is corrected for the claims of its family."""

    less: str
    more: str
    found: Difference
    p_holm: float

    @property
    def verdict(self) -> str:
        if self.p_holm >= 1 - CONFIDENCE:
            return "not shown"
        return "holds" if self.found.mean > 0 else "reversed"


def photographs_of(run: str) -> Photographs:
    """Which photograph each image of a run is of."""
    return photographs_in(read_table(HERE / run / "data/subset.csv", hint=_hint(run)))


def image_means(run: str, upscaler: str, factor: int, downscaler: str) -> pd.Series:
    """Mean distortion per image of a branch."""
    path = HERE / run / "data" / "distortion" / upscaler / f"x{factor}" / f"{downscaler}.csv"
    return summarise(read_table(path, hint=_hint(run)), DISTORTION, confidence=CONFIDENCE)[1]


def _hint(run: str) -> str:
    return f"run `dvc repro` in experiments/validity/{run}"


def sample_counts() -> dict[str, float]:
    """How many samples all runs hold, how many of them were lost, and the largest clipped share of a branch."""
    tables = [read_table(path, hint="") for path in sorted(HERE.glob("*/data/distortion/*/*/*.csv"))]
    samples = sum(len(rows) for rows in tables)
    return {
        "samples": samples,
        "not_finite": sum(int((~rows.finite).sum()) for rows in tables),
        "first_draw_failures": sum(int(first_draw_failures(rows).sum()) for rows in tables) / samples,
        "least_clipped_share": min(float(rows.clipped.mean()) for rows in tables),
        "largest_clipped_share": max(float(rows.clipped.mean()) for rows in tables),
    }


def judge(pairs: list[tuple[str, pd.Series, str, pd.Series]], photographs: Photographs) -> list[Claim]:
    """Judge one family of claims; each pair is what loses less, and what more, with its image means."""
    settings: dict[str, Any] = {"confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED}
    found = [paired_difference(low, high, photographs, **settings) for _, low, _, high in pairs]
    p = holm([difference.p for difference in found])
    return [
        Claim(less, more, difference, value)
        for (less, _, more, _), difference, value in zip(pairs, found, p, strict=True)
    ]


def order_claims(means: dict[str, pd.Series], photographs: Photographs) -> list[Claim]:
    """Every downscaler of a group against every one of the next."""
    pairs = [
        (less, means[less], more, means[more])
        for earlier, later in pairwise(ORDER)
        for less in earlier
        for more in later
    ]
    return judge(pairs, photographs)


def factor_claims() -> list[Claim]:
    """Every factor against the one before, for each downscaler of that run."""
    pairs = []
    for name in ("bicubic", "lanczos"):
        means = [(f"x{factor} {name}", image_means("factors", "flow-compact", factor, name)) for factor in FACTORS]
        pairs += [(*less, *more) for less, more in pairwise(means)]
    return judge(pairs, photographs_of("factors"))


def tally(claims: list[Claim]) -> dict[str, Any]:
    """Count the verdicts; `all_hold` is judged without correction."""
    verdicts = [claim.verdict for claim in claims]
    counts: dict[str, Any] = {name: verdicts.count(name) for name in ("holds", "reversed", "not shown")}
    return counts | {"all_hold": all(c.found.mean > 0 and c.found.differs(1 - CONFIDENCE) for c in claims)}


def claims_table(groups: dict[str, list[Claim]]) -> list[str]:
    """One row per claim."""
    rows = [
        [
            group,
            claim.less,
            claim.more,
            interval(claim.found.mean, claim.found.low, claim.found.high, signed=True),
            "-" if claim.found.effect is None else number(claim.found.effect, 2, signed=True),
            share(claim.found.share),
            p_value(claim.p_holm),
            claim.verdict if claim.verdict == "holds" else f"**{claim.verdict}**",
        ]
        for group, claims in groups.items()
        for claim in claims
    ]
    head = [
        None,
        "loses less",
        "loses more",
        "difference of LPIPS",
        "effect",
        "photographs that agree",
        "p (Holm)",
        None,
    ]
    return markdown_table(head, rows)


def order_of(scores: pd.Series) -> str:
    """Names from least to most lost."""
    return " < ".join(scores.sort_values(kind="stable").index)


def claims_text(preset: float, order: list[Claim], deterministic: list[Claim], scores: pd.Series, families: str) -> str:
    """What came out at the preset heat, at heat 0, and by other families."""
    paper = " < ".join("{" + ", ".join(group) + "}" if len(group) > 1 else group[0] for group in ORDER)
    found, zero = tally(order), tally(deterministic)
    return (
        f"The paper's order is {paper}: {len(order)} claims about x4. At the preset heat, {preset:g}, which was set"
        f" without looking at any order, {_counts(found)}{_odd(order)}. The order as a whole"
        f" {'holds' if found['all_hold'] else 'does not hold'} there (each claim by itself at {1 - CONFIDENCE:.2g}:"
        f" intersection-union). From least to most lost: {order_of(scores)}. At heat 0, where the same network is"
        f" deterministic, {_counts(zero)}. [The other heats](heat.md).\n\n"
        f"{families}Factors use other networks: one of x4, one of x8, and for x16 that of x4 twice, one after the"
        " other. So these rows are of three decoders; they do not test one decoder at several factors.\n\n"
        f"N = {counted(order[0].found.photographs, order[0].found.images)}. Differences have intervals by Student's t"
        " for the claim by itself; effect: mean in standard deviations of the photographs' differences; p: their signs"
        " flipped, with Holm's correction over the claims of one kind and upscaler.\n"
    )


def _counts(found: dict[str, Any]) -> str:
    return f"{found['holds']} hold, {found['reversed']} are reversed, and {found['not shown']} are not shown"


def _odd(claims: list[Claim]) -> str:
    """The claims that do not hold, with their differences; empty if all do."""
    odd = [
        f"{c.less} < {c.more} is {c.verdict} ({interval(c.found.mean, c.found.low, c.found.high, signed=True)})"
        for c in claims
        if c.verdict != "holds"
    ]
    return f": {'; '.join(odd)}" if odd else ""


def family_text(claims: dict[str, list[Claim]], scores: pd.DataFrame) -> str:
    """What decoders of other families say of the same claims."""
    return "".join(
        f"By `{name}`, a decoder of another family, {_counts(tally(judged))}{_odd(judged)}. The order as a whole"
        f" {'holds' if tally(judged)['all_hold'] else 'does not hold'}. From least to most lost:"
        f" {order_of(scores.loc[name])}.\n\n"
        for name, judged in claims.items()
    )


def heat_table(means: dict[float, dict[str, pd.Series]], photographs: Photographs, preset: float) -> list[str]:
    """Mean per heat and downscaler, bilinear minus bicubic, the claims, and agreement of the order with others."""
    table = scores_of(means, photographs)
    rows = []
    for heat, of in means.items():
        turn = judge([("bicubic", of["bicubic"], "bilinear", of["bilinear"])], photographs)[0].found
        found = tally(order_claims(of, photographs))
        rows.append(
            [
                f"{heat:g}{' (preset)' if heat == preset else ''}",
                *(number(value, 3) for value in table.loc[heat]),
                interval(turn.mean, turn.low, turn.high, signed=True),
                f"{found['holds']} / {found['reversed']} / {found['not shown']}",
                _rho(table, heat, preset),
                _rho(table, heat, 0.0),
            ]
        )
    head = ["heat", *table.columns, "bilinear - bicubic", "claims: hold / reversed / not shown"]
    return markdown_table([*head, "rho with the preset's order", "rho with heat 0's"], rows)


def _rho(table: pd.DataFrame, heat: float, other: float) -> str:
    agreement = rank_agreement(table.loc[heat], table.loc[other])
    return "-" if agreement is None else number(agreement["spearman"], 2, signed=True)


def scores_of(means: Mapping[Any, dict[str, pd.Series]], photographs: Photographs) -> pd.DataFrame:
    """Scores: one row per heat or upscaler, one column per downscaler."""
    names = [*(name for group in ORDER for name in group), *BESIDE]
    rows = {}
    for key, of in means.items():
        frames = {name: of[name].groupby(of[name].index.map(photographs)).mean().mean() for name in names}
        rows[key] = pd.Series(frames)
    return pd.DataFrame(rows).T


def heat_text(table: pd.DataFrame, whole: list[float], preset: float) -> str:
    """What the heats say: where the paper's order holds, where LPIPS is lowest, and the order at each one's best."""
    orders = "\n".join(
        f"* {heat:g}{' (preset)' if heat == preset else ''}: {order_of(table.loc[heat])}" for heat in table.index
    )
    best = {name: float(table[name].idxmin()) for name in table}
    lowest = "; ".join(
        f"{heat:g} for {', '.join(name for name in best if best[name] == heat)}" for heat in sorted({*best.values()})
    )
    where = ", ".join(f"{heat:g}" for heat in whole) or "none of them"
    return (
        "From least to most lost, heat by heat:\n\n"
        f"{orders}\n\n"
        f"The paper's order as a whole holds at {where}. LPIPS is lowest at heat {lowest}. With each downscaler at its"
        f" own lowest heat, chosen on these same images: {order_of(table.min())}. LPIPS rewards less spread than a true"
        " posterior has, so the heat at which it is lowest is no reason to decode there. The preset is set on other"
        " images by a proper score, without looking at any order (`experiments/train-flow-compact/`).\n"
    )


def main() -> None:
    entries = read_yaml(HERE / "order" / "params.yaml", hint="restore it with git checkout")["upscalers"]
    heats = {float(entry["heat"]): name for name, entry in entries.items() if entry["method"] == "flow"}
    others = [name for name, entry in entries.items() if entry["method"] != "flow"]
    preset = flow.preset_heat(flow.Parameters(), 4)
    for heat in (preset, 0.0):
        if heat not in heats:
            raise UserError(
                f"order/params.yaml: no upscaler has heat {heat:g}: add heat-...: {{method: flow, heat: {heat:g}}}"
            )
    names = [*(name for group in ORDER for name in group), *BESIDE]
    factors = factor_claims()
    photographs = photographs_of("order")
    means = {
        heat: {name: image_means("order", upscaler, 4, name) for name in names}
        for heat, upscaler in sorted(heats.items())
    }
    claims = {heat: order_claims(of, photographs) for heat, of in means.items()}
    table = scores_of(means, photographs)
    of_others = {upscaler: {name: image_means("order", upscaler, 4, name) for name in names} for upscaler in others}
    by_others = {upscaler: order_claims(of, photographs) for upscaler, of in of_others.items()}
    groups = {
        f"order, heat {preset:g} (preset)": claims[preset],
        **{f"order, {upscaler}": judged for upscaler, judged in by_others.items()},
        "factors": factors,
        "order, heat 0": claims[0.0],
    }
    whole = [heat for heat, judged in claims.items() if tally(judged)["all_hold"]]
    families = family_text(by_others, scores_of(of_others, photographs))
    text = claims_text(preset, claims[preset], claims[0.0], table.loc[preset], families)
    figures = {
        "preset_heat": preset,
        "order": tally(claims[preset]),
        "deterministic": tally(claims[0.0]),
        "factors": tally(factors),
        "heats": {
            f"{heat:g}": {
                "score": dict(table.loc[heat]),
                "claims": tally(judged),
                "rho_with_preset": rank_agreement(table.loc[heat], table.loc[preset]),
                "rho_with_heat_0": rank_agreement(table.loc[heat], table.loc[0.0]),
            }
            for heat, judged in claims.items()
        },
        "other_families": {
            upscaler: {"score": dict(scores_of(of_others, photographs).loc[upscaler]), "claims": tally(judged)}
            for upscaler, judged in by_others.items()
        },
        "lowest_at_heat": {name: float(table[name].idxmin()) for name in table},
        "claims": {
            group: {
                f"{c.less} < {c.more}": {**asdict(c.found), "p_holm": c.p_holm, "verdict": c.verdict} for c in judged
            }
            for group, judged in groups.items()
        },
    }
    with atomic_folder(HERE / "metrics" / "tables") as folder:
        for run in ("order", "factors"):
            project = Project(HERE / run)
            write_record(read_json(project.plan / "aggregate.json", hint=_hint(run)), folder / run, project=project)
        write_text(folder / "claims.md", "\n".join([text, *claims_table(groups)]) + "\n")
        below = heat_text(table, whole, preset)
        write_text(folder / "heat.md", "\n".join([*heat_table(means, photographs, preset), "", below]))
    write_json(HERE / "metrics" / "validity.json", figures | sample_counts())
    print(text)
    print("\n".join(claims_table(groups)))


if __name__ == "__main__":
    exit_with_line(main)

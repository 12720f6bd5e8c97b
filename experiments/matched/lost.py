"""Lost, or only unreadable? An order of downscalers, the paper's, by S and by S*, heat by heat.

S is the score by the blind decoder, S* that by the same decoder adapted to each downscaler; bicubic adapted to bicubic
is the control (`ida_rd.aggregate.matched`). Every claim, that one downscaler loses less than another, is judged twice:
by S, signs flipped by photograph, and by S*, where several trainings put their spread into the test; Holm's correction
over the claims of a heat. Writes the tables, a figure and the text into ``results/<data>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from ida_rd.aggregate.comparisons import holm, rank_agreement
from ida_rd.aggregate.matched import Mean, adapted_difference
from ida_rd.aggregate.matched_text import budget_text, matched_markdown
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted, interval, markdown_table, p_value
from ida_rd.report.figures import save
from ida_rd.report.matched import matched_figure
from ida_rd.study.record import write_record

TABLES = ("matched", "images")


class Comparison(Parameters):
    """``matched.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    preset: str
    order_of: str = "the paper"
    order: list[list[str]] = Field(min_length=2)


@dataclass(frozen=True)
class Claim:
    """``more`` loses more than ``less``: by the blind decoder, and by the adapted ones."""

    less: str
    more: str
    blind: Mean
    p_blind: float
    lost: Mean
    p_lost: float


def verdict(mean: Mean, p: float, level: float) -> str:
    """What a claim came to; `p` is corrected."""
    if p >= level:
        return "not shown"
    return "holds" if mean.value > 0 else "reversed"


def claims_of(
    order: list[list[str]],
    images: pd.DataFrame,
    photographs: Photographs,
    family: dict[str, Any],
    recipe: dict[str, Any],
) -> list[Claim]:
    """Judge every downscaler of a group against every one of the next, by S and by S*."""
    lead = recipe["distortion_order"][0]
    better = recipe["distortions"][lead]["better"]
    settings: dict[str, Any] = {key: recipe[key] for key in ("resamples", "seed")}
    sign = 1.0 if better == "lower" else -1.0
    mine = images[(images.upscaler == family["blind"]) & (images.factor == family["factor"])]
    wide = sign * mine.pivot_table(lead, "image_id", "downscaler")
    pairs = [(a, b) for earlier, later in pairwise(order) for a in earlier for b in later]
    if unknown := sorted({name for pair in pairs for name in pair} - set(wide)):
        raise UserError(f"matched.yaml: order: {unknown[0]} is no downscaler of params.yaml: correct it")
    found = []
    for less, more in pairs:
        blind = paired_difference(wide[less], wide[more], photographs, confidence=recipe["confidence"], **settings)
        lost, p = adapted_difference(images, photographs, family, lead, less, more, better=better, **settings)
        error = (blind.high - blind.mean) if blind.high is not None else np.nan
        found.append((less, more, Mean(blind.mean, error, np.nan), blind.p, lost, p))
    by_s, by_star = holm([one[3] for one in found]), holm([one[5] for one in found])
    return [Claim(*one[:3], p, one[4], q) for one, p, q in zip(found, by_s, by_star, strict=True)]


def claims_markdown(claims: list[Claim], recipe: dict[str, Any]) -> list[str]:
    """The claims of a heat as a table."""
    confidence = recipe["confidence"]
    level = 1 - confidence
    rows = []
    for one in claims:
        low, high = one.lost.ends(confidence)
        half = one.blind.error
        rows.append(
            [
                f"{one.less} < {one.more}",
                interval(one.blind.value, one.blind.value - half, one.blind.value + half),
                p_value(one.p_blind),
                verdict(one.blind, one.p_blind, level),
                interval(one.lost.value, low, high),
                p_value(one.p_lost),
                verdict(one.lost, one.p_lost, level),
            ]
        )
    head = ["claim", "by S: difference", "p (Holm)", "", "by S*: difference", "p (Holm)", ""]
    return markdown_table(head, rows)


def tally(claims: list[Claim], level: float) -> dict[str, Any]:
    """How many claims hold, by S and by S*, and which are reversed."""
    found: dict[str, Any] = {"claims": len(claims)}
    for key, values in (
        ("s", [verdict(one.blind, one.p_blind, level) for one in claims]),
        ("s_star", [verdict(one.lost, one.p_lost, level) for one in claims]),
    ):
        found[key] = {name: values.count(name) for name in ("holds", "reversed", "not shown")}
        found[key]["pairs"] = {
            name: [f"{c.less} < {c.more}" for c, v in zip(claims, values, strict=True) if v == name]
            for name in ("reversed", "not shown")
        }
    return found


def order_of(table: pd.DataFrame, key: str, better: str) -> list[str]:
    """Downscalers by S or S*, the one that loses least first."""
    return list(table.sort_values(key, ascending=better == "lower", kind="stable").downscaler)


def across_heats(tables: dict[str, pd.DataFrame], better: str) -> list[str]:
    """How alike the heats order the downscalers, by S and by S*."""
    lines = []
    for key, name in (("s", "S"), ("s_star", "S*")):
        series = {heat: table.set_index("downscaler")[key] for heat, table in tables.items()}
        rho = [
            f"{a} and {b} {found['spearman']:.2f}"
            for a, b in combinations(series, 2)
            if (found := rank_agreement(series[a], series[b])) is not None
        ]
        orders = {heat: " < ".join(order_of(table, key, better)) for heat, table in tables.items()}
        lines.append(f"* **By {name}**: rank correlation of {', '.join(rho)}.")
        lines += [f"    * {heat}: {order}" for heat, order in orders.items()]
    return lines


def summary(
    table: pd.DataFrame,
    surprise: pd.DataFrame | None,
    claims: list[Claim],
    family: dict[str, Any],
    recipe: dict[str, Any],
    order_of: str,
) -> list[str]:
    """The paragraph: what is left of the blind decoder's excess, which claims stand, whether bits had said it."""
    level = 1 - recipe["confidence"]
    rows = table.set_index("downscaler")
    clear = rows[rows.share.notna() & (rows.excess > 0)].sort_values("share")
    parts = [f"{name} {row.share:.0%} [{row.share_low:.0%}, {row.share_high:.0%}]" for name, row in clear.iterrows()]
    count = tally(claims, level)
    control = rows.control.iloc[0]
    lines = [
        f"Of what the blind decoder scores beyond {control}, so much is lost to a decoder that knows the downscaler,"
        f" the rest was only unreadable: {'; '.join(parts)}.",
    ]
    for key, name in (("s", "S"), ("s_star", "S*")):
        one = count[key]
        text = f"By {name}, {one['holds']} of the {count['claims']} claims of the order of {order_of} hold"
        text += f"; reversed: {', '.join(one['pairs']['reversed'])}" if one["reversed"] else ""
        text += f"; not shown: {', '.join(one['pairs']['not shown'])}" if one["not shown"] else ""
        lines.append(text + ".")
    if surprise is not None:
        mine = surprise[(surprise.upscaler == family["blind"]) & (surprise.factor == family["factor"])]
        agreed = rank_agreement(mine.set_index("downscaler").excess, rows.unreadable)
        if agreed is not None:
            lines.append(
                "The blind decoder's own surprise (bits beyond bicubic's, no training) ranks the downscalers as what"
                f" was unreadable does, at Spearman's rho {agreed['spearman']:.2f}."
            )
    return [" ".join(lines)]


def main() -> None:
    settings: Comparison = validate(
        Comparison,
        read_yaml(Path("matched.yaml"), hint="run this in the folder of the experiment"),
        where="matched.yaml",
    )
    project = Project()
    recipe = read_recipe(project, "aggregate")
    families = recipe.get("matched")
    if not families:
        raise UserError("params.yaml: no entry of `adapted` has a blind upscaler of its kind: give both")
    chosen = [family for family in families if family["blind"] == settings.preset]
    if not chosen:
        raise UserError(f"matched.yaml: preset: {settings.preset} is no blind upscaler that has adapted ones")
    hint = "run `dvc repro aggregate`"
    tables = {name: read_table(project.tables / f"{name}.csv", hint=hint) for name in TABLES}
    # What a decoder without a likelihood has none of.
    bits = project.tables / "surprise.csv"
    surprise = read_table(bits, hint=hint) if bits.is_file() else None
    photographs = photographs_in(read_table(project.subset, hint=hint))
    lead, confidence = recipe["distortion_order"][0], recipe["confidence"]
    descriptor = recipe["distortions"][lead]
    leading = tables["matched"][tables["matched"].distortion == lead]
    by_heat = {
        family["blind"]: leading[(leading.blind == family["blind"]) & (leading.adapted == ", ".join(family["adapted"]))]
        for family in families
    }
    judged = {f["blind"]: claims_of(settings.order, tables["images"], photographs, f, recipe) for f in families}
    first = chosen[0]
    rows = by_heat[settings.preset]
    count = int(rows.photographs.max())
    lines = [
        f"# Lost, or only unreadable? {settings.data}",
        "",
        f"{counted(count, tables['images'].image_id.nunique())}; {descriptor['label']}; {len(first['adapted'])}"
        f" training{'s' if len(first['adapted']) > 1 else ''} for each downscaler, {budget_text(first['budget'])}.",
        "",
        *summary(rows, surprise, judged[settings.preset], first, recipe, settings.order_of),
        "",
        "![What lies beyond bicubic, by the blind decoder and by adapted ones](matched.png)",
        "",
    ]
    for family in families:
        one = [family]
        lines += [f"## {family['blind']}", "", matched_markdown(leading, one, lead, descriptor, confidence).rstrip()]
        lines += [
            "",
            f"The order of {settings.order_of}, claim by claim:",
            "",
            *claims_markdown(judged[family["blind"]], recipe),
            "",
        ]
    if len(families) > 1:
        lines += ["## Does it hang on the heat?", "", *across_heats(by_heat, descriptor["better"]), ""]
    note = f"{counted(count, tables['images'].image_id.nunique())}; {confidence:.0%} intervals over photographs"
    figure = matched_figure(leading, descriptor["label"], note)
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(recipe, folder)
        write_text(folder / "matched.md", "\n".join(lines))
        write_table(folder / "matched.csv", tables["matched"])
        if surprise is not None:
            write_table(folder / "surprise.csv", surprise)
        level = 1 - confidence
        record = {blind: tally(found, level) for blind, found in judged.items()}
        write_json(folder / "claims.json", record)
        if figure is not None:
            save(figure, folder / "matched")
    print("\n".join(lines[:6]))


if __name__ == "__main__":
    exit_with_line(main)

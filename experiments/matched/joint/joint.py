"""Is one decoder, trained on all downscalers, as good on each as the one that is adapted to it?

S_joint is its score, S* that of the adapted ones (`ida_rd.aggregate.matched`). It may stand in their place if it is
within the margin of S* on every downscaler: two one-sided tests each, a conjunction, which needs no correction. Writes
table and text into ``results/<data>``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from ida_rd.aggregate.comparisons import holm, rank_agreement
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, by_photograph, equivalence_p, mean_interval, sign_flip_p
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_text
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted, interval, markdown_table, p_value
from ida_rd.study.record import write_record

HINT = "run `dvc repro aggregate`"


class Settings(Parameters):
    """``joint.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    joint: str
    margin: float = Field(gt=0)


def compared(
    images: pd.DataFrame, photographs: Photographs, family: dict[str, Any], settings: Settings, recipe: dict[str, Any]
) -> pd.DataFrame:
    """One row per downscaler: S, S_joint, S*, how far S_joint lies above S*, and the tests of that."""
    lead = recipe["distortion_order"][0]
    sign = 1.0 if recipe["distortions"][lead]["better"] == "lower" else -1.0
    mine = images[images.factor == family["factor"]]
    if settings.joint not in set(mine.upscaler):
        raise UserError(f"joint.yaml: joint: {settings.joint} is no upscaler of params.yaml: correct it")
    rows = []
    for name, group in mine.groupby("downscaler", sort=False):
        wide = group.pivot_table(lead, "image_id", "upscaler")
        star = wide[family["adapted"]].mean(axis=1)
        values = by_photograph(sign * (wide[settings.joint] - star), photographs).to_numpy(np.float64)
        low, high = mean_interval(values, recipe["confidence"])
        s = {key: float(by_photograph(column, photographs).mean()) for key, column in
             (("s", wide[family["blind"]]), ("s_joint", wide[settings.joint]), ("s_star", star))}  # fmt: skip
        row = {"downscaler": name, **s, "above": float(values.mean()), "low": low, "high": high}
        row["p"] = sign_flip_p(values, recipe["resamples"], recipe["seed"])
        rows.append(row | {"p_alike": equivalence_p(values, settings.margin), "photographs": len(values)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(list(table.p))).sort_values("s_star", ascending=sign > 0, kind="stable")


def text_of(table: pd.DataFrame, settings: Settings, recipe: dict[str, Any]) -> list[str]:
    """What it shows."""
    level = 1 - recipe["confidence"]
    alike = table[table.p_alike < level].downscaler
    above = table[(table.p_holm < level) & (table.above > 0)].downscaler
    everywhere = (
        "**It may stand in their place.**" if len(alike) == len(table) else "**It may not stand in their place.**"
    )
    agreed = [
        rank_agreement(table.set_index("downscaler")[key], table.set_index("downscaler").s_star)
        for key in ("s", "s_joint")
    ]
    said = (
        f"The joint decoder is within {settings.margin:g} of S* on {len(alike)} of {len(table)} downscalers"
        f"{' (' + ', '.join(alike) + ')' if len(alike) else ''}, and scores significantly above S* on"
        f" {', '.join(above) if len(above) else 'none'}. {everywhere}"
    )
    if all(agreed):
        rho = [one["spearman"] for one in agreed if one is not None]
        said += (
            f" Spearman's rho with the order by S*: {rho[0]:.2f} by the blind decoder, {rho[1]:.2f} by the joint one."
        )
    rows = [
        [
            row["downscaler"],
            *(f"{row[key]:.3f}" for key in ("s", "s_joint", "s_star")),
            interval(row["above"], row["low"], row["high"]),
            p_value(row["p_holm"]),
            "yes" if row["p_alike"] < level else "no",
        ]
        for row in table.to_dict("records")
    ]
    head = ["downscaler", "S", "S, joint", "S*", "joint above S*", "p (Holm)", f"within {settings.margin:g}"]
    return [said, "", *markdown_table(head, rows)]


def main() -> None:
    settings: Settings = validate(
        Settings, read_yaml(Path("joint.yaml"), hint="run this in the folder of the experiment"), where="joint.yaml"
    )
    project = Project()
    recipe = read_recipe(project, "aggregate")
    families = [one for one in recipe.get("matched", []) if one["blind"] != settings.joint]
    if not families:
        raise UserError("params.yaml: no entry of `adapted` has a blind upscaler of its kind: give both")
    images = read_table(project.tables / "images.csv", hint=HINT)
    photographs = photographs_in(read_table(project.subset, hint=HINT))
    table = compared(images, photographs, families[0], settings, recipe)
    count = int(table.photographs.max())
    trainings = len(families[0]["adapted"])
    label = recipe["distortions"][recipe["distortion_order"][0]]["label"]
    lines = [
        f"# One decoder for all downscalers: {settings.data}",
        "",
        f"{counted(count, count)}; {label}; one joint training, S* of {trainings} for each downscaler.",
        "",
        *text_of(table, settings, recipe),
    ]
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(recipe, folder)
        write_text(folder / "joint.md", "\n".join(lines) + "\n")
        write_table(folder / "joint.csv", table)


if __name__ == "__main__":
    exit_with_line(main)

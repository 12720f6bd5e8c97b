"""Which score satisfies what: every secondary measure of every upscaler and distortion, as a table and a figure.

The measures are in ``measured.py``, what they must reach in ``meta.yaml``, what is said of them in ``satisfied.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measured import (
    Measured,
    Setting,
    beats_empty,
    change,
    rank_agreement,
    rises,
    switched,
    switched_auc,
    undefined,
)
from satisfied import OWN, best_of, draw, latex, text, verdict
from variants import (
    Meta,
    branches_of,
    criteria_of,
    losses_before,
    read_settings,
)

from ida_rd.aggregate.comparisons import wide_by_photograph
from ida_rd.aggregate.results import photographs_in
from ida_rd.core.errors import exit_with_line, printable_lines
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted
from ida_rd.report.figures import save
from ida_rd.study.record import write_record

Found = Iterator[tuple[str, str, Measured | None]]  # measure, its criterion, its value
TASKS = ("sift", "features")


def complete(wide: pd.DataFrame, photographs: dict[str, str]) -> pd.DataFrame:
    """Means of photographs, (P, D), of those that have all."""
    return wide_by_photograph(wide.dropna(), photographs)


def of_rows(meta: Meta, losses: pd.DataFrame, photographs: dict[str, str], setting: Setting) -> Found:
    """What the scores of a run tell: emptiness, and ladders."""
    real, empty = list(meta.ranked), list(meta.empty)
    values = complete(losses[[*real, *empty]], photographs)
    if len(values):
        found = beats_empty(values[real].to_numpy(float), values[empty].to_numpy(float), (real, empty), setting)
        yield "empty", "empty", found
    for name, rungs in meta.ladders.items():
        values = complete(losses[rungs], photographs)
        yield f"{name} rises", "ladder", rises(values.to_numpy(float), setting) if len(values) else None


def of_switches(table: pd.DataFrame, distortion: str, photographs: dict[str, str], setting: Setting) -> Found:
    """Reconstructions beside their own image and others: rows of ``switched.csv`` of one upscaler."""
    wide = table.pivot(index="image_id", columns=["downscaler", "other"], values=distortion).sort_index()
    names = list(dict.fromkeys(wide.columns.get_level_values(0)))
    wide = wide.dropna(subset=[(name, 0) for name in names])  # all reconstructions are there
    count = len(set(wide.index.map(photographs)))
    # Images of other shapes cannot be compared: some have fewer others, or none.
    wide = wide.dropna(subset=[column for column in wide if column[1]], how="all")
    # A photograph counts once: its first image speaks for it, since whether one is nearer cannot be averaged.
    wide = wide[~wide.index.map(photographs).duplicated()]
    found: list[Measured | None] = [None, None]
    if len(wide):
        own = np.stack([wide[name][0].to_numpy(float) for name in names], axis=1)
        others = np.stack([wide[name].drop(columns=0).to_numpy(float) for name in names], axis=1)
        found = [switched(own, others, setting), switched_auc(own, others, setting)]
    said = f"{len(wide)} of {count} photographs have another of their size" if len(wide) < count else ""
    if not count:
        said = "no photograph has all its reconstructions"
    for name, value in zip(("switch", "switch AUC"), found, strict=True):
        value = undefined(said or "one photograph has no other") if value is None else replace(value, detail=said)
        yield name, name.lower().replace(" ", "-"), value


def of_variants(
    table: pd.DataFrame, distortion: str, losses: pd.DataFrame, photographs: dict[str, str], setting: Setting
) -> Found:
    """The same photographs again: rows of ``variants.csv`` of one upscaler."""
    for variant, rows in table.groupby("variant", sort=False):
        after = rows.pivot(index="image_id", columns="downscaler", values=distortion).dropna()
        names = [name for name in losses if name in after]
        both = after.index.intersection(losses[names].dropna().index)
        if not len(both):
            continue
        before, now = (complete(wide.loc[both, names], photographs).to_numpy(float) for wide in (losses, after))
        yield f"{variant}: tau", "tau", rank_agreement(before, now, setting)
        if not str(variant).startswith("side-"):  # another size has another level: ranks alone can be compared
            yield f"{variant}: change", "change", change(before, now, setting)


def of_tasks(table: pd.DataFrame, losses: pd.DataFrame, photographs: dict[str, str], setting: Setting) -> Found:
    """Does the task rank downscalers as the score does? Rows of ``tasks.csv`` of one upscaler."""
    for task in (name for name in TASKS if name in table):
        wide = table.pivot(index="image_id", columns="downscaler", values=task).astype(float).dropna()
        names = [name for name in losses if name in wide]
        both = wide.index.intersection(losses[names].dropna().index)
        if len(both):
            score, own = (complete(some.loc[both, names], photographs).to_numpy(float) for some in (losses, wide))
            yield f"task: {task}", "task", rank_agreement(score, own, setting)


def same_features(plan: dict[str, Any], distortion: str) -> bool:
    """Whether a distortion is made of the very features that the task ``features`` looks at."""
    recipe = plan.get("recipes", {}).get("distort", {}).get("distortions", {}).get(distortion, {})
    return recipe.get("method") == "lpips" and recipe.get("parameters", {}).get("backbone", "alex") == "alex"


def compute(meta: Meta, plan: dict[str, Any], photographs: dict[str, str]) -> pd.DataFrame:
    """One row per upscaler, factor, distortion and measure."""
    setting = Setting(plan["confidence"], plan["resamples"], plan["seed"])
    variants, switches, tasks = (
        read_table(f"data/{name}.csv", hint="run `dvc repro`") for name in ("variants", "switched", "tasks")
    )
    criteria = criteria_of(meta)
    rungs = [name for rungs in meta.ladders.values() for name in rungs]
    names = list(dict.fromkeys([*meta.ranked, *meta.empty, *meta.variants.downscalers, *rungs]))
    rows = []
    for upscaler, factor in branches_of(plan):
        mine = partial(_of_branch, upscaler=upscaler, factor=factor)
        for distortion, losses in losses_before(plan, upscaler, factor, names).items():
            found = [
                *of_switches(mine(switches), distortion, photographs, setting),
                *of_rows(meta, losses, photographs, setting),
                *of_variants(mine(variants), distortion, losses, photographs, setting),
                *of_tasks(mine(tasks), losses, photographs, setting),
            ]
            for measure, criterion, value in found:
                if value is None:
                    continue
                own = measure == "task: features" and same_features(plan, distortion)
                said = OWN if own else verdict(value, **criteria[criterion])
                place = {"upscaler": upscaler, "factor": factor, "distortion": distortion}
                rows.append({**place, "measure": measure, "criterion": criterion, **asdict(value), "verdict": said})
    return pd.DataFrame(rows)


def _of_branch(table: pd.DataFrame, upscaler: str, factor: int) -> pd.DataFrame:
    return table[(table.upscaler == upscaler) & (table.factor == factor)]


def main() -> None:
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    meta = read_settings(plan)
    photographs = photographs_in(read_table("data/subset.csv", hint="run `dvc repro balance`"))
    missing = read_json("data/left_out.json", hint="run `dvc repro outside`")
    table = compute(meta, plan, photographs)
    count = counted(len(set(photographs.values())), len(photographs))
    label = f"{meta.data}: {count}"
    with atomic_folder(Path("results") / meta.data) as folder:
        write_record(plan, folder)
        page = text(table, criteria_of(meta), label, missing, plan)
        write_text(folder / "meta-measures.md", page)
        write_text(folder / "meta-measures.tex", latex(table, label))
        write_table(folder / "meta-measures.csv", table)
        write_json(folder / "meta-measures.json", best_of(table))
        save(draw(table, label), folder / "meta-measures")
    print(printable_lines(page))


if __name__ == "__main__":
    exit_with_line(main)

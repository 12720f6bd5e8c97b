"""Scores that need no HR image, beside the score: when can they stand in for it?

With f the process that is scored, SR one sample of the upscaler, D the leading distortion, X' = SR(f(X)):

* ``pairwise``: D(X'_1, X'_2), how far apart two samples of one LR image lie. For samples of the true posterior
  its expectation is the score itself.
* ``cycle``: D(X', SR(f(X'))), a reconstruction is taken as an original and sent through again.
* ``consistency``: MSE(f(X'), f(X)): does a reconstruction, when reduced, give the LR image back?
* ``surrogate``: D(X*, SR(f(X*))), where X* is a reconstruction from the LR image of one trusted downscaler, the
  same for every f: the score, on images that the model invented.

Each is compared with the score: Spearman's rho over the downscalers, over all processes, and along each ladder of
degradations (1: its mean rises as the degradation does). It is said to rise along a ladder if every rung lies
significantly above the one before: sign flips of the photographs' paired differences, the largest p of the rungs
(intersection-union), Holm's correction over all ladders and alternatives.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, by_photograph, mean_interval, paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.images import read_image
from ida_rd.core.methods import Parameters, open_method, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import identity, read_recipe
from ida_rd.core.tables import read_table, spread_column, write_table
from ida_rd.core.typeset import counted, markdown_table, number
from ida_rd.distort.work import load_distortions
from ida_rd.downscale.work import reduce_image
from ida_rd.engine.script import store_of
from ida_rd.engine.store import Record
from ida_rd.engine.units import Unit, Work, run
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record
from ida_rd.upscale.work import load_upscaler, sample_image

ALTERNATIVES = ("pairwise", "cycle", "consistency", "surrogate")
COMPUTED = ("cycle", "consistency", "surrogate")


class Comparison(Parameters):
    """``alternatives.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    reference: str
    ranked: list[str] = Field(min_length=3)
    ladders: dict[str, list[str]]


class _Unit(NamedTuple):
    downscaler: str
    image_id: str
    sr: Path
    lr: Path
    surrogate: Path


def _measure(
    upscaler: Any, distortion: Any, seed: int, factor: int, unit: _Unit, parts: list[str]
) -> dict[str, Record]:
    """The computed alternatives of one image and process."""
    recipe = read_recipe(Project(), "downscale", f"x{factor}", unit.downscaler)
    method = open_method(recipe)

    def there_and_back(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
        """Reduce an image; return that, and the distance of its reconstruction to the image."""
        lr, _ = reduce_image(method, recipe, unit.image_id, image)
        samples, _ = sample_image(upscaler, lr, unit.image_id, [0], seed)
        hr = np.ascontiguousarray(image.transpose(2, 0, 1))
        return lr, float(distortion.distance(distortion.reference(hr), samples.sr)[0])

    again, cycle = there_and_back(read_image(unit.sr))
    consistency = float(np.square((again.astype(float) - read_image(unit.lr)) / 255).mean())
    surrogate = there_and_back(read_image(unit.surrogate))[1]
    return {"values": Record({"cycle": cycle, "consistency": consistency, "surrogate": surrogate})}


def _open(settings: tuple[str, str, int, str], device: str) -> partial:
    """Load what is needed to measure: an upscaler, by the recipe of one of its branches, and the leading distortion."""
    upscaler, downscaler, factor, lead = settings
    recipe = read_recipe(Project(), "upscale", f"x{factor}", upscaler, downscaler)
    distortion = load_distortions(read_recipe(Project(), "distort"), device)[lead]
    return partial(_measure, load_upscaler(recipe, device), distortion, recipe["seed"], factor)


def compute(plan: dict[str, Any], compared: Comparison, upscaler: str, factor: int) -> pd.DataFrame:
    """All alternatives and the score: one row per process and image."""
    lead = plan["distortion_order"][0]
    names = [b["downscaler"] for b in plan["branches"] if (b["upscaler"], b["factor"]) == (upscaler, factor)]
    frames, units = [], []
    for name in names:
        rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
        rows = rows[rows.finite]
        spread = rows.groupby("image_id")[spread_column(lead)].mean() if spread_column(lead) in rows else np.nan
        frame = pd.DataFrame({"score": rows.groupby("image_id")[lead].mean(), "pairwise": spread})
        frames.append(frame.reset_index().assign(downscaler=name))
        folders = [Path("data/sr") / upscaler / f"x{factor}" / n for n in (name, compared.reference)]
        for image_id in sorted(rows[rows["sample"] == 0].image_id):
            files = [folder / image_id / "0.webp" for folder in folders]
            if all(file.is_file() for file in files):
                lr = Path("data/lr") / f"x{factor}" / name / f"{image_id}.png"
                units.append(_Unit(name, image_id, files[0], lr, files[1]))
    project = Project()
    recipes = {name: identity(read_recipe(project, "downscale", f"x{factor}", name)) for name in names}
    recipe = identity(read_recipe(project, "upscale", f"x{factor}", upscaler, names[0]))
    what = {
        "alternatives": sha256_file(__file__),
        "upscaler": recipe,
        "distortion": identity(read_recipe(project, "distort")["distortions"][lead]),
    }
    store = store_of(project)
    tasks = [
        Unit(u.image_id, {"values": store.key(what, recipes[u.downscaler], u.image_id, *map(sha256_file, u[2:]))}, u)
        for u in units
    ]
    work = Work(_open, f"without HR images, {upscaler} x{factor}", torch=True, packages=("numpy", "torch"))
    settings = (upscaler, names[0], factor, lead)
    found = {task.given: parts["values"].value for task, parts in run(work, settings, tasks, store)}
    computed = [{**u._asdict(), **found[u]} for u in units]
    table = pd.DataFrame(computed)[["downscaler", "image_id", *COMPUTED]]
    return pd.concat(frames).merge(table, on=["downscaler", "image_id"], validate="one_to_one")


def correlations(compared: Comparison, means: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rho of each alternative with the score, one row each; along ladders, with the rung."""
    rows = []
    for name in ALTERNATIVES:
        values = means[name]
        row: dict[str, Any] = {"alternative": name}
        few = means.loc[[d for d in compared.ranked if d in means.index]]
        row["downscalers"] = stats.spearmanr(few[name], few["score"]).statistic
        row["all processes"] = stats.spearmanr(values, means["score"]).statistic
        for ladder, rungs in compared.ladders.items():
            row[ladder] = stats.spearmanr(range(len(rungs)), values[rungs]).statistic
        rows.append(row)
    return pd.DataFrame(rows).set_index("alternative")


def rises(
    compared: Comparison, table: pd.DataFrame, photographs: Photographs, settings: dict[str, Any]
) -> dict[str, dict[str, dict[str, Any]]]:
    """By alternative and ladder: p that it does not rise at every rung, Holm's, and whether its means do."""
    keys = [(name, ladder) for name in ALTERNATIVES for ladder in compared.ladders]
    found = []
    for name, ladder in keys:
        wide = table.pivot(index="image_id", columns="downscaler", values=name)
        rungs = compared.ladders[ladder]
        steps = [paired_difference(wide[a], wide[b], photographs, **settings) for a, b in pairwise(rungs)]
        up = all(step.mean > 0 for step in steps)
        found.append({"means_rise": up, "p": max(step.p for step in steps) if up else 1.0})
    for one, p in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p_holm"] = p
    judged: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in ALTERNATIVES}
    for (name, ladder), one in zip(keys, found, strict=True):
        judged[name][ladder] = one
    return judged


def text(
    compared: Comparison,
    label: str,
    title: str,
    means: pd.DataFrame,
    rho: pd.DataFrame,
    judged: dict[str, dict[str, dict[str, Any]]],
    count: str,
    level: float,
) -> str:
    """The tables, and what they say."""
    lines = [f"# Scores without HR images: {title}", "", f"{count} of {compared.data}; D is {label}.", ""]
    for name in ALTERNATIVES:
        ladders = judged[name]
        good = [ladder for ladder, one in ladders.items() if one["p_holm"] < level]
        unsure = [ladder for ladder, one in ladders.items() if one["means_rise"] and ladder not in good]
        bad = [ladder for ladder, one in ladders.items() if not one["means_rise"]]
        lines.append(
            f"* **{name}**: rho {rho.loc[name, 'downscalers']:.2f} with the score over {len(compared.ranked)}"
            f" downscalers, {rho.loc[name, 'all processes']:.2f} over all {len(means)} processes. It rises at every"
            f" rung of {len(good)} of {len(ladders)} ladders{'; not shown for ' * bool(unsure)}{', '.join(unsure)}"
            f"{'; means do not rise in ' * bool(bad)}{', '.join(bad)}."
        )
    lines += [
        "",
        "A ladder is risen along if each rung lies above the one before (sign flips of photographs' paired differences,"
        f" largest p of the rungs, Holm over all ladders and alternatives, at {level:.2g}).",
        "",
        "Spearman's rho with the score, and of the means along each ladder with the rung:",
        "",
    ]
    rows = [[str(name), *(number(value, 2) for value in row)] for name, row in rho.iterrows()]
    lines += markdown_table([None, *rho.columns], rows)
    columns = ["score", *ALTERNATIVES]
    rows = [
        [str(name), *(number(row[column], 4 if column == "consistency" else 3) for column in columns)]
        for name, row in means.sort_values("score").iterrows()
    ]
    lines += ["", "Means over the photographs:", "", *markdown_table([None, *columns], rows)]
    return "\n".join(lines) + "\n"


def draw(compared: Comparison, label: str, title: str, means: pd.DataFrame) -> Figure:
    """Each alternative against the score: one point per downscaler, one line per ladder."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        for axis, name in zip(figure.subplots(1, len(ALTERNATIVES)), ALTERNATIVES, strict=True):
            few = means.loc[[d for d in compared.ranked if d in means.index]]
            axis.plot(few["score"], few[name], "o", color="0.15", markersize=4, label="downscalers", zorder=3)
            for i, (ladder, rungs) in enumerate(compared.ladders.items()):
                look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[(i + 1) % len(MARKERS)], "markersize": 4}
                axis.plot(means["score"][rungs], means[name][rungs], linewidth=1, label=ladder, **look)
            axis.set_title(name, fontsize=9)
            axis.set_xlabel(f"score: {label}", fontsize=8)
            axis.set_ylabel("MSE" if name == "consistency" else label, fontsize=8)
            axis.set_ylim(bottom=0)
            axis.grid(color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        handles = axis.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(handles[1]), frameon=False, fontsize=8)
        figure.suptitle(f"Scores without HR images, {title}", fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Comparison, read_yaml("alternatives.yaml", hint=here), where="alternatives.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    known = {branch["downscaler"] for branch in plan["branches"]}
    named = {compared.reference, *compared.ranked, *(c for rungs in compared.ladders.values() for c in rungs)}
    if odd := sorted(named - known):
        raise UserError(f"alternatives.yaml: params.yaml has no downscaler {', '.join(odd)}")
    label = plan["distortions"][plan["distortion_order"][0]]["label"]
    if not plan["distortions"][plan["distortion_order"][0]]["squared"]:
        raise UserError(f"distortions: the first, {label}, must be lpips or mse: pairwise needs a squared distance")
    settings = {key: plan[key] for key in ("confidence", "resamples", "seed")}
    photographs = photographs_in(read_table("data/subset.csv", hint="run `dvc repro balance`"))
    with atomic_folder(Path("results") / compared.data) as folder:
        write_record(plan, folder)
        figures: dict[str, dict[str, Any]] = {}
        pages, tables = [], []
        for upscaler, factor in sorted({(b["upscaler"], b["factor"]) for b in plan["branches"]}):
            table = compute(plan, compared, upscaler, factor)
            long = _long(table, photographs, upscaler, factor, plan["confidence"])
            means = long.pivot(index="downscaler", columns="measure", values="mean")[["score", *ALTERNATIVES]]
            rho, judged = correlations(compared, means), rises(compared, table, photographs, settings)
            images = set(table.image_id.map(str))
            count = counted(len({photographs[image_id] for image_id in images}), len(images))
            title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
            picture = f"![each alternative against the score]({file}.png)\n"
            pages.append(
                text(compared, label, title, means, rho, judged, count, 1 - plan["confidence"]) + "\n" + picture
            )
            save(draw(compared, label, f"{compared.data}, {title}", means), folder / file)
            figures.setdefault(upscaler, {})[f"x{factor}"] = {
                name: {**row, "ladders": judged[str(name)]} for name, row in rho.iterrows()
            }
            tables.append(long)
        write_text(folder / "alternatives.md", "\n".join(pages))
        write_json(folder / "alternatives.json", figures)
        write_table(folder / "table.csv", pd.concat(tables))
    print("\n".join(pages))


def _long(table: pd.DataFrame, photographs: Photographs, upscaler: str, factor: int, confidence: float) -> pd.DataFrame:
    """Mean and interval of every measure of every process, over photographs."""
    rows = []
    for name, group in table.groupby("downscaler", sort=True):
        for measure in ("score", *ALTERNATIVES):
            values = by_photograph(group.set_index("image_id")[measure], photographs).to_numpy(np.float64)
            low, high = mean_interval(values, confidence)
            found = {"mean": float(values.mean()), "ci_low": low, "ci_high": high}
            rows.append({"upscaler": upscaler, "factor": factor, "downscaler": name, "measure": measure, **found})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    exit_with_line(main)

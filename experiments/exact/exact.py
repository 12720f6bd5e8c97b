"""What the pipeline measures, beside what is known: scores, their split and coverage on images of a Gaussian world.

HR images are a stationary Gaussian field (`world.py`), LR images come from linear filters on a torus (`periodic.py`),
and the upscaler ``gaussian`` draws from the posterior of what it believes. So its score is known in closed form,
whether it believes what is true (``matched``: S*) or something else (S), and so is the difference: the gap. See
`ida_rd.models.gaussian_field` for the equations. Here the pipeline's own rows, HR and SR images are held against them.
All squares are in grey levels^2.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from scipy import stats
from world import World, read_settings

from ida_rd.aggregate.comparisons import holm
from ida_rd.aggregate.statistics import mean_interval
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import read_image
from ida_rd.core.methods import validate
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, spread_column, write_table
from ida_rd.core.typeset import interval, markdown_table, number, p_value, share
from ida_rd.models.gaussian_field import ROUNDING, WHITE, Expected, expected, wiener_bound
from ida_rd.models.gaussian_field import World as Belief
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record
from ida_rd.upscale import gaussian
from ida_rd.upscale.contract import Problem
from ida_rd.upscale.work import problem_of

LEVELS = (0.5, 0.9)  # of the intervals whose coverage is measured
COVERAGE = [f"coverage {level:.0%}" for level in LEVELS]
SPLIT = ["score", "variance", "squared error"]
GAPS = ["gap", "gap in variance", "gap in squared error"]
CONFIDENCE = 0.95
MATCHED = "matched"  # the upscaler that knows each downscaler
KNOWN = 1.0  # levels^2: a pixel with less variance is known to the level, and rounding it is no uniform noise


def known(world: World, branch: Branch, project: Project) -> tuple[Belief, Belief]:
    """How the LR images of a branch came about, and what its upscaler believes."""
    arguments = read_recipe(project, "downscale", f"x{branch.factor}", branch.downscaler)["parameters"].get("arguments")
    if not arguments or "filter" not in arguments:
        raise UserError(
            f"params.yaml: downscalers.{branch.downscaler}: nothing is known of it in closed form: use periodic.reduce"
        )
    field = {key: getattr(world, key) for key in ("sigma", "cutoff", "floor", "correlation", "mean")}
    noise = arguments.get("noise", 0.0)
    truth = validate(gaussian.Parameters, {**field, "filter": arguments["filter"], "noise": noise}, where="exact.yaml")
    recipe = read_recipe(project, "upscale", f"x{branch.factor}", branch.upscaler, branch.downscaler)
    if recipe["method"] != "gaussian":
        raise UserError(f"params.yaml: upscalers.{branch.upscaler}: nothing is known of it: use `method: gaussian`")
    belief = validate(gaussian.Parameters, recipe["parameters"], where=f"upscalers.{branch.upscaler}")
    return gaussian.world_of(truth, Problem(branch.factor)), gaussian.world_of(belief, problem_of(recipe))


def measured(branch: Branch, closed: Expected) -> pd.DataFrame:
    """What was measured, image by image: score and split from the pipeline's rows, coverage from its images.

    A pixel is covered if it lies in Student's prediction interval of its K samples.
    """
    rows = read_table(f"data/distortion/{branch.path}.csv", hint="run `dvc repro distort`")
    groups = rows[rows.finite].groupby("image_id", sort=True)
    table = pd.DataFrame({"score": groups["mse"].mean() * WHITE**2})
    table["variance"] = groups[spread_column("mse")].mean() / 2 * WHITE**2
    table["squared error"] = table["score"] - table["variance"]
    counted = closed.variance >= KNOWN
    for image_id in table.index:
        hr = read_image(Path(f"data/hr/{image_id}.png")).astype(np.float64)
        folder = Path("data/sr") / branch.path / str(image_id)
        sr = np.stack([read_image(folder / f"{k}.webp") for k in groups.get_group(image_id)["sample"]])
        tiles = [side // branch.factor for side in hr.shape[:2]]
        inside = np.tile(counted, tiles)
        half = np.sqrt(1 + 1 / len(sr)) * sr.std(axis=0, ddof=1)
        for level, name in zip(LEVELS, COVERAGE, strict=True):
            quantile = stats.t.ppf((1 + level) / 2, len(sr) - 1)
            covered = np.abs(hr - sr.mean(axis=0)) <= quantile * half
            table.loc[image_id, name] = covered[inside].mean()
    return table


def closed_form(found: Expected, samples: int) -> dict[str, float]:
    counted = found.variance >= KNOWN
    split = [found.mse, float(found.variance.mean()), float(found.squared_error.mean())]
    return dict(zip(SPLIT, split, strict=True)) | {
        name: found.coverage(level, samples, counted) for level, name in zip(LEVELS, COVERAGE, strict=True)
    }


def row(quantity: str, exact: float, values: pd.Series, **where: Any) -> dict[str, Any]:
    """A closed form beside the mean over images, with Student's interval and the p-value of their difference."""
    array = values.to_numpy(np.float64)
    low, high = mean_interval(array, CONFIDENCE)
    error = float(array.std(ddof=1)) / math.sqrt(len(array))
    difference = float(array.mean()) - exact
    z = difference / error if error > 0 else math.copysign(math.inf, difference) if abs(difference) > 1e-9 else 0.0
    p = float(2 * stats.t.sf(abs(z), len(array) - 1))
    measured = {"measured": float(array.mean()), "low": low, "high": high, "standard_errors": z, "p": p}
    return {**where, "quantity": quantity, "exact": exact, **measured}


def compare(world: World, plan: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """Every quantity of every branch, and the gaps between blind and matched upscalers; and K."""
    project, rows, tables, closed = Project(), [], {}, {}
    branches = sorted((Branch.of(record) for record in plan["branches"]), key=lambda branch: branch.upscaler != MATCHED)
    samples = 0
    for branch in branches:
        truth, belief = known(world, branch, project)
        found = expected(truth, belief, world.side, world.side)
        table = measured(branch, found)
        samples = int(
            read_recipe(project, "upscale", f"x{branch.factor}", branch.upscaler, branch.downscaler)["samples"]
        )
        tables[branch], closed[branch] = table, closed_form(found, samples)
        arguments = read_recipe(project, "downscale", f"x{branch.factor}", branch.downscaler)["parameters"]["arguments"]
        where = {**branch.record(), "filter": arguments["filter"], "noise": float(arguments.get("noise", 0.0))}
        del where["path"]
        where["wiener"] = float(
            np.mean(
                [
                    wiener_bound(truth.kernel, truth.factor, scale * spectrum + ROUNDING, truth.noise).variance
                    for spectrum in [truth.field.spectrum(world.side, world.side)]
                    for scale in truth.field.channels()
                ]
            )
        )
        rows += [row(name, exact, table[name], **where) for name, exact in closed[branch].items()]
        best = Branch(MATCHED, branch.factor, branch.downscaler)
        if branch != best and best in tables:
            for gap, part in zip(GAPS, SPLIT, strict=True):
                difference = tables[branch][part] - tables[best][part]
                rows.append(row(gap, closed[branch][part] - closed[best][part], difference, **where))
    found = pd.DataFrame(rows)
    found["inside"] = (found.low - 1e-9 <= found.exact) & (found.exact <= found.high + 1e-9)
    found["p_holm"] = holm(list(found.p))
    return found, samples


def check_images(world: World) -> tuple[int, float]:
    """How many HR images there are, and the share of clipped sub-pixels.

    Raises
    ------
    UserError
        One is not what `world.py` makes.
    """
    chosen = read_table("data/subset.csv", hint="run `dvc repro balance`")
    clipped = []
    for image_id, file in zip(chosen.image_id, chosen.file, strict=True):
        image, cut = world.image(int(Path(file).stem))
        if not np.array_equal(image, read_image(Path(f"data/hr/{image_id}.png"))):
            raise UserError(f"data/hr/{image_id}.png: is not of the world of exact.yaml: run `python world.py` first")
        clipped.append(cut)
    return len(clipped), float(np.mean(clipped))


def _cell(table: pd.DataFrame, quantity: str, scale: float = 1.0, places: int = 1, signed: bool = False) -> list[str]:
    """Closed form, and measured value with interval."""
    one = table[table.quantity == quantity].iloc[0]
    exact, *rest = (scale * one[key] for key in ("exact", "measured", "low", "high"))
    return [number(exact, places, signed=signed), interval(*rest, places=places, signed=signed)]


def text(title: str, found: pd.DataFrame, count: int, samples: int, world: World, clipped: float) -> str:
    """The tables, and what they say."""
    outside = found[~found.inside]
    worst = found.loc[found.p_holm.idxmin()]
    relative = ((found.high - found.low) / 2 / found.exact)[found.quantity.isin(SPLIT)]
    verdict = "none" if worst.p_holm >= 1 - CONFIDENCE else str(int((found.p_holm < 1 - CONFIDENCE).sum()))
    least = found.loc[found.quantity == "score", "exact"].min()
    lines = [
        f"# Measured beside exact: {title}",
        "",
        f"{count} images of {world.side} x {world.side}, K = {samples}; squares in grey levels^2. In each pair of"
        " columns the first is the closed form, the second the pipeline's mean over images"
        f" [{CONFIDENCE:.0%} interval]. Half of one, for the score and its parts, is {share(relative.min())} to"
        f" {share(relative.max())} of the number.",
        "",
        f"**Agreement: {int(found.inside.sum())} of {len(found)} intervals hold the closed form"
        f" ({CONFIDENCE:.0%} are expected to; they are not independent). After Holm's correction for all of them,"
        f" {verdict} differ{'s' if verdict == '1' else ''}; the smallest corrected p is {p_value(worst.p_holm)}.**",
        "",
    ]
    if len(outside):
        names = (f"{r.upscaler} {r.downscaler} {r.quantity} ({r.standard_errors:+.1f})" for r in outside.itertuples())
        lines += [f"Outside theirs (standard errors): {', '.join(names)}.", ""]
    for noise in sorted(found.noise.unique()):
        added = f"Gaussian noise of {noise:g} levels, and their rounding" if noise else "their rounding to 8 bits alone"
        at = found[found.noise == noise]
        for upscaler in sorted(at.upscaler.unique(), key=lambda name: (name != MATCHED, name)):
            mine = at[at.upscaler == upscaler]
            matched = upscaler == MATCHED
            score = "S*" if matched else "S"
            head = [None, "Wiener bound", "PSNR", *_twice([score, *SPLIT[1:], *COVERAGE])]
            head += [] if matched else _twice([GAPS[0], GAPS[2]])
            order = mine[mine.quantity == "score"].sort_values("exact", kind="stable")
            body = []
            for name, bound in zip(order["filter"], order.wiener, strict=True):
                one = mine[mine["filter"] == name]
                cells = [name, number(bound, 1), f"{10 * math.log10(WHITE**2 / bound):.2f} dB"]
                for quantity in SPLIT:
                    cells += _cell(one, quantity)
                for quantity in COVERAGE:
                    cells += _cell(one, quantity, scale=100)
                for quantity in [] if matched else (GAPS[0], GAPS[2]):
                    cells += _cell(one, quantity, signed=True)
                body.append(cells)
            who = "the true posterior" if matched else f"posterior of {upscaler}, whatever made the LR image"
            lines += [f"## {upscaler}: {who}. LR noise: {added}", ""]
            lines += [*markdown_table(head, body), ""]
    worse = found[(found.quantity == "gap") & (found.exact < -1e-9)]
    if len(worse):
        lines += [
            f"A gap can be negative ({', '.join(worse.downscaler)}): a decoder that is too sure of itself has less"
            " variance, and for squared errors no spread at all would score best. Only the gap in squared error is"
            " never negative.",
            "",
        ]
    lines += [
        "Wiener bound: variance of an HR pixel given LR, the least mean squared error of any decoder; a sample of the"
        " true posterior has twice that. PSNR: the same in dB. gap: S minus S*, paired by image. coverage: how often a"
        f" pixel lies in Student's interval of its {samples} samples, in %; pixels known to the level (the one in"
        " sixteen that nearest keeps, without noise) are left out.",
        "",
        f"Eight bits: rounding adds 1/12 to the variance of HR and SR pixels each, {share(2 * ROUNDING / least)} of the"
        " least score, and is accounted for; nothing in the pipeline has more bits. What LR tells of the rounding of"
        f" single HR pixels is not used by the decoder. Clipped at 0 or 255: {share(clipped)} of HR sub-pixels; that is"
        " not accounted for.",
    ]
    return "\n".join(lines) + "\n"


def _twice(names: list[str]) -> list[str | None]:
    return [cell for name in names for cell in (name, "measured")]


def draw(found: pd.DataFrame) -> Figure:
    """Lost and unreadable, exact and measured; and how far what was measured lies from what is exact."""
    noises = sorted(found.noise.unique())
    blind = [name for name in found.upscaler.unique() if name != MATCHED]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        axes = figure.subplots(1, len(noises) + 1, width_ratios=[1] * len(noises) + [1.1])
        for axis, noise in zip(axes, noises, strict=False):
            scores = found[(found.noise == noise) & (found.quantity == "score")]
            filters = list(scores[scores.upscaler == MATCHED].sort_values("exact", kind="stable")["filter"])
            for i, who in enumerate([MATCHED, *blind]):
                mine = scores[scores.upscaler == who].set_index("filter").loc[filters]
                place = np.arange(len(filters)) + 0.24 * (i - len(blind) / 2)
                label = "S*" if who == MATCHED else f"S, {who} believed"
                axis.plot(mine.exact, place, "|", color="black", markersize=11, label="" if i else "exact")
                error = np.stack([mine.measured - mine.low, mine.high - mine.measured])
                style = {"fmt": MARKERS[i], "color": COLOURS[i], "markersize": 4, "linewidth": 1.5}
                axis.errorbar(mine.measured, place, xerr=error, label=label, **style)
            axis.set_yticks(range(len(filters)), filters)
            axis.invert_yaxis()
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(FixedLocator([100 * x for x in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20)]))
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
            axis.grid(axis="x", color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
            axis.set_xlabel("MSE (levels², log scale)")
            axis.set_title("rounding alone" if noise == 0 else f"noise of {noise:g} levels", fontsize=9)
        quantities = [*SPLIT, *COVERAGE, *GAPS]
        for i, noise in enumerate(noises):
            mine = found[(found.noise == noise) & found.quantity.isin(quantities)]
            place = np.array([quantities.index(name) for name in mine.quantity]) + 0.16 * (i - 0.5)
            label = "rounding alone" if noise == 0 else f"noise of {noise:g}"
            style = {"color": COLOURS[2 + i], "markersize": 3.5, "alpha": 0.7, "label": label}
            axes[-1].plot(mine.standard_errors, place, MARKERS[2 + i], **style)
        axes[-1].axvspan(-2, 2, color="0.93", zorder=0)
        axes[-1].set_yticks(range(len(quantities)), quantities)
        axes[-1].invert_yaxis()
        axes[-1].set_xlabel("(measured - exact) / standard error")
        axes[-1].legend(frameon=False, fontsize=7, loc="upper right")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return figure


def main() -> None:
    settings = read_settings()
    world = settings.world
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    count, clipped = check_images(world)
    found, samples = compare(world, plan)
    page = text(settings.data, found, count, samples, world, clipped)
    with atomic_folder(Path("results") / settings.data) as folder:
        write_record(plan, folder)
        save(draw(found), folder / "exact")
        write_table(folder / "table.csv", found)
        write_text(folder / "exact.md", f"{page}\n![exact and measured](exact.png)\n")
        numbers = found.drop(columns=["upscaler", "factor", "downscaler"]).to_dict("records")
        names = zip(found.upscaler, found.factor, found.downscaler, strict=True)
        results: dict[str, Any] = {}
        for (upscaler, factor, downscaler), values in zip(names, numbers, strict=True):
            branch = results.setdefault(f"{upscaler}/x{factor}/{downscaler}", {})
            branch[values.pop("quantity")] = values
        summary = {"intervals": len(found), "hold": int(found.inside.sum()), "least_p_holm": float(found.p_holm.min())}
        write_json(folder / "exact.json", {"images": count, "samples": samples, **summary, "branches": results})
    print(page)


if __name__ == "__main__":
    exit_with_line(main)

"""Downscaled HR images against the camera's own LR images, and whether that ranks downscalers as the score does.

A RealSR pair is one scene through a long lens (HR) and a short one (LR), registered by its authors. The
supplement (section 6, Table 4) takes the camera to be a downscaler that loses no more than it must, so that the best
downscaler is the one whose image of HR is nearest to the camera's LR.

If the LR image is on the LR grid, the two are compared there. If it is on the HR grid (it was resampled
to it when the pair was registered), reducing it once more would send it, too, through a downscaler and would
favour whichever that is. So f(HR) is enlarged to the HR grid, by the same bicubic kernel whatever f, and
compared there: enlarging invents nothing above the LR grid's frequency, where the camera has next to nothing.

The scenes are the photographs of this project's statistics: everything is a mean over scenes of the mean over a scene's
tiles. With few of them no interval is given, and every scene's own values and ranks are shown instead.

What the comparison rewards is likeness to one camera: its blur, its noise, its processing. A camera is not
an optimum, and a downscaler that keeps more than its lens does is marked down.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from scipy import stats

from ida_rd.aggregate.comparisons import rank_agreement
from ida_rd.aggregate.statistics import by_photograph, summarise
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import Parameters, open_method, validate
from ida_rd.core.pairs import FEW, FEWEST
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import interval, markdown_table, number
from ida_rd.distort.work import load_distortions
from ida_rd.downscale.work import reduce_image
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record


class Pairs(Parameters):
    """``camera.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    hr: str = Field(min_length=1)
    lr: str = Field(min_length=1)
    paper: dict[str, dict[str, float]] = Field(default={}, description="distortion, downscaler: as the paper prints it")


class _Unit(NamedTuple):
    pair: str
    hr: Path
    lr: Path
    downscaler: str


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; replace it, or leave the pair out by images.pattern") from None


def on_one_grid(
    reduced: NDArray[np.uint8], camera: NDArray[np.uint8], hr: tuple[int, int], where: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bring f(HR) and the camera's image to one size, by this module's rule; (H, W, 3), uint8.

    `hr` is the size of the whole HR image, of which `reduced` may lack the last rows and columns.
    """
    factor = hr[0] // reduced.shape[0]
    height, width = reduced.shape[0] * factor, reduced.shape[1] * factor
    if camera.shape[:2] == hr:
        enlarged = Image.fromarray(reduced).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(enlarged), camera[:height, :width]
    if camera.shape[:2] in {(hr[0] // factor, hr[1] // factor), (-(-hr[0] // factor), -(-hr[1] // factor))}:
        return reduced, camera[: reduced.shape[0], : reduced.shape[1]]
    raise UserError(
        f"{where}: {camera.shape[1]} x {camera.shape[0]} pixels, but its HR image has {hr[1]} x {hr[0]}: the LR image"
        f" must have that size, or that divided by {factor}"
    )


def _compare(distortions: dict[str, Any], factor: int, unit: _Unit) -> dict[str, Any]:
    """Each distance between one downscaler's image of an HR image and the camera's."""
    recipe = read_recipe(Project(), "downscale", f"x{factor}", unit.downscaler)
    method = open_method(recipe)
    hr, camera = _read(unit.hr), _read(unit.lr)
    cut = [side // factor * factor for side in hr.shape[:2]]
    reduced, _ = reduce_image(method, recipe, unit.pair, np.ascontiguousarray(hr[: cut[0], : cut[1]]))
    ours, theirs = on_one_grid(reduced, camera, hr.shape[:2], str(unit.lr))
    first, second = (np.ascontiguousarray(image.transpose(2, 0, 1)) for image in (theirs, ours))
    grid = "HR" if camera.shape == hr.shape else "LR"
    values = {name: float(d.distance(d.reference(first), second[None])[0]) for name, d in distortions.items()}
    return {"pair": unit.pair, "downscaler": unit.downscaler, "grid": grid, **values}


def _make_worker(factor: int, device: str) -> partial:
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    return partial(_compare, load_distortions(read_recipe(Project(), "distort"), device), factor)


def find_pairs(pairs: Pairs, folder: Path, files: list[str], factor: int) -> dict[str, tuple[Path, Path]]:
    """HR and LR image of every pair, by its name."""
    found, missing = {}, []
    suffix = pairs.lr.replace("{factor}", str(factor))
    for file in files:
        if not file.endswith(pairs.hr):
            raise UserError(f"{folder / file}: does not end in {pairs.hr}; set images.pattern, or hr in camera.yaml")
        name = file.removesuffix(pairs.hr)
        found[name] = (folder / file, folder / f"{name}{suffix}")
        missing += [] if found[name][1].is_file() else [found[name][1].name]
    if missing:
        some = ", ".join(missing[:5])
        raise UserError(
            f"{folder}: {len(missing)} HR images lack their LR image ({some}); add them, or correct lr in camera.yaml"
        )
    return found


def compute(pairs: Pairs, plan: dict[str, Any], factor: int) -> pd.DataFrame:
    """Distances to the camera: one row per pair and downscaler."""
    source = read_json("data/plan/attributes.json", hint="run `dvc repro plan`")["images"]
    if source["source"] != "folder":
        raise UserError("images.source: must be folder, with the path of the pairs")
    subset = read_table("data/subset.csv", hint="run `dvc repro balance`")
    found = find_pairs(pairs, Path(source["path"]).expanduser(), sorted(set(subset.file)), factor)
    names = sorted({branch["downscaler"] for branch in plan["branches"] if branch["factor"] == factor})
    units = [_Unit(pair, *paths, name) for pair, paths in sorted(found.items()) for name in names]
    device = device_name()
    make_worker = partial(_make_worker, factor, device)
    rows = [row for _, row in run_units(make_worker, units, label=f"camera x{factor}", parallel=device == "cpu")]
    return pd.DataFrame(rows).sort_values(["pair", "downscaler"], ignore_index=True)


def scores(plan: dict[str, Any], upscaler: str, factor: int, tiles: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score and interval per downscaler, scenes counted alike; and the score of every scene, scenes in rows."""
    lead = plan["distortion_order"][0]
    scenes = dict(zip(tiles.image_id.map(str), tiles.pair, strict=True))
    summary, per_scene = [], {}
    for branch in plan["branches"]:
        if (branch["upscaler"], branch["factor"]) != (upscaler, factor):
            continue
        name = branch["downscaler"]
        rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
        score, of_images = summarise(rows, lead, scenes, confidence=plan["confidence"])
        summary.append({"downscaler": name, "score": score.mean, "ci_low": score.ci_low, "ci_high": score.ci_high})
        per_scene[name] = by_photograph(of_images, scenes)
    return pd.DataFrame(summary).set_index("downscaler"), pd.DataFrame(per_scene)


def correlations(
    losses: pd.DataFrame, score: pd.Series, per_scene: pd.DataFrame, distances: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Spearman's and Kendall's coefficient of score and distance, over the downscalers; Spearman's by scene, too."""
    found: dict[str, dict[str, Any]] = {}
    for name, sign in distances.items():
        table = sign * losses.pivot(index="pair", columns="downscaler", values=name)
        means = table.mean()
        own = [stats.spearmanr(table.loc[s, per_scene.columns], per_scene.loc[s]).statistic for s in per_scene.index]
        found[name] = {
            "spearman": float(stats.spearmanr(means[score.index], score).statistic),
            "kendall": float(stats.kendalltau(means[score.index], score).statistic),
            "spearman_by_scene": {scene: float(value) for scene, value in zip(per_scene.index, own, strict=True)},
            "order": list(means.sort_values(kind="stable").index),
        }
    return found


def printed(pairs: Pairs, labels: dict[str, str]) -> dict[str, pd.Series]:
    """The paper's distances, in the unit of ours: it prints SSIM, and ours is 1 - SSIM."""
    found = {name: pd.Series(values) for name, values in pairs.paper.items() if name in labels}
    return {name: 1 - values if labels[name].startswith("1 - ") else values for name, values in found.items()}


def beside_paper(losses: pd.DataFrame, paper: dict[str, pd.Series], signs: dict[str, int]) -> dict[str, dict[str, Any]]:
    """By distance: the paper's order of the downscalers that both have, and its agreement with ours."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in paper.items():
        ours = signs[name] * losses.groupby("downscaler")[name].mean()
        agreement = rank_agreement(ours, signs[name] * values)
        if agreement is not None:
            order = [str(d) for d in (signs[name] * values).sort_values(kind="stable").index if d in ours.index]
            found[name] = agreement | {"order": order}
    return found


def text(
    title: str,
    table: pd.DataFrame,
    per_scene: pd.DataFrame,
    losses: pd.DataFrame,
    found: dict[str, dict[str, Any]],
    printed_too: dict[str, dict[str, Any]],
    paper: dict[str, pd.Series],
    labels: dict[str, str],
    signs: dict[str, int],
) -> str:
    """The tables, and what they say."""
    lead, label = next(iter(labels.items()))
    grids = losses.drop_duplicates("pair").grid.value_counts().to_dict()
    where = " and ".join(f"{count} on the {grid} grid" for grid, count in sorted(grids.items()))
    lines = [f"## {title}", "", f"{sum(grids.values())} pairs compared: {where}. {_few(len(per_scene))}", ""]
    order = list((signs[lead] * table["score"]).sort_values(kind="stable").index)
    lines.append(f"By the score, from least to most lost: {' < '.join(order)}.")
    for name, values in found.items():
        own = values["spearman_by_scene"].values()
        lines.append(
            f"By {labels[name]} to the camera's image, nearest first: {', '.join(values['order'])}; Spearman's rho"
            f" with the score {values['spearman']:+.2f}, Kendall's tau {values['kendall']:+.2f}; rho scene by scene"
            f" from {min(own):+.2f} to {max(own):+.2f}."
        )
        if name in printed_too:
            theirs = printed_too[name]
            lines.append(
                f"The paper's Table 4 by {labels[name]}, on pairs of its own: {', '.join(theirs['order'])}; rho with"
                f" ours {theirs['spearman']:+.2f} over {theirs['downscalers']} downscalers."
            )
    rows = []
    for name in order:
        row = table.loc[name]
        cells = [name, interval(row.score, row.ci_low, row.ci_high)]
        for distance in found:
            cells.append(number(row[distance], 3 if abs(row[distance]) < 10 else 2))
            if distance in paper:
                cells.append(number(paper[distance][name], 3) if name in paper[distance] else "-")
        rows.append(cells)
    head: list[str | None] = [None, f"score: {label}"]
    for name in found:
        head += [f"camera: {labels[name]}", *(["paper's"] if name in paper else [])]
    camera = losses.pivot(index="pair", columns="downscaler", values=lead)
    lines += ["", *markdown_table(head, rows), "", f"Scene by scene, score (rank): {label}", ""]
    lines += _by_scene(per_scene[order], signs[lead])
    lines += ["", f"Scene by scene, {label} to the camera's image (rank)", ""]
    return "\n".join([*lines, *_by_scene(camera[order], signs[lead])]) + "\n"


def _few(scenes: int) -> str:
    if scenes < FEWEST:
        return (
            f"{scenes} scenes are too few for an interval, and no test of {scenes} could give a p below"
            f" {2.0 ** (1 - scenes):g}: every scene is shown instead."
        )
    return f"N = {scenes} scenes{': intervals are too short for so few' if scenes < FEW else ''}."


def _by_scene(table: pd.DataFrame, sign: int) -> list[str]:
    ranks = (sign * table).rank(axis=1)
    rows = [
        [str(scene), *(f"{number(table.loc[scene, name], 3)} ({ranks.loc[scene, name]:g})" for name in table)]
        for scene in table.index
    ]
    return markdown_table([None, *table.columns], rows)


def draw(
    title: str,
    table: pd.DataFrame,
    per_scene: pd.DataFrame,
    losses: pd.DataFrame,
    paper: dict[str, pd.Series],
    labels: dict[str, str],
    signs: dict[str, int],
) -> Figure:
    """The score and each distance to the camera; one row per downscaler, in the score's order; one mark per scene."""
    lead, label = next(iter(labels.items()))
    order = list((signs[lead] * table["score"]).sort_values(kind="stable").index)
    panels = {f"score: {label}": (per_scene[order], table["score"][order], None)}
    for name in labels:
        scenes = losses.pivot(index="pair", columns="downscaler", values=name)[order]
        panels[f"{labels[name]} to the camera's image"] = (scenes, scenes.mean(), paper.get(name))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.5 * len(panels), 1.6 + 0.28 * len(order)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        y = np.arange(len(order))
        for axis, (what, (scenes, mean, theirs)) in zip(axes, panels.items(), strict=True):
            for i, scene in enumerate(scenes.index):
                axis.plot(scenes.loc[scene], y, "o", color="0.65", markersize=3, label="a scene" if i == 0 else None)
            axis.plot(mean, y, "|", color=COLOURS[0], markersize=11, markeredgewidth=2, label="mean of the scenes")
            if theirs is not None:
                x = theirs.reindex(order).to_numpy(np.float64)
                axis.plot(
                    x, y, MARKERS[3], color=COLOURS[1], markerfacecolor="none", markersize=5, label="paper, Table 4"
                )
            axis.set_xlabel(what, fontsize=8)
            axis.grid(axis="x", color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        axes[0].set_yticks(y, order)
        axes[0].invert_yaxis()
        figure.legend(
            *axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
        )
        figure.suptitle(f"{title}, {len(per_scene)} scenes", fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    pairs = validate(Pairs, read_yaml("camera.yaml", hint=here), where="camera.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    labels = {name: plan["distortions"][name]["label"] for name in plan["distortion_order"]}
    signs = {name: -1 if plan["distortions"][name]["better"] == "higher" else 1 for name in labels}
    tiles = read_table("data/subset.csv", hint="run `dvc repro balance`")
    tiles["pair"] = tiles.file.map(lambda file: file.removesuffix(pairs.hr))
    paper = printed(pairs, labels)
    pages, figures, tables = [], {}, []
    with atomic_folder(Path("results") / pairs.data) as folder:
        write_record(plan, folder)
        for factor in sorted({branch["factor"] for branch in plan["branches"]}):
            losses = compute(pairs, plan, factor)
            for upscaler in sorted({b["upscaler"] for b in plan["branches"] if b["factor"] == factor}):
                summary, per_scene = scores(plan, upscaler, factor, tiles)
                sign = signs[next(iter(labels))]
                found = correlations(losses, sign * summary["score"], sign * per_scene, signs)
                theirs = beside_paper(losses, paper, signs)
                table = summary.join(losses.groupby("downscaler")[list(labels)].mean())
                title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
                page = text(title, table, per_scene, losses, found, theirs, paper, labels, signs)
                pages.append(f"{page}\n![score and distance to the camera, scene by scene]({file}.png)\n")
                picture = draw(f"{pairs.data}, {title}", table, per_scene, losses, paper, labels, signs)
                save(picture, folder / file)
                figures[file] = {"scenes": len(per_scene), "tiles": len(tiles), **found, "paper": theirs}
                tables.append(table.reset_index().assign(upscaler=upscaler, factor=factor))
                write_table(folder / f"scenes-{file}.csv", per_scene.rename_axis("scene").reset_index())
            write_table(folder / f"pairs-x{factor}.csv", losses)
        head = f"# The score beside a camera: {pairs.data}\n\n"
        head += f"{len(tiles)} tiles of {tiles.pair.nunique()} scenes were scored.\n\n"
        write_text(folder / "camera.md", head + "\n".join(pages))
        write_json(folder / "camera.json", figures)
        write_table(folder / "table.csv", pd.concat(tables))
    print("\n".join(pages))


if __name__ == "__main__":
    exit_with_line(main)

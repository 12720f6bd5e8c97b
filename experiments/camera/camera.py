"""Downscaled HR images against the camera's own LR images, and whether that ranks downscalers as the score does.

A RealSR pair is one scene through a long lens (HR) and a short one (LR), registered by its authors. The
supplement (section 6, Table 4) takes the camera to be a downscaler that loses no more than it must, so that the best
downscaler is the one whose image of HR is nearest to the camera's LR.

If the LR image is on the LR grid, the two are compared there. If it is on the HR grid (it was resampled
to it when the pair was registered), reducing it once more would send it, too, through a downscaler and would
favour whichever that is. So f(HR) is enlarged to the HR grid, by the same bicubic kernel whatever f, and
compared there: enlarging invents nothing above the LR grid's frequency, where the camera has next to nothing.

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

from ida_rd.aggregate.statistics import summarise
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import Parameters, open_method, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import interval, markdown_table, number
from ida_rd.distort.work import load_distortions
from ida_rd.downscale.work import reduce_image
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units
from ida_rd.report.figures import COLOURS, STYLE, save


class Pairs(Parameters):
    """``camera.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    hr: str = Field(min_length=1)
    lr: str = Field(min_length=1)


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
    """Score and interval per downscaler; and the score of every pair's tiles alone, pairs in rows."""
    lead = plan["distortion_order"][0]
    settings = {key: plan[key] for key in ("confidence", "resamples", "seed")}
    summary, per_pair = [], {}
    for branch in plan["branches"]:
        if (branch["upscaler"], branch["factor"]) != (upscaler, factor):
            continue
        name = branch["downscaler"]
        rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
        score, of_images = summarise(rows, lead, **settings)
        summary.append({"downscaler": name, "score": score.mean, "ci_low": score.ci_low, "ci_high": score.ci_high})
        per_pair[name] = of_images.groupby(tiles.set_index("image_id").pair.reindex(of_images.index)).mean()
    return pd.DataFrame(summary).set_index("downscaler"), pd.DataFrame(per_pair)


def correlations(
    losses: pd.DataFrame, score: pd.Series, per_pair: pd.DataFrame, distances: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Spearman's and Kendall's coefficient of score and distance, over the downscalers; Spearman's by pair, too."""
    found: dict[str, dict[str, Any]] = {}
    for name, sign in distances.items():
        means = sign * losses.groupby("downscaler")[name].mean()
        table = sign * losses.pivot(index="pair", columns="downscaler", values=name)
        own = [
            stats.spearmanr(table.loc[pair, per_pair.columns], per_pair.loc[pair]).statistic for pair in per_pair.index
        ]
        found[name] = {
            "spearman": float(stats.spearmanr(means[score.index], score).statistic),
            "kendall": float(stats.kendalltau(means[score.index], score).statistic),
            "spearman_by_pair": {pair: float(value) for pair, value in zip(per_pair.index, own, strict=True)},
            "order": list(means.sort_values(kind="stable").index),
        }
    return found


def text(
    title: str, table: pd.DataFrame, found: dict[str, dict[str, Any]], labels: dict[str, str], grids: dict[str, int]
) -> str:
    """The table, and what it says."""
    lead = next(iter(labels.values()))
    where = " and ".join(f"{count} on the {grid} grid" for grid, count in sorted(grids.items()))
    lines = [f"## {title}", "", f"{sum(grids.values())} pairs compared: {where}.", ""]
    order = list(table.sort_values("score", kind="stable").index)
    lines.append(f"By the score, from least to most lost: {' < '.join(order)}.")
    for name, values in found.items():
        own = values["spearman_by_pair"].values()
        lines.append(
            f"By {labels[name]} to the camera's image, nearest first: {', '.join(values['order'])}; Spearman's rho with"
            f" the score {values['spearman']:+.2f}, Kendall's tau {values['kendall']:+.2f}; rho pair by pair from"
            f" {min(own):+.2f} to {max(own):+.2f}."
        )
    rows = []
    for name in order:
        row = table.loc[name]
        score = interval(row.score, row.ci_low, row.ci_high, places=4)
        rows.append([name, score, *(number(row[distance], 4) for distance in found)])
    head = [None, f"score: {lead} [interval]", *(f"camera: {labels[name]}" for name in found)]
    return "\n".join([*lines, "", *markdown_table(head, rows)]) + "\n"


def draw(title: str, table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Each distance to the camera against the score, one point per downscaler."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(labels) + 0.2, 3.1), layout="constrained")
        for i, (axis, (name, label)) in enumerate(
            zip(figure.subplots(1, len(labels), squeeze=False)[0], labels.items(), strict=True)
        ):
            axis.plot(table["score"], table[name], "o", color=COLOURS[i % len(COLOURS)], markersize=4)
            for downscaler, row in table.iterrows():
                axis.annotate(
                    str(downscaler), (row["score"], row[name]), xytext=(3, 2), textcoords="offset points", fontsize=7
                )
            axis.set_xlabel(f"score: {next(iter(labels.values()))}", fontsize=8)
            axis.set_ylabel(f"{label} to the camera's image", fontsize=8)
            axis.margins(0.12)
            axis.grid(color="0.92", linewidth=0.7)
            axis.set_axisbelow(True)
        figure.suptitle(title, fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    pairs = validate(Pairs, read_yaml("camera.yaml", hint=here), where="camera.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    labels = {name: plan["distortions"][name]["label"] for name in plan["distortion_order"]}
    signs = {name: -1 if plan["distortions"][name]["better"] == "higher" else 1 for name in labels}
    tiles = read_table("data/subset.csv", hint="run `dvc repro balance`")
    tiles["pair"] = tiles.file.map(lambda file: file.removesuffix(pairs.hr))
    pages, figures, tables = [], {}, []
    with atomic_folder(Path("results") / pairs.data) as folder:
        for factor in sorted({branch["factor"] for branch in plan["branches"]}):
            losses = compute(pairs, plan, factor)
            grids = losses.drop_duplicates("pair").grid.value_counts().to_dict()
            for upscaler in sorted({b["upscaler"] for b in plan["branches"] if b["factor"] == factor}):
                summary, per_pair = scores(plan, upscaler, factor, tiles)
                sign = signs[next(iter(labels))]
                found = correlations(losses, sign * summary["score"], sign * per_pair, signs)
                table = summary.join(losses.groupby("downscaler")[list(labels)].mean())
                title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
                page = text(title, table, found, labels, grids)
                pages.append(f"{page}\n![distance to the camera against the score]({file}.png)\n")
                save(draw(f"{pairs.data}, {title}", table, labels), folder / file)
                figures[file] = {"pairs": sum(grids.values()), "tiles": len(tiles), **found}
                tables.append(table.reset_index().assign(upscaler=upscaler, factor=factor))
            write_table(folder / f"pairs-x{factor}.csv", losses)
        head = f"# The score beside a camera: {pairs.data}\n\n{len(tiles)} tiles of the pairs were scored.\n\n"
        write_text(folder / "camera.md", head + "\n".join(pages))
        write_json(folder / "camera.json", figures)
        write_table(folder / "table.csv", pd.concat(tables))
    print("\n".join(pages))


if __name__ == "__main__":
    exit_with_line(main)

"""Keypoints of the HR image that are found again in its reconstruction, beside the score.

An outside criterion: it knows neither the distortion nor what people see, but what matching, tracking and 3D
reconstruction need. Keypoints are those of SIFT (Lowe, Distinctive image features from scale-invariant keypoints, IJCV
60, 2004) and ORB (Rublee et al., ORB: an efficient alternative to SIFT or SURF, ICCV 2011), as scikit-image has them. A
keypoint of HR is *found again* if the keypoint of SR that matches it, each descriptor being the other's nearest, lies
within 1.5 pixels of it; for SIFT the nearest must also be clearly nearer than the second nearest. Where keypoints are
many, some lie near by chance (column ``near``, the usual repeatability); chance matches no descriptors.

One sample of each image is looked at. An image without a keypoint says nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field
from skimage.color import rgb2gray
from skimage.feature import ORB, SIFT, match_descriptors

from ida_rd.aggregate.comparisons import holm, rank_agreement, wide_by_photograph
from ida_rd.aggregate.results import photographs_in
from ida_rd.aggregate.statistics import Photographs, paired_difference
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted, interval, markdown_table, number, p_value
from ida_rd.engine.local import run_units
from ida_rd.report.figures import COLOURS, STYLE, save
from ida_rd.study.record import write_record

KINDS = {"sift": "SIFT", "orb": "ORB"}


class Comparison(Parameters):
    """``external.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    baseline: str
    radius: float = Field(gt=0)
    ratio: float = Field(gt=0, le=1)
    keypoints: int = Field(ge=10)


class Features(NamedTuple):
    """Keypoints of an image."""

    places: NDArray[np.float64]  # (N, 2), row and column
    descriptors: NDArray[Any]  # (N, D)


class Share(NamedTuple):
    """Of the keypoints of an HR image; None where it has none."""

    keypoints: int
    near: float | None  # any keypoint lies within the radius
    found: float | None  # the one that matches does


class _Unit(NamedTuple):
    image_id: str
    hr: Path
    sr: Mapping[str, Path]


def features(image: NDArray[np.uint8], kind: str, keypoints: int) -> Features:
    """Detect and describe the keypoints of an image (H, W, 3); there may be none."""
    extractor = SIFT() if kind == "sift" else ORB(n_keypoints=keypoints)
    try:
        extractor.detect_and_extract(rgb2gray(image))
    except RuntimeError:  # it found none
        return Features(np.empty((0, 2)), np.empty((0, 1)))
    return Features(np.asarray(extractor.keypoints, float), np.asarray(extractor.descriptors))


def repeated(hr: Features, sr: Features, radius: float, ratio: float) -> Share:
    """Look for the keypoints of an HR image in an SR image.

    Parameters
    ----------
    hr, sr : Features
    radius : float
        Pixels.
    ratio : float
        Largest ratio of the distances to the nearest and second nearest descriptor; 1: any.
    """
    count = len(hr.places)
    if not count:
        return Share(0, None, None)
    if not len(sr.places):
        return Share(count, 0.0, 0.0)
    distances = np.linalg.norm(hr.places[:, None] - sr.places[None], axis=2)
    near = float((distances.min(axis=1) <= radius).mean())
    pairs = match_descriptors(hr.descriptors, sr.descriptors, cross_check=True, max_ratio=ratio)
    found = int((distances[pairs[:, 0], pairs[:, 1]] <= radius).sum()) if len(pairs) else 0
    return Share(count, near, found / count)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` on its stage again") from None


def _measure(compared: Comparison, unit: _Unit) -> list[dict[str, Any]]:
    """All downscalers' reconstructions of one image."""
    rows = []
    for kind in KINDS:
        ratio = compared.ratio if kind == "sift" else 1.0
        hr = features(_read(unit.hr), kind, compared.keypoints)
        for name, path in unit.sr.items():
            share = repeated(hr, features(_read(path), kind, compared.keypoints), compared.radius, ratio)
            rows.append({"image_id": unit.image_id, "downscaler": name, "kind": kind, **share._asdict()})
    return rows


def _make_worker(compared: Comparison) -> partial:
    return partial(_measure, compared)


def compute(compared: Comparison, names: list[str], upscaler: str, factor: int, images: list[str]) -> pd.DataFrame:
    """Shares found again: one row per image, downscaler and kind. A sample that was not finite has no row."""
    units = []
    for image_id in images:
        files = {name: Path(f"data/sr/{upscaler}/x{factor}/{name}/{image_id}/0.webp") for name in names}
        there = {name: path for name, path in files.items() if path.is_file()}
        units.append(_Unit(image_id, Path(f"data/hr/{image_id}.png"), there))
    found = run_units(partial(_make_worker, compared), units, label=f"keypoints {upscaler} x{factor}")
    rows = [row for _, part in found for row in part]
    if not rows:
        raise UserError(f"data/sr/{upscaler}/x{factor}: holds no reconstruction: run `dvc repro upscale`")
    return pd.DataFrame(rows).sort_values(["kind", "image_id", "downscaler"], ignore_index=True)


def losses_of(plan: dict[str, Any], table: pd.DataFrame, upscaler: str, factor: int) -> dict[str, pd.DataFrame]:
    """The score and, by kind, the share that is not found again: (N images, D downscalers), more is worse."""
    lead = plan["distortion_order"][0]
    sign = -1 if plan["distortions"][lead]["better"] == "higher" else 1
    score = {}
    for name in dict.fromkeys(table.downscaler):
        rows = read_table(f"data/distortion/{upscaler}/x{factor}/{name}.csv", hint="run `dvc repro distort`")
        score[name] = sign * rows[rows.finite].groupby("image_id")[lead].mean()
    found = {"score": pd.DataFrame(score)}
    for kind in KINDS:
        part = table[table.kind == kind]
        found[kind] = 1 - part.pivot(index="image_id", columns="downscaler", values="found").astype(float)
    return found


def against_baseline(
    losses: dict[str, pd.DataFrame], photographs: Photographs, baseline: str, settings: dict[str, Any]
) -> pd.DataFrame:
    """Paired differences of every downscaler to the baseline, by measure; Holm over the downscalers of a measure."""
    frames = []
    for measure, wide in losses.items():
        rows: list[dict[str, Any]] = []
        for name in wide.columns.drop(baseline):
            found = paired_difference(wide[baseline], wide[name], photographs, **settings)
            rows.append({"measure": measure, "downscaler": name, **asdict(found)})
        table = pd.DataFrame(rows)
        frames.append(table.assign(p_holm=holm(list(table.p))))
    return pd.concat(frames, ignore_index=True)


def agreements(losses: dict[str, pd.DataFrame], photographs: Photographs) -> dict[str, dict[str, Any]]:
    """Does each kind rank downscalers as the score does? By means over photographs, and photograph by photograph."""
    found: dict[str, dict[str, Any]] = {}
    score = wide_by_photograph(losses["score"], photographs)
    for kind in KINDS:
        mine = wide_by_photograph(losses[kind], photographs)
        overall = rank_agreement(mine.mean(), score.mean())
        if overall is None:
            raise UserError("three downscalers at least are needed to compare rankings: add some to params.yaml")
        common = mine.dropna().index.intersection(score.dropna().index)
        each = [rank_agreement(mine.loc[name], score.loc[name]) for name in common]
        own = np.array([one["spearman"] for one in each if one is not None])
        if not len(own):
            raise UserError(f"no photograph has keypoints of {KINDS[kind]} in all reconstructions: use larger images")
        low, middle, high = np.quantile(own, [0.05, 0.5, 0.95])
        order = list(mine.mean().sort_values(kind="stable").index)
        spread = {"low": float(low), "median": float(middle), "high": float(high), "photographs": len(own)}
        found[kind] = {**overall, "order": order, "by_photograph": spread}
    return found


def text(
    title: str,
    label: str,
    losses: dict[str, pd.DataFrame],
    pairs: pd.DataFrame,
    agreed: dict[str, dict[str, Any]],
    photographs: Photographs,
    compared: Comparison,
    level: float,
) -> str:
    """The tables, and what they say."""
    wide = {measure: wide_by_photograph(values, photographs) for measure, values in losses.items()}
    means = pd.DataFrame({measure: values.mean() for measure, values in wide.items()})
    order = list(means.score.sort_values(kind="stable").index)
    lines = [f"## {title}", "", f"{counted(len(wide['score']), len(losses['score']))}; one sample of each."]
    lines += ["", f"By the score ({label}), from least to most lost: {' < '.join(order)}."]
    for kind, name in KINDS.items():
        own, spread = agreed[kind], agreed[kind]["by_photograph"]
        part = pairs[pairs.measure == kind].set_index("downscaler")
        worse = [d for d in part.index if part.p_holm[d] < level and part["mean"][d] > 0]
        better = [d for d in part.index if part.p_holm[d] < level and part["mean"][d] < 0]
        lines.append(
            f"By {name}, most to fewest keypoints found again: {', '.join(own['order'])}. Spearman's rho with the score"
            f" {own['spearman']:+.2f}, Kendall's tau {own['kendall']:+.2f} over {own['downscalers']} downscalers; rho"
            f" photograph by photograph {spread['median']:+.2f} (median; 90 % of {spread['photographs']} lie from"
            f" {spread['low']:+.2f} to {spread['high']:+.2f}). Significantly fewer than after {compared.baseline}:"
            f" {', '.join(worse) or 'none'}; significantly more: {', '.join(better) or 'none'}."
        )
    rows = []
    for name in order:
        shares = [f"{1 - means[kind][name]:.1%}" for kind in KINDS]
        rows.append([name, number(means.score[name], 3), *shares])
    lines += ["", *markdown_table([None, f"score: {label}", *(f"{k}: found again" for k in KINDS.values())], rows)]
    rows = []
    for row in pairs[pairs.measure != "score"].itertuples():
        lost = interval(100 * row.mean, *(None if pd.isna(x) else 100 * x for x in (row.low, row.high)), signed=True)
        size = "" if row.effect is None or pd.isna(row.effect) else f"{row.effect:.2f}"
        rows.append([KINDS[row.measure], row.downscaler, lost, size, f"{row.share:.0%}", p_value(row.p_holm)])
    head = ["keypoints", "downscaler", f"lost beyond {compared.baseline}, percentage points [interval]", "effect size"]
    head += ["photographs with that sign", "p (Holm)"]
    return "\n".join([*lines, "", *markdown_table(head, rows)]) + "\n"


def draw(title: str, pairs: pd.DataFrame, label: str, baseline: str) -> Figure:
    """Paired differences to the baseline with intervals; downscalers in the score's order in every panel."""
    order = list(pairs[pairs.measure == "score"].sort_values("mean", kind="stable").downscaler)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.4 + 0.28 * len(order)), layout="constrained")
        axes = figure.subplots(1, 1 + len(KINDS), sharey=True)
        labels = {"score": label} | {kind: f"share not found again, {name}" for kind, name in KINDS.items()}
        for i, (axis, (measure, what)) in enumerate(zip(axes, labels.items(), strict=True)):
            part = pairs[pairs.measure == measure].set_index("downscaler").loc[order]
            mean = part["mean"].to_numpy(float)
            low, high = (part[end].to_numpy(float) for end in ("low", "high"))
            error = np.nan_to_num(np.stack([mean - low, high - mean]))
            axis.errorbar(mean, range(len(order)), xerr=error, fmt="o", color=COLOURS[i], markersize=4)
            axis.axvline(0, color="0.6", linewidth=0.8)
            axis.set_xlabel(f"{what}\nbeyond {baseline}", fontsize=8)
        axes[0].set_yticks(range(len(order)), order)
        axes[0].invert_yaxis()
        figure.suptitle(title, fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Comparison, read_yaml("external.yaml", hint=here), where="external.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    if compared.baseline not in {branch["downscaler"] for branch in plan["branches"]}:
        raise UserError(f"external.yaml: baseline: params.yaml has no downscaler {compared.baseline}: name one of its")
    photographs = photographs_in(read_table("data/subset.csv", hint="run `dvc repro balance`"))
    label = plan["distortions"][plan["distortion_order"][0]]["label"]
    settings = {key: plan[key] for key in ("confidence", "resamples", "seed")}
    pages, figures, tables, images = [], {}, [], []
    with atomic_folder(Path("results") / compared.data) as folder:
        write_record(plan, folder, images=False)
        for upscaler, factor in sorted({(b["upscaler"], b["factor"]) for b in plan["branches"]}):
            names = [b["downscaler"] for b in plan["branches"] if (b["upscaler"], b["factor"]) == (upscaler, factor)]
            table = compute(compared, names, upscaler, factor, sorted(photographs))
            losses = losses_of(plan, table, upscaler, factor)
            pairs = against_baseline(losses, photographs, compared.baseline, settings)
            agreed = agreements(losses, photographs)
            title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
            level = 1 - plan["confidence"]
            page = text(title, label, losses, pairs, agreed, photographs, compared, level)
            pages.append(f"{page}\n![differences to {compared.baseline}]({file}.png)\n")
            count = counted(len(set(photographs.values())), len(photographs))
            save(draw(f"{compared.data}, {title}: {count}", pairs, label, compared.baseline), folder / file)
            figures[file] = agreed
            columns = {"upscaler": upscaler, "factor": factor}
            tables.append(pairs.assign(**columns))
            images.append(table.assign(**columns))
        head = f"# Keypoints found again, beside the score: {compared.data}\n\n"
        write_text(folder / "external.md", head + "\n".join(pages))
        write_json(folder / "external.json", figures)
        write_table(folder / "table.csv", pd.concat(tables))
        write_table(folder / "images.csv", pd.concat(images))
    print("\n".join(pages))


if __name__ == "__main__":
    exit_with_line(main)

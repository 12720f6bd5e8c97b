"""What does the score add to numbers that need no stochastic model? (discriminant validity)

The predictors, image by image: the bits of the LR image (``rate_bpp``), and the errors of plain bicubic enlargement of
the LR image by each distortion of the run, turned so that more is worse. Three questions:

* Do they rank downscalers as the score does, and in which direction?
* Image by image, how much of a downscaler's difference to the baseline do they explain, and what remains of it? See
  ``explained.py``.
* Where do they part from the score? Blur lowers the bits and noise raises them; both destroy.

Campbell and Fiske, Convergent and discriminant validation by the multitrait-multimethod matrix, Psychological
Bulletin 56, 1959.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from explained import BITS, Beyond, beyond, correlations, parting, predictors_in, wide  # type: ignore[import-not-found]
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from ida_rd.aggregate.comparisons import rank_agreement
from ida_rd.aggregate.results import photographs_in
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import atomic_folder, write_json, write_text
from ida_rd.core.images import ImageError, read_image
from ida_rd.core.methods import Parameters, validate
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table
from ida_rd.core.typeset import counted, interval, markdown_table, number, p_value
from ida_rd.distort.work import load_distortions
from ida_rd.engine.device import device_name
from ida_rd.engine.local import run_units
from ida_rd.report.figures import COLOURS, MARKERS, STYLE, save
from ida_rd.study.record import write_record


class Comparison(Parameters):
    """``discriminant.yaml``."""

    data: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    baseline: str
    ranked: list[str] = Field(min_length=4)
    without: str
    degraded: list[str]


class _Unit(NamedTuple):
    image_id: str
    downscaler: str
    hr: Path
    lr: Path


def enlarge(lr: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Plain bicubic enlargement of (h, w, 3) to `size`, (H, W)."""
    return np.asarray(Image.fromarray(lr).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"{path}: {error}; run `dvc repro` on its stage again") from None


def _measure(distortions: dict[str, Any], unit: _Unit) -> dict[str, Any]:
    """The errors of one enlargement."""
    hr = _read(unit.hr)
    sr = enlarge(_read(unit.lr), hr.shape[:2])
    first, second = (np.ascontiguousarray(image.transpose(2, 0, 1)) for image in (hr, sr))
    values = {name: float(d.distance(d.reference(first), second[None])[0]) for name, d in distortions.items()}
    return {"image_id": unit.image_id, "downscaler": unit.downscaler, **values}


def _make_worker(device: str) -> partial:
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    return partial(_measure, load_distortions(read_recipe(Project(), "distort"), device))


def enlargements(names: list[str], images: list[str], factor: int) -> pd.DataFrame:
    """Errors of plain enlargement: one row per downscaler and image."""
    units = [
        _Unit(image_id, name, Path(f"data/hr/{image_id}.png"), Path(f"data/lr/x{factor}/{name}/{image_id}.png"))
        for name in names
        for image_id in images
    ]
    device = device_name()
    found = run_units(partial(_make_worker, device), units, label=f"enlarged x{factor}", parallel=device == "cpu")
    return pd.DataFrame([row for _, row in found])


def assemble(plan: dict[str, Any], means: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """Score and predictors, more being worse (and more bits): one row per downscaler and image."""
    order = plan["distortion_order"]
    signs = {name: -1 if plan["distortions"][name]["better"] == "higher" else 1 for name in order}
    score = means[["downscaler", "image_id", "rate_bpp"]].rename(columns={"rate_bpp": BITS})
    score["score"] = signs[order[0]] * means[order[0]]
    plain = plain[["downscaler", "image_id"]].assign(**{f"plain {name}": signs[name] * plain[name] for name in order})
    table = score.merge(plain, on=["downscaler", "image_id"], validate="one_to_one").dropna()
    return table.sort_values(["downscaler", "image_id"], ignore_index=True)


def paragraph(
    rho: pd.DataFrame, found: Beyond, parts: pd.DataFrame, compared: Comparison, labels: dict[str, str], level: float
) -> list[str]:
    """What the numbers say."""
    bits = rho.loc[BITS]
    direction = (
        "More bits go with more loss, the opposite of the reading as a rate, by which a downscaler that lets more"
        " through should lose less"
        if bits["all"] > 0
        else "More bits go with less loss, as the reading as a rate has it"
    )
    lines = [
        f"{direction}: Spearman's rho of the bits with the score is {bits['all']:+.2f} over {len(compared.ranked)}"
        f" downscalers and {bits['without']:+.2f} without {compared.without}.",
        "The others: "
        + "; ".join(
            f"{labels[name]}, rho {row['all']:+.2f} ({row['without']:+.2f})"
            for name, row in rho.iterrows()
            if name != BITS
        )
        + ".",
    ]
    away = found.table[(found.table.low > 0) | (found.table.high < 0)]
    said = ", ".join(str(name) for name in away.index) or "none"
    tau = rank_agreement(found.table.remains, found.table.difference)
    lines.append(
        f"Image by image, all predictors together explain {found.within['all']:.0%} of how a downscaler's difference to"
        f" {compared.baseline} varies. What they leave is distinguishable from zero for {len(away)} of"
        f" {len(found.table)} downscalers ({said})"
        + (f"; it ranks them as the differences themselves do by Kendall's tau {tau['kendall']:+.2f}." if tau else ".")
    )
    for process, group in parts.groupby("process", sort=False):
        ways: dict[str, list[str]] = {"raises": [], "lowers": [], "is not shown to move": []}
        for row in group.itertuples():
            way = "is not shown to move" if row.p_holm >= level else "raises" if row.mean > 0 else "lowers"
            ways[way].append(labels[row.measure])
        moved = "; ".join(f"{way} {', '.join(names)}" for way, names in ways.items() if names)
        lines.append(f"{process} {moved}.")
    return lines


def text(
    title: str,
    about: str,
    rho: pd.DataFrame,
    found: Beyond,
    parts: pd.DataFrame,
    compared: Comparison,
    labels: dict[str, str],
    confidence: float,
) -> str:
    """The paragraph and the tables."""
    lines = [f"## {title}", "", f"{about} All but the bits are turned so that more is worse.", ""]
    lines += [f"* {line}" for line in paragraph(rho, found, parts, compared, labels, 1 - confidence)]
    rows = [
        [
            labels[str(name)],
            *(number(row[key], 2, signed=True) for key in ("all", "without")),
            f"{row['median']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]",
            f"{row['between']:.0%}",
            f"{found.within[str(name)]:.0%}",
        ]
        for name, row in rho.iterrows()
    ]
    rows.append(["all together", "", "", "", "", f"{found.within['all']:.0%}"])
    head = [None, f"rho, {len(compared.ranked)} downscalers", f"without {compared.without}"]
    head += ["by photograph, median [5 %, 95 %]", "R² between downscalers", "R² within downscalers"]
    lines += ["", "Each predictor and the score:", "", *markdown_table(head, rows)]
    rows = [
        [str(row.Index), number(row.difference, 4, signed=True), interval(row.remains, row.low, row.high, signed=True)]
        for row in found.table.sort_values("difference").itertuples()
    ]
    head = [None, f"score beyond {compared.baseline}", f"what remains [{confidence:.0%} together]"]
    lines += ["", "Differences, and what remains of them where no predictor differs:", "", *markdown_table(head, rows)]
    if len(parts):
        rows = [
            [
                row.process,
                labels[row.measure],
                interval(row.mean, row.low, row.high, signed=True),
                "" if row.effect is None or pd.isna(row.effect) else f"{row.effect:+.2f}",
                f"{row.share:.0%}",
                p_value(row.p_holm),
            ]
            for row in parts.itertuples()
        ]
        head = [None, "measure", f"beyond {compared.baseline} [interval]", "effect size", "photographs with that sign"]
        lines += ["", "Where they part:", "", *markdown_table([*head, "p (Holm)"], rows)]
    return "\n".join(lines) + "\n"


def draw(title: str, means: pd.DataFrame, labels: dict[str, str], compared: Comparison) -> Figure:
    """The score against each predictor: downscalers, and the degraded processes as open marks."""
    predictors = predictors_in(means)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * len(predictors), 3.6), layout="constrained")
        for axis, name in zip(figure.subplots(1, len(predictors), sharey=True), predictors, strict=True):
            for i, (process, row) in enumerate(means.iterrows()):
                colour = COLOURS[i % len(COLOURS)]
                look = {"color": colour, "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)], "linestyle": ""}
                inside = colour if process in compared.ranked else "white"
                axis.plot(row[name], row.score, markerfacecolor=inside, markersize=5.5, label=str(process), **look)
            axis.set_xlabel(labels[name], fontsize=8)
            axis.margins(0.1)
        if (means.score > 0).all():
            figure.axes[0].set_yscale("log")
            figure.axes[0].yaxis.set_major_formatter(ScalarFormatter())
            figure.axes[0].yaxis.set_minor_formatter(ScalarFormatter())
        figure.axes[0].set_ylabel(labels["score"], fontsize=8)
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
        figure.suptitle(title, fontsize=10)
        return figure


def main() -> None:
    here = "run this in the folder of the experiment"
    compared = validate(Comparison, read_yaml("discriminant.yaml", hint=here), where="discriminant.yaml")
    plan = read_json("data/plan/aggregate.json", hint="run `dvc repro plan`")
    named = list(dict.fromkeys([*compared.ranked, *compared.degraded, compared.baseline, compared.without]))
    if odd := sorted(set(named) - {branch["downscaler"] for branch in plan["branches"]}):
        raise UserError(f"discriminant.yaml: params.yaml has no downscaler {', '.join(odd)}: correct one of them")
    if compared.baseline not in compared.ranked:
        raise UserError(f"discriminant.yaml: ranked lacks the baseline, {compared.baseline}: add it")
    photographs = photographs_in(read_table("data/subset.csv", hint="run `dvc repro balance`"))
    images = read_table("metrics/tables/images.csv", hint="run `dvc repro aggregate`")
    order = plan["distortion_order"]
    losses = {
        name: ("minus " if plan["distortions"][name]["better"] == "higher" else "") + plan["distortions"][name]["label"]
        for name in order
    }
    labels = {"score": f"score: {losses[order[0]]}", BITS: "bits of the LR image per HR pixel"}
    labels |= {f"plain {name}": f"{loss} of plain enlargement" for name, loss in losses.items()}
    settings = {key: plan[key] for key in ("confidence", "resamples", "seed")}
    plain = {f: enlargements(named, sorted(photographs), f) for f in sorted({b["factor"] for b in plan["branches"]})}
    pages, figures, tables = [], {}, []
    with atomic_folder(Path("results") / compared.data) as folder:
        write_record(plan, folder, images=False)
        for (upscaler, factor), means in images.groupby(["upscaler", "factor"]):
            table = assemble(plan, means[means.downscaler.isin(named)], plain[factor])
            rho = correlations(table, compared.ranked, compared.without, photographs)
            found = beyond(table, compared.ranked, compared.baseline, photographs, plan["confidence"])
            parts = parting(table, compared.degraded, compared.baseline, photographs, settings)
            title, file = f"{upscaler}, x{factor}", f"{upscaler}-x{factor}"
            about = f"{counted(found.photographs, table.image_id.nunique())}."
            page = text(title, about, rho, found, parts, compared, labels, plan["confidence"])
            pages.append(f"{page}\n![score against each predictor]({file}.png)\n")
            columns = ["score", *predictors_in(table)]
            of_all = pd.DataFrame({c: wide(table, c, named, photographs).mean() for c in columns})
            save(draw(f"{compared.data}, {title}: {about[:-1]}", of_all, labels, compared), folder / file)
            figures[file] = _record(rho, found, parts)
            tables.append(table.assign(upscaler=upscaler, factor=factor))
        write_text(folder / "discriminant.md", f"# Beyond simpler numbers: {compared.data}\n\n" + "\n".join(pages))
        write_json(folder / "discriminant.json", figures)
        write_table(folder / "images.csv", pd.concat(tables))
    print("\n".join(pages))


def _record(rho: pd.DataFrame, found: Beyond, parts: pd.DataFrame) -> dict[str, Any]:
    def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
        return table.astype(object).where(table.notna(), None).to_dict("records")

    return {
        "correlations": plain(rho.reset_index()),
        "within": found.within,
        "beyond": plain(found.table.reset_index()),
        "photographs": found.photographs,
        "parting": plain(parts),
    }


if __name__ == "__main__":
    exit_with_line(main)

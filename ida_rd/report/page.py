"""The page: one folder that opens by a double click, without server or network, and can be sent and archived."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from ida_rd.core import typeset
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.report.figures import SHOWN_SAMPLES, telling_images

__all__ = ["group_counts", "software", "write_page"]

TEMPLATES = Path(__file__).with_name("templates")
DOWNLOADS = ("ida_rd.csv", "images.csv", "differences.csv", "ranks.csv", "agreement.csv", "variance.csv")
UNASKED = {"deterministic", "not blind", "matched"}  # marks of what IDA-RD does not ask for
CAPTIONS = {
    "scores": "Scores with intervals over the images, one panel per distortion.",
    "critical_difference": "Mean ranks over the images. A bar joins downscalers that do not differ significantly by"
    " Nemenyi's test, which is more cautious than the paired tests below.",
    "rate_distortion": "How many bits the LR images need, and what is lost. Ringed: no other loses less at as low"
    " a rate.",
    "perception_distortion": "Perceptual against pixel distance.",
    "heat_map": "Upscalers and downscalers; the colour runs from each row's best to its worst.",
}


def write_page(
    project: Project, recipe: dict[str, Any], tables: dict[str, pd.DataFrame], figures: list[str], target: Path
) -> None:
    """Write ``index.html``, its pictures and tables.

    Parameters
    ----------
    project : Project
    recipe : dict
        ``data/plan/report.json``.
    tables : dict
        ``metrics/tables/*.csv`` by stem.
    figures : list of str
        Stems of the figures, contact sheets last.
    target : Path
        Folder to write into.
    """
    for stem in figures:
        shutil.copyfile(project.plots / f"{stem}.png", target / f"{stem}.png")
    for name in DOWNLOADS:
        shutil.copyfile(project.tables / name, target / name)
    for name in ("provenance.json", "balance.csv"):
        shutil.copyfile(project.metrics / name, target / name)
    provenance = read_json(project.metrics / "provenance.json", hint="run `dvc repro aggregate`")
    distortions, order = recipe["distortions"], recipe["distortion_order"]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = typeset.number
    page = environment.get_template("page.html").render(
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        cells=_cells(tables, distortions, order, 1 - recipe["confidence"]),
        distortions=[{"name": name, **distortions[name]} for name in order],
        lead=distortions[order[0]],
        differences=tables["differences"][tables["differences"].distortion == order[0]].to_dict("records"),
        level=1 - recipe["confidence"],
        figures=[(s, CAPTIONS[s]) for s in figures if s in CAPTIONS],
        sheets=[s for s in figures if s.startswith("contact_sheet")],
        browser=_browser(project, recipe, tables["images"], target),
        skipped=provenance["skipped"],
        balance=read_json(project.metrics / "balance.json", hint="run `dvc repro balance`"),
        counts=group_counts(tables["balance"]),
        provenance=provenance,
        downloads=DOWNLOADS,
        software=software(provenance["environments"]),
        models=_models(recipe["upscalers"]),
        asked=not any(set(entry["marks"]) & UNASKED for entry in recipe["upscalers"].values()),
        parameters=yaml.safe_dump(recipe["parameters"], sort_keys=False, allow_unicode=True),
        weights={key: value for r in _recipes(provenance) for key, value in r.get("weights", {}).items()},
    )
    write_text(target / "index.html", page)


def group_counts(groups: pd.DataFrame) -> list[dict[str, Any]]:
    """Candidates and chosen images of each group of each attribute, from ``metrics/balance.csv``; none for clusters.

    As Table 8 of the paper's supplement counts them.
    """
    names = [name for name in groups if name not in ("cluster", "pool", "chosen", "short")]
    found = []
    for name in names:
        sums = groups.groupby(name, sort=False)[["pool", "chosen"]].sum()
        found += [{"attribute": name, "group": group, **row} for group, row in sums.to_dict("index").items()]
    return found


def _cells(
    tables: dict[str, pd.DataFrame], distortions: dict[str, Any], order: list[str], level: float
) -> list[dict[str, Any]]:
    """One entry per upscaler and factor: rows by the leading distortion, and what can be said about the first."""
    found = []
    lead = order[0]
    ranks = tables["ranks"][tables["ranks"].distortion == lead].set_index(["upscaler", "factor", "downscaler"])
    for (upscaler, factor), group in tables["ida_rd"].groupby(["upscaler", "factor"], sort=False):
        values = group.set_index(["downscaler", "distortion"]).to_dict("index")
        leading = group[group.distortion == lead].sort_values(
            ["mean", "downscaler"], ascending=[distortions[lead]["better"] == "lower", True]
        )
        best = {n: _best(group[group.distortion == n], distortions[n]["better"]) for n in order}
        low, high = float(leading.ci_low.min()), float(leading.ci_high.max())
        span = high - low or 1.0
        rows = []
        for name in leading.downscaler:
            first = values[name, lead]
            rows.append(
                {
                    **first,
                    "downscaler": name,
                    "rank": float(ranks.mean_rank[upscaler, factor, name]),
                    "values": [{**values[name, n], "name": n, "best": best[n] == name} for n in order],
                    "bar": [100 * (first[key] - low) / span for key in ("ci_low", "mean", "ci_high")],
                }
            )
        found.append(
            {
                "upscaler": upscaler,
                "factor": factor,
                "marks": group.marks.fillna("").iloc[0],
                "rows": rows,
                "verdict": _verdict(_of(tables["differences"], upscaler, factor, lead), rows, level),
            }
        )
    return found


def _of(table: pd.DataFrame, upscaler: str, factor: int, distortion: str) -> pd.DataFrame:
    return table[(table.upscaler == upscaler) & (table.factor == factor) & (table.distortion == distortion)]


def _verdict(differences: pd.DataFrame, rows: list[dict[str, Any]], level: float) -> dict[str, list[str]]:
    """Which downscalers the first differs significantly from, and which it does not."""
    first = rows[0]["downscaler"]
    p = {
        other: float(row.p_holm)
        for row in differences.itertuples()
        for one, other in ((row.loses_less, row.loses_more), (row.loses_more, row.loses_less))
        if one == first
    }
    others = [row["downscaler"] for row in rows[1:]]
    apart = [name for name in others if p.get(name, 1.0) < level]
    return {"apart": apart, "not": [name for name in others if name not in apart]}


def _best(rows: pd.DataFrame, better: str) -> str:
    return str(rows.sort_values(["mean", "downscaler"], ascending=[better == "lower", True]).downscaler.iloc[0])


def _browser(project: Project, recipe: dict[str, Any], images: pd.DataFrame, target: Path) -> dict[str, Any]:
    """Copy the images to look at, named by number; say which is what, and its distances."""
    lead = recipe["distortion_order"][0]
    wide = images.pivot_table(lead, "image_id", "downscaler", aggfunc="mean")
    shown = telling_images(wide, recipe["browse"])
    branches = []
    pictures = target / "images"
    for i, image_id in enumerate(shown):
        _copy(project.hr / f"{image_id}.png", pictures / f"{i}" / "hr.png")
    for number, record in enumerate(recipe["branches"]):
        branch = Branch.of(record)
        rows = read_table(project.rows_of(branch), hint="run `dvc repro distort`")
        entry: dict[str, Any] = {**asdict(branch), "values": {}}
        for i, image_id in enumerate(shown):
            lr = project.lr_of(branch.downscaler, branch.factor) / f"{image_id}.png"
            _copy(lr, pictures / f"{i}" / f"{number}-lr.png")
            mine = rows[(rows.image_id == image_id) & (rows["sample"] < SHOWN_SAMPLES) & rows.finite]
            for row in mine.to_dict("records"):
                k = int(row["sample"])
                _copy(project.sr_of(branch) / image_id / f"{k}.webp", pictures / f"{i}" / f"{number}-{k}.webp")
                entry["values"].setdefault(str(i), {})[str(k)] = [row[name] for name in recipe["distortion_order"]]
        branches.append(entry)
    labels = [recipe["distortions"][name]["label"] for name in recipe["distortion_order"]]
    return {"images": shown, "branches": branches, "labels": labels}


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise UserError(f"{source} does not exist: run `dvc repro`")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _models(upscalers: dict[str, Any]) -> list[str]:
    """What the upscalers are, in words: kind, marks, precision, terms."""
    found = []
    for path, entry in upscalers.items():
        factor, name = path.split("/")
        words = [entry["kind"], *entry["marks"], entry["precision"], entry["licence"]]
        found.append(f"{name}, {factor}: {'; '.join(words)}")
    return found


def _recipes(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    methods = provenance["methods"]
    return [r for r in methods.values() if "weights" in r] + list(methods["distort"]["distortions"].values())


def software(environments: dict[str, Any]) -> dict[str, str]:
    """Versions and devices of all branches, each named once."""
    found: dict[str, set[str]] = {}
    for stages in environments.values():
        for record in stages.values():
            for key, value in record.items():
                found.setdefault(key, set()).add(str(value))
    return {key: ", ".join(sorted(values)) for key, values in sorted(found.items())}

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
from ida_rd.core.amounts import amounts_note
from ida_rd.core.errors import UserError
from ida_rd.core.files import write_text
from ida_rd.core.own import own_cells, own_notes
from ida_rd.core.pairs import baseline_of, disagreements
from ida_rd.core.project import Branch, Project
from ida_rd.core.readers import read_json
from ida_rd.core.tables import read_table
from ida_rd.report.figures import SHOWN_SAMPLES, telling_images
from ida_rd.report.matched import away_from_home, matched_parts
from ida_rd.report.summary import cells
from ida_rd.report.words import about, captions, percent, warning

__all__ = ["group_counts", "software", "write_page"]

TEMPLATES = Path(__file__).with_name("templates")
DOWNLOADS = ("ida_rd.csv", "images.csv", "differences.csv", "ranks.csv", "agreement.csv", "variance.csv")
UNASKED = {"deterministic", "not blind", "matched"}  # marks of what IDA-RD does not ask for


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
    downloads = [
        *DOWNLOADS,
        *(f"{name}.csv" for name in ("surprise", "matched", "own_columns", "amounts") if name in tables),
    ]
    for name in downloads:
        shutil.copyfile(project.tables / name, target / name)
    for name in ("provenance.json", "balance.csv"):
        shutil.copyfile(project.metrics / name, target / name)
    provenance = read_json(project.metrics / "provenance.json", hint="run `dvc repro aggregate`")
    distortions, order = recipe["distortions"], recipe["distortion_order"]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "number": typeset.number,
        "interval": _interval,
        "p": typeset.p_value,
        "share": typeset.share,
        "effect": lambda value: "" if pd.isna(value) else f"{value:.2f}",
    }
    confidence, scores, pairs = recipe["confidence"], tables["ida_rd"], tables["differences"]
    level, lead = 1 - confidence, order[0]
    baseline = baseline_of(tables["ranks"], lead)
    said = captions(scores, confidence, baseline)
    skipped = dict(provenance["skipped"])
    primary = recipe["primary"]
    ladder = recipe.get("amounts", {}).get("ladder", [])
    page = environment.get_template("page.html").render(
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        cells=cells(tables, distortions, order, baseline, level, end=ladder[-1][1] if ladder else None),
        amounts=_amounts_note(tables, confidence, bool(ladder)),
        blurs=bool(ladder),
        baseline=baseline,
        distortions=[{"name": name, **distortions[name]} for name in order],
        lead=distortions[lead],
        differences=pairs[pairs.distortion == lead].to_dict("records"),
        disagreements=disagreements(pairs, order, level),
        labels={name: distortions[name]["label"] for name in order},
        level=level,
        confidence=percent(confidence),
        few=warning(scores, confidence),
        about=about(scores, confidence),
        parts=scores.variance.notna().any(),
        failures=scores.mean_with_failures.notna().any(),
        figures=[(s, said[s]) for s in figures if s in said],
        sheets=[s for s in figures if s.startswith("contact_sheet")],
        browser=_browser(project, recipe, tables["images"], target),
        missing=(primary, skipped.pop(primary)) if primary in skipped else None,
        skipped=skipped,
        balance=read_json(project.metrics / "balance.json", hint="run `dvc repro balance`"),
        counts=group_counts(tables["balance"]),
        provenance=provenance,
        downloads=downloads,
        families=_families(tables, recipe, lead),
        home={(u, f): away_from_home(tables.get("surprise"), u, f) for u, f in _upscalers(scores)},
        own=own_cells(tables["own_columns"], recipe["upscalers"]) if "own_columns" in tables else None,
        own_notes=own_notes(recipe["upscalers"]),
        software=software(provenance["environments"]),
        models=_models(recipe["upscalers"]),
        asked=not any(set(entry["marks"]) & UNASKED for entry in recipe["upscalers"].values()),
        parameters=yaml.safe_dump(recipe["parameters"], sort_keys=False, allow_unicode=True),
        weights={key: value for r in _recipes(provenance) for key, value in r.get("weights", {}).items()},
    )
    write_text(target / "index.html", page)


def _upscalers(scores: pd.DataFrame) -> list[tuple[str, int]]:
    return list(dict.fromkeys(zip(scores.upscaler, scores.factor, strict=True)))


def _amounts_note(tables: dict[str, pd.DataFrame], confidence: float, ladder: bool) -> str:
    """What it means that a score amounts to something; empty where nothing is said."""
    if "amounts" not in tables:
        return ""
    return amounts_note(percent(confidence), ladder=ladder)


def _families(tables: dict[str, pd.DataFrame], recipe: dict[str, Any], lead: str) -> list[dict[str, Any]]:
    if "matched" not in tables:
        return []
    table = tables["matched"]
    return matched_parts(table[table.distortion == lead], recipe["matched"], recipe["distortions"][lead]["better"])


def _interval(row: dict[str, Any], value: str, low: str, high: str) -> tuple[str, str]:
    """A row's value and its interval, as text; the second is empty where there is none."""
    first, _, ends = typeset.interval(row[value], row[low], row[high]).partition(" ")
    return first, ends


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

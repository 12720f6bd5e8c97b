"""From rows to scores: files in, files out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ida_rd.aggregate.matched import matched_table
from ida_rd.aggregate.matched_text import matched_markdown
from ida_rd.aggregate.own import own_rows, write_own_tables
from ida_rd.aggregate.rate import rates
from ida_rd.aggregate.results import (
    Results,
    aggregate,
    environments_in,
    photographs_in,
    provenance,
    rows_in,
    without_structure,
)
from ida_rd.aggregate.statistics import Photographs
from ida_rd.aggregate.surprise import write_surprise_tables
from ida_rd.aggregate.write import write_tables
from ida_rd.core.files import atomic_folder, sha256_file, write_json, write_text
from ida_rd.core.project import Project
from ida_rd.core.readers import read_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table

__all__ = ["write_results"]


def write_results(project: Project) -> Results:
    """Write ``metrics/ida_rd.json``, ``metrics/provenance.json`` and ``metrics/tables/``; return what is in them."""
    recipe = read_recipe(project, "aggregate")
    manifest = read_table(project.subset, hint="run `dvc repro balance`")
    photographs, flat = photographs_in(manifest), without_structure(manifest)
    branches = list(dict.fromkeys((b["downscaler"], b["factor"]) for b in recipe["branches"]))
    found = rates(project.lr, branches, list(photographs))
    results = aggregate(recipe, photographs, rows_in(project.distortion), found, flat)
    with atomic_folder(project.tables) as folder:
        write_tables(folder, recipe, results)
        _write_decoders(project, folder, recipe, results, photographs)
    environments = environments_in(project.distortion, recipe)
    read = read_json(project.surprise.with_suffix(".json"), hint="run `dvc repro surprise`")
    told = provenance(recipe, sha256_file(project.subset), environments) | ({"surprise": read} if read else {})
    write_json(project.metrics / "provenance.json", told)
    write_json(project.metrics / "ida_rd.json", results.metrics())
    return results


def _write_decoders(
    project: Project, folder: Path, recipe: dict[str, Any], results: Results, photographs: Photographs
) -> None:
    """Write what is said of the decoders: how far from home they are, what they say of their own samples, and what the
    adapted ones find again.
    """
    confidence, lead = recipe["confidence"], recipe["distortion_order"][0]
    rows = read_table(project.surprise, hint="run `dvc repro surprise`")
    write_surprise_tables(folder, rows, photographs, recipe)
    write_own_tables(folder, own_rows(project.sr, recipe), photographs, recipe)
    if families := recipe.get("matched"):
        matched = matched_table(results.images, results.scores, photographs, recipe)
        write_table(folder / "matched.csv", matched)
        text = matched_markdown(matched, families, lead, recipe["distortions"][lead], confidence)
        write_text(folder / "matched.md", text)

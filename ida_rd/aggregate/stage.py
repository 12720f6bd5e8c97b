"""From rows to scores: files in, files out."""

from __future__ import annotations

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
from ida_rd.aggregate.write import write_tables
from ida_rd.core.files import atomic_folder, sha256_file, write_json
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table

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
    environments = environments_in(project.distortion, recipe)
    write_json(project.metrics / "provenance.json", provenance(recipe, sha256_file(project.subset), environments))
    write_json(project.metrics / "ida_rd.json", results.metrics())
    return results

"""From rows to scores: files in, files out."""

from __future__ import annotations

from ida_rd.aggregate.rate import rates
from ida_rd.aggregate.results import Results, aggregate, provenance
from ida_rd.aggregate.write import write_tables
from ida_rd.core.files import atomic_folder, write_json
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table

__all__ = ["write_results"]


def write_results(project: Project) -> Results:
    """Write ``metrics/ida_rd.json``, ``metrics/provenance.json`` and ``metrics/tables/``; return what is in them."""
    recipe = read_recipe(project, "aggregate")
    images = list(read_table(project.subset, hint="run `dvc repro balance`").image_id)
    branches = list(dict.fromkeys((b["downscaler"], b["factor"]) for b in recipe["branches"]))
    results = aggregate(recipe, images, project.distortion, rates(project.lr, branches, images))
    with atomic_folder(project.tables) as folder:
        write_tables(folder, recipe, results)
    write_json(project.metrics / "provenance.json", provenance(recipe, project.subset, project.distortion))
    write_json(project.metrics / "ida_rd.json", results.metrics())
    return results

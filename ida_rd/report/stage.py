"""Figures and page of a run: files in, files out."""

from __future__ import annotations

from ida_rd.core.amounts import rungs_of
from ida_rd.core.files import atomic_folder
from ida_rd.core.project import Project
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table
from ida_rd.report.draw import draw
from ida_rd.report.page import write_page
from ida_rd.report.times import write_times

__all__ = ["write_report"]

TABLES = ("ida_rd", "images", "differences", "ranks")


def write_report(project: Project) -> None:
    """Write ``metrics/plots/`` and ``metrics/report/``, and outside them, for the page, where the time went."""
    recipe = read_recipe(project, "report")
    tables = {name: read_table(project.tables / f"{name}.csv", hint="run `dvc repro aggregate`") for name in TABLES}
    # What is said of decoders is there where any has a likelihood, is adapted, or has columns of its own; what scores
    # amount to, where there is anything to hold them against.
    told = {name: project.tables / f"{name}.csv" for name in ("surprise", "matched", "own_columns", "amounts")}
    tables |= {
        name: read_table(path, hint="run `dvc repro aggregate`") for name, path in told.items() if path.is_file()
    }
    rungs = rungs_of(recipe)
    tables = {
        name: table[~table.downscaler.isin(rungs)] if "downscaler" in table else table for name, table in tables.items()
    }
    tables["balance"] = read_table(project.metrics / "balance.csv", hint="run `dvc repro balance`")
    with atomic_folder(project.plots) as folder:
        figures = draw(project, recipe, tables, folder)
    with atomic_folder(project.page) as folder:
        write_page(project, recipe, tables, figures, folder)
    write_times(project)

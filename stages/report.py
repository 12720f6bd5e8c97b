"""``python stages/report.py``: write ``metrics/plots/`` and ``metrics/report/``."""

from pathlib import Path

from ida_rd.core.errors import run_stage
from ida_rd.core.files import atomic_folder
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table
from ida_rd.report.page import write_page
from ida_rd.report.stage import draw


def main() -> None:
    recipe = read_recipe("report")
    names = ("ida_rd", "images", "differences", "ranks")
    tables = {name: read_table(f"metrics/tables/{name}.csv", hint="run `dvc repro aggregate`") for name in names}
    tables["balance"] = read_table("metrics/balance.csv", hint="run `dvc repro balance`")
    plots = Path("metrics/plots")
    with atomic_folder(plots) as folder:
        figures = draw(recipe, tables, folder)
    with atomic_folder("metrics/report") as folder:
        write_page(recipe, tables, plots, figures, folder)


if __name__ == "__main__":
    run_stage(main)

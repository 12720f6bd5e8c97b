"""``python -m stages.report``: write ``metrics/plots/`` and ``metrics/report/``."""

from pathlib import Path

from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.core.tables import read_table
from stages.report.page import write_page
from stages.report.stage import draw


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

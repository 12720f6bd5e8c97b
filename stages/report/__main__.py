"""``python -m stages.report``: write ``metrics/plots/`` and ``metrics/report/``."""

from pathlib import Path

from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.core.tables import read_table
from stages.report.stage import draw, write_page


def main() -> None:
    recipe = read_recipe("report")
    distortions = recipe["distortions"]
    table = read_table("metrics/tables/ida_rd.csv", hint="run `dvc repro aggregate`")
    plots = Path("metrics/plots")
    with atomic_folder(plots) as folder:
        sheets = draw(recipe, table, distortions, folder)
    with atomic_folder("metrics/report") as folder:
        write_page(recipe, table, distortions, plots, sheets, folder)


if __name__ == "__main__":
    run_stage(main)

"""``python -m stages.report``: write ``metrics/plots/`` and ``metrics/report/``."""

from pathlib import Path

import pandas as pd

from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.report.stage import draw, write_page


def main() -> None:
    recipe = read_recipe("report")
    distortions = read_recipe("aggregate")["distortions"]
    table = pd.read_csv("metrics/tables/ida_rd.csv")
    plots = Path("metrics/plots")
    with atomic_folder(plots) as folder:
        sheets = draw(recipe, table, distortions, folder)
    with atomic_folder("metrics/report") as folder:
        write_page(recipe, table, distortions, plots, sheets, folder)


if __name__ == "__main__":
    run_stage(main)

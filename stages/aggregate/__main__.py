"""``python -m stages.aggregate``: write ``metrics/ida_rd.json``, ``metrics/provenance.json``, ``metrics/tables/``."""

from pathlib import Path

from stages.aggregate.stage import aggregate, provenance
from stages.aggregate.tables import long_table, markdown_table
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.recipes import read_recipe
from stages.core.tables import read_table, write_table


def main() -> None:
    recipe = read_recipe("aggregate")
    subset_path, rows = Path("data/subset.csv"), Path("data/distortion")
    metrics, results = aggregate(recipe, read_table(subset_path, hint="run `dvc repro balance`"), rows)
    table = long_table(results)
    text = markdown_table(
        table, recipe["distortions"], recipe["distortion_order"], recipe["skipped"], recipe["confidence"]
    )
    with atomic_folder("metrics/tables") as folder:
        write_table(folder / "ida_rd.csv", table)
        write_text(folder / "ida_rd.md", text)
    write_json("metrics/provenance.json", provenance(recipe, subset_path, rows))
    write_json("metrics/ida_rd.json", metrics)


if __name__ == "__main__":
    run_stage(main)

"""``python -m stages.aggregate``: write ``metrics/ida_rd.json``, ``metrics/provenance.json``, ``metrics/tables/``."""

from pathlib import Path

import pandas as pd

from stages.aggregate.stage import aggregate, provenance
from stages.aggregate.tables import long_table, markdown_table
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.recipes import read_recipe


def main() -> None:
    recipe = read_recipe("aggregate")
    subset_path, rows = Path("data/subset.csv"), Path("data/distortion")
    metrics, results = aggregate(recipe, pd.read_csv(subset_path, dtype={"image_id": str}), rows)
    table = long_table(results)
    text = markdown_table(
        table, recipe["distortions"], recipe["distortion_order"], recipe["skipped"], recipe["confidence"]
    )
    with atomic_folder("metrics/tables") as folder:
        write_text(folder / "ida_rd.csv", table.to_csv(index=False, lineterminator="\n"))
        write_text(folder / "ida_rd.md", text)
    write_json("metrics/provenance.json", provenance(recipe, subset_path, rows))
    write_json("metrics/ida_rd.json", metrics)


if __name__ == "__main__":
    run_stage(main)

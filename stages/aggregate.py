"""``python stages/aggregate.py``: write ``metrics/ida_rd.json``, ``metrics/provenance.json``, ``metrics/tables/``."""

from pathlib import Path

from ida_rd.aggregate.rate import rates
from ida_rd.aggregate.stage import aggregate, provenance
from ida_rd.aggregate.write import write_tables
from ida_rd.core.errors import run_stage
from ida_rd.core.files import atomic_folder, write_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table


def main() -> None:
    recipe = read_recipe("aggregate")
    subset, rows = Path("data/subset.csv"), Path("data/distortion")
    images = list(read_table(subset, hint="run `dvc repro balance`").image_id)
    branches = list(dict.fromkeys((b["downscaler"], b["factor"]) for b in recipe["branches"]))
    results = aggregate(recipe, images, rows, rates(Path("data/lr"), branches, images))
    with atomic_folder("metrics/tables") as folder:
        write_tables(folder, recipe, results)
    write_json("metrics/provenance.json", provenance(recipe, subset, rows))
    write_json("metrics/ida_rd.json", results.metrics())


if __name__ == "__main__":
    run_stage(main)

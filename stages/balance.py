"""``python stages/balance.py``: write ``data/hr/``, ``data/subset.csv``, ``metrics/balance.json`` and ``.csv``."""

from ida_rd.balance.stage import select, write_subset
from ida_rd.core.errors import run_stage
from ida_rd.core.files import atomic_folder, write_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import read_table, write_table


def main() -> None:
    recipe = read_recipe("balance")
    table = read_table("data/attributes.csv", hint="run `dvc repro attributes`")
    found = select(table, recipe)
    with atomic_folder("data/hr") as target:
        manifest = write_subset(found.subset, recipe["images"], target)
        # Inside: where these cannot be written, no images appear either.
        write_table("data/subset.csv", manifest)
        write_table("metrics/balance.csv", found.groups)
        write_json("metrics/balance.json", found.metrics)


if __name__ == "__main__":
    run_stage(main)

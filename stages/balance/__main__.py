"""``python -m stages.balance``: write ``data/hr/``, ``data/subset.csv``, ``metrics/balance.json`` and ``.csv``."""

from stages.balance.stage import select, write_subset
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json
from stages.core.recipes import read_recipe
from stages.core.tables import read_table, write_table


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

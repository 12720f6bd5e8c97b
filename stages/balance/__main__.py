"""``python -m stages.balance``: write ``data/hr/``, ``data/subset.csv`` and ``metrics/balance.json``."""

from stages.balance.stage import select, write_subset
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json
from stages.core.recipes import read_recipe
from stages.core.tables import read_table, write_table


def main() -> None:
    recipe = read_recipe("balance")
    table = read_table("data/attributes.csv", hint="run `dvc repro attributes`")
    subset, balance = select(table, recipe["groups"], recipe["size"], recipe["seed"])
    with atomic_folder("data/hr") as target:
        manifest = write_subset(subset, recipe["images"].get("path"), target)
        # Inside: where these cannot be written, no images appear either.
        write_table("data/subset.csv", manifest)
        write_json("metrics/balance.json", balance)


if __name__ == "__main__":
    run_stage(main)

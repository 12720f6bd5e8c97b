"""``python -m stages.balance``: write ``data/hr/``, ``data/subset.csv`` and ``metrics/balance.json``."""

from pathlib import Path

import pandas as pd

from stages.balance.stage import select, write_subset
from stages.core.errors import run_stage
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.recipes import read_recipe


def main() -> None:
    recipe = read_recipe("balance")
    table = pd.read_csv("data/attributes.csv", dtype={"image_id": str, "file": str})
    subset, balance = select(table, recipe["groups"], recipe["size"], recipe["seed"])
    with atomic_folder("data/hr") as target:
        manifest = write_subset(subset, recipe["images"].get("path"), target)
        # Inside: where these cannot be written, no images appear either.
        write_text(Path("data/subset.csv"), manifest.to_csv(index=False, lineterminator="\n"))
        write_json("metrics/balance.json", balance)


if __name__ == "__main__":
    run_stage(main)

"""``python -m stages.attributes``: write ``data/attributes.csv``."""

from stages.attributes.stage import attribute_table
from stages.core.errors import run_stage
from stages.core.recipes import read_recipe
from stages.core.tables import write_table


def main() -> None:
    table = attribute_table(read_recipe("attributes"))
    write_table("data/attributes.csv", table)


if __name__ == "__main__":
    run_stage(main)

"""``python stages/attributes.py``: write ``data/attributes.csv``."""

from ida_rd.attributes.stage import attribute_table
from ida_rd.core.errors import run_stage
from ida_rd.core.recipes import read_recipe
from ida_rd.core.tables import write_table


def main() -> None:
    table = attribute_table(read_recipe("attributes"))
    write_table("data/attributes.csv", table)


if __name__ == "__main__":
    run_stage(main)

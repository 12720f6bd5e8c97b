"""``python -m stages.attributes``: write ``data/attributes.csv``."""

from pathlib import Path

from stages.attributes.stage import attribute_table
from stages.core.errors import run_stage
from stages.core.files import write_text
from stages.core.recipes import read_recipe


def main() -> None:
    table = attribute_table(read_recipe("attributes"))
    write_text(Path("data/attributes.csv"), table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    run_stage(main)

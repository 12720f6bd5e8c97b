"""``python -m stages.downscale NAME FACTOR``: write ``data/lr/x<factor>/<name>/``."""

import argparse
from pathlib import Path

from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.downscale.stage import downscale_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.downscale", description=__doc__)
    for name in ("downscaler", "factor"):
        parser.add_argument(name)
    name, factor = vars(parser.parse_args()).values()
    recipe = read_recipe("downscale", f"x{factor}", name)
    with atomic_folder(Path("data/lr") / f"x{factor}" / name) as target:
        downscale_folder(recipe, Path("data/hr"), target)


if __name__ == "__main__":
    run_stage(main)

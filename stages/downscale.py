"""``python stages/downscale.py NAME FACTOR``: write ``data/lr/x<factor>/<name>/``."""

from pathlib import Path

from ida_rd.core.arguments import arguments
from ida_rd.core.errors import run_stage
from ida_rd.core.files import atomic_folder
from ida_rd.core.recipes import read_recipe
from ida_rd.downscale.stage import downscale_folder


def main() -> None:
    name, factor = arguments("downscale", __doc__, "name", "factor")
    recipe = read_recipe("downscale", f"x{factor}", name)
    with atomic_folder(Path("data/lr") / f"x{factor}" / name) as target:
        downscale_folder(recipe, Path("data/hr"), target)


if __name__ == "__main__":
    run_stage(main)

"""``python -m stages.downscale NAME FACTOR``: write ``data/lr/x<factor>/<name>/``."""

from pathlib import Path

from stages.core.arguments import arguments
from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.downscale.stage import downscale_folder


def main() -> None:
    name, factor = arguments("stages.downscale", __doc__, "name", "factor")
    recipe = read_recipe("downscale", f"x{factor}", name)
    with atomic_folder(Path("data/lr") / f"x{factor}" / name) as target:
        downscale_folder(recipe, Path("data/hr"), target)


if __name__ == "__main__":
    run_stage(main)

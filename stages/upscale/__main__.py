"""``python -m stages.upscale NAME FACTOR DOWNSCALER``: write ``data/sr/<name>/x<factor>/<downscaler>/``."""

from pathlib import Path

from stages.core.arguments import arguments
from stages.core.errors import run_stage
from stages.core.recipes import read_recipe
from stages.upscale.stage import upscale_folder


def main() -> None:
    name, factor, downscaler = arguments("stages.upscale", __doc__, "name", "factor", "downscaler")
    recipe = read_recipe("upscale", f"x{factor}", name)
    lr = Path("data/lr") / f"x{factor}" / downscaler
    upscale_folder(recipe, lr, Path("data/sr") / name / f"x{factor}" / downscaler)


if __name__ == "__main__":
    run_stage(main)

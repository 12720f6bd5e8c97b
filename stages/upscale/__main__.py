"""``python -m stages.upscale NAME FACTOR DOWNSCALER``: write ``data/sr/<name>/x<factor>/<downscaler>/``."""

from pathlib import Path

from stages.core.arguments import arguments
from stages.core.errors import run_stage
from stages.core.files import atomic_folder
from stages.core.recipes import read_recipe
from stages.core.software import skip_note, write_skip_note
from stages.upscale.stage import upscale_folder


def main() -> None:
    name, factor, downscaler = arguments("stages.upscale", __doc__, "name", "factor", "downscaler")
    recipe = read_recipe("upscale", f"x{factor}", name)
    lr = Path("data/lr") / f"x{factor}" / downscaler
    target = Path("data/sr") / name / f"x{factor}" / downscaler
    if reason := skip_note(lr):
        print(f"upscale {name} x{factor} {downscaler}: skipped, {reason}", flush=True)
        with atomic_folder(target) as folder:
            write_skip_note(folder, reason)
        return
    upscale_folder(recipe, lr, target)


if __name__ == "__main__":
    run_stage(main)

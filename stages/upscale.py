"""``python stages/upscale.py NAME FACTOR DOWNSCALER``: write ``data/sr/<name>/x<factor>/<downscaler>/``."""

from pathlib import Path

from ida_rd.core.arguments import arguments
from ida_rd.core.errors import run_stage
from ida_rd.core.files import atomic_folder
from ida_rd.core.recipes import read_recipe
from ida_rd.core.software import skip_note, write_skip_note
from ida_rd.upscale.stage import upscale_folder


def main() -> None:
    name, factor, downscaler = arguments("upscale", __doc__, "name", "factor", "downscaler")
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

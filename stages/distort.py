"""``python stages/distort.py UPSCALER FACTOR DOWNSCALER``: write its rows below ``data/distortion/``."""

from pathlib import Path

import pandas as pd

from ida_rd.core.arguments import arguments
from ida_rd.core.errors import run_stage
from ida_rd.core.files import read_json, write_json
from ida_rd.core.recipes import read_recipe
from ida_rd.core.software import skip_note
from ida_rd.core.tables import write_table
from ida_rd.distort.stage import ROW, distort_folder
from ida_rd.engine.device import device_name
from ida_rd.engine.environment import environment

PACKAGES = ("lpips", "numpy", "pillow", "piq", "torch", "torchvision")


def main() -> None:
    upscaler, factor, downscaler = arguments("distort", __doc__, "upscaler", "factor", "downscaler")
    branch = Path(upscaler) / f"x{factor}" / downscaler
    out = Path("data/distortion")
    if reason := skip_note(Path("data/sr") / branch):
        print(f"distort {branch}: skipped, {reason}", flush=True)
        write_table(out / f"{branch}.csv", pd.DataFrame(columns=ROW))
        write_json(out / f"{branch}.json", {"skipped": reason})
        return
    table = distort_folder(read_recipe("distort"), Path("data/hr"), Path("data/sr") / branch)
    write_table(out / f"{branch}.csv", table)
    sampled = read_json(Path("data/sr") / branch / "environment.json", hint="run `dvc repro upscale`")
    measured = environment(device_name(), PACKAGES)
    write_json(out / f"{branch}.json", {"upscale": sampled, "distort": measured})


if __name__ == "__main__":
    run_stage(main)

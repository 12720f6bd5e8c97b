"""``python -m stages.distort UPSCALER FACTOR DOWNSCALER``: write its rows below ``data/distortion/``."""

from pathlib import Path

import pandas as pd

from stages.core.arguments import arguments
from stages.core.engine import device_name
from stages.core.environment import environment
from stages.core.errors import run_stage
from stages.core.files import read_json, write_json
from stages.core.recipes import read_recipe
from stages.core.software import skip_note
from stages.core.tables import write_table
from stages.distort.stage import ROW, distort_folder

PACKAGES = ("lpips", "numpy", "pillow", "piq", "torch", "torchvision")


def main() -> None:
    upscaler, factor, downscaler = arguments("stages.distort", __doc__, "upscaler", "factor", "downscaler")
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

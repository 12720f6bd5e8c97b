"""``python stages/plan.py``: check ``params.yaml`` and write ``data/plan/``.

With ``--check`` nothing is written: exit code 3 says that the recipes on disk are out of date, for
instance because weights arrived, an image folder changed, or a program of your own did. DVC sees
only the repository; `make repro` asks this first.
"""

import argparse
from pathlib import Path

from ida_rd.core.errors import run_stage
from ida_rd.core.recipes import PLAN
from ida_rd.plan.stage import make_recipes, read_parameters, same_on_disk, write_recipes

STALE = 3
ROOT = Path(__file__).resolve().parent.parent  # of the code; data and params.yaml are where this is run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python stages/plan.py", description="Check params.yaml, write the recipes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 3: out of date")
    check = parser.parse_args().check
    recipes = make_recipes(read_parameters(Path("params.yaml")), ROOT, download=not check)
    if check:
        if not same_on_disk(recipes, PLAN):
            raise SystemExit(STALE)
        return
    write_recipes(recipes, PLAN)


if __name__ == "__main__":
    run_stage(main)

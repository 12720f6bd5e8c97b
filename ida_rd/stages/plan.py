"""Check ``params.yaml`` and write ``data/plan/``: ``python stages/plan.py``, or ``python -m ida_rd.stages.plan``.

With ``--check`` no recipe is written: exit code 3 says that those on disk are out of date, for
instance because weights arrived, an image folder changed, or a program of your own did. DVC sees
only the repository; `make repro` runs this check first. A ``dvc.lock`` that a kill cut off, which
DVC would refuse, is mended.
"""

import argparse
import sys

from ida_rd.core.arguments import called
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage
from ida_rd.plan.dvc_lock import mend
from ida_rd.plan.stage import make_recipes, read_parameters, same_on_disk, write_plan

STALE = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog=called("plan"), description="Check params.yaml, write the recipes.")
    parser.add_argument("--check", action="store_true", help="write no recipe; exit code 3: out of date")
    check = parser.parse_args().check
    if not check:
        with working(Project()) as project:
            write_plan(project)
        return
    project = Project()
    if said := mend(project.root / "dvc.lock"):
        print(f"plan: {said}", file=sys.stderr)
    if not same_on_disk(make_recipes(read_parameters(project.parameters), download=False), project.plan):
        raise SystemExit(STALE)


def run() -> None:
    run_stage(main)


if __name__ == "__main__":
    run()

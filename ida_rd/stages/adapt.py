"""Adapt an upscaler's weights to a downscaler: write ``data/adapt/x<factor>/<upscaler>/<downscaler>.*``."""

from ida_rd.adapt.stage import write_adapted
from ida_rd.core.arguments import branch_argument
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of


def main() -> None:
    branch = branch_argument("adapt", __doc__)
    with working(Project()) as project:
        write_adapted(project, branch, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

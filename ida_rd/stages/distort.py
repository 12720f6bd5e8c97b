"""Distances of a branch's reconstructions from the originals: write ``data/distortion/<branch>``."""

from ida_rd.core.arguments import branch_argument
from ida_rd.core.project import Project
from ida_rd.distort.stage import write_distances
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of


def main() -> None:
    branch = branch_argument("distort", __doc__)
    with working(Project()) as project:
        write_distances(project, branch, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

"""K reconstructions of every LR image of a branch: write ``data/sr/<upscaler>/x<factor>/<downscaler>/``."""

from ida_rd.core.arguments import branch_argument
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of
from ida_rd.upscale.stage import write_sr


def main() -> None:
    branch = branch_argument("upscale", __doc__)
    with working(Project()) as project:
        write_sr(project, branch, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

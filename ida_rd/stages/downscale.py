"""HR to LR images, by one downscaler and factor: write ``data/lr/x<factor>/<name>/``."""

from ida_rd.core.arguments import arguments
from ida_rd.core.project import Project
from ida_rd.downscale.stage import write_lr
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of


def main() -> None:
    name, factor = arguments("downscale", __doc__, "name", "factor")
    with working(Project()) as project:
        write_lr(project, name, factor, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

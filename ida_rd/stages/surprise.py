"""How far each decoder that has a likelihood is from home on each downscaler: write ``data/surprise.csv``."""

from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of
from ida_rd.surprise.stage import write_surprise


def main() -> None:
    with working(Project()) as project:
        write_surprise(project, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

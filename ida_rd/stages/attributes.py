"""Describe every candidate image: write ``data/attributes.csv``."""

from ida_rd.attributes.stage import write_attributes
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage, store_of


def main() -> None:
    with working(Project()) as project:
        write_attributes(project, store_of(project))


def run() -> None:
    run_stage(main, shares=True)


if __name__ == "__main__":
    run()

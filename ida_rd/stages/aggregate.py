"""From rows to scores: write ``metrics/ida_rd.json``, ``metrics/provenance.json`` and ``metrics/tables/``."""

from ida_rd.aggregate.stage import write_results
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage


def main() -> None:
    with working(Project()) as project:
        write_results(project)


def run() -> None:
    run_stage(main)


if __name__ == "__main__":
    run()

"""From rows to scores: write ``metrics/ida_rd.json``, ``metrics/provenance.json`` and ``metrics/tables/``."""

from ida_rd.aggregate.stage import aggregate_run
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage


def main() -> None:
    with working(Project()) as project:
        aggregate_run(project)


if __name__ == "__main__":
    run_stage(main)

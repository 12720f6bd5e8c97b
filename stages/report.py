"""Figures, contact sheets and the page: write ``metrics/plots/`` and ``metrics/report/``."""

from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage
from ida_rd.report.stage import write_report


def main() -> None:
    with working(Project()) as project:
        write_report(project)


if __name__ == "__main__":
    run_stage(main)

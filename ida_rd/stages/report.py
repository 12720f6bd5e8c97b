"""Figures, contact sheets and the page: write ``metrics/plots/`` and ``metrics/report/``."""

from ida_rd.core.project import Project
from ida_rd.core.software import needs
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage


def main() -> None:
    needs("jinja2")
    from ida_rd.report.stage import write_report

    with working(Project()) as project:
        write_report(project)


def run() -> None:
    run_stage(main)


if __name__ == "__main__":
    run()

"""Choose the test set: write ``data/hr/``, ``data/subset.csv``, ``metrics/balance.json`` and ``.csv``."""

from ida_rd.balance.stage import write_test_set
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage


def main() -> None:
    with working(Project()) as project:
        write_test_set(project)


def run() -> None:
    run_stage(main)


if __name__ == "__main__":
    run()

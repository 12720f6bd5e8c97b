"""Choose the test set: write ``data/hr/``, ``data/subset.csv``, ``metrics/balance.json`` and ``.csv``."""

from ida_rd.balance.stage import balance
from ida_rd.core.project import Project
from ida_rd.engine.lock import working
from ida_rd.engine.script import run_stage


def main() -> None:
    with working(Project()) as project:
        balance(project)


if __name__ == "__main__":
    run_stage(main)

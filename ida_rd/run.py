"""A run without DVC: ``python -m ida_rd.run`` in the folder of ``params.yaml`` does all that ``dvc repro`` does.

The same files come out, byte for byte. What DVC adds is left out: its cache of outputs, and that a stage whose recipe
and inputs are unchanged is not run at all. Units that were computed before are not computed again either way.
"""

from __future__ import annotations

import argparse

from ida_rd.core.errors import exit_with_line, printable_lines
from ida_rd.core.project import Project
from ida_rd.pipeline import run

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ida_rd.run", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--without-report", action="store_true", help="stop at the tables")
    options = parser.parse_args()
    project = Project()
    run(project, with_report=not options.without_report)
    print(printable_lines((project.tables / "ida_rd.md").read_text(encoding="utf-8")))


if __name__ == "__main__":
    exit_with_line(main)

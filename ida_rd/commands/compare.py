"""``ida-rd compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json, records
from ida_rd.core.errors import UserError, printable_lines

PLACE = 60
ABOUT = "compare this run with that of another git revision, in Markdown"
EXAMPLES = """\
examples:
  ida-rd compare main > summary.md               then put it into the pull request"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("revision", help="branch, tag or commit")
    parser.add_argument(
        "--level",
        type=float,
        help="a change is beyond noise below this corrected p (default: 1 - the run's confidence)",
    )


def run(options: argparse.Namespace) -> None:
    from ida_rd.compare import compare, comparison_markdown

    if options.level is not None and not 0 < options.level < 1:
        raise UserError(f"--level {options.level}: give a number between 0 and 1")
    found = compare(Path.cwd(), options.revision, options.level)
    if options.json:
        print_json(
            {
                "changes": records(found.changes),
                "added": found.added,
                "removed": found.removed,
                "causes": found.causes,
            }
        )
        return
    print(printable_lines(comparison_markdown(found)), end="")

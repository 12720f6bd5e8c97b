"""``ida-rd site``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json

PLACE = 84
ABOUT = "write a static site of verified bundles: a leaderboard, and a page for each"
EXAMPLES = """\
examples:
  ida-rd site bundles/* --out public

Ann ran branches again, with the HR images in hr and the LR images of mine in lr:
  ida-rd verify bundles/mine --rerun 2 --images hr --file downscalers.mine.path=lr --json \\
    > bundles/mine.rerun.ann.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folders of bundles")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet, or empty"
    )


def run(options: argparse.Namespace) -> None:
    from ida_rd.core.errors import UserError, printable
    from ida_rd.site.write import write_site

    # A shell's `bundles/*` names what lies beside them, too: who ran branches again.
    folders = [path for path in options.bundles if path.is_dir() or ".rerun." not in path.name]
    if not folders:
        raise UserError("site: no bundle was named")
    bundles, boards = write_site(folders, options.out)
    if options.json:
        found = {one.name: {"benchmark": one.benchmark, "reproduced": one.again} for one in bundles}
        print_json({"path": str(options.out), "bundles": found, "boards": [board.title for board in boards]})
        return
    print(printable(f"{options.out}: {len(bundles)} bundles on {len(boards)} boards; open {options.out}/index.html"))

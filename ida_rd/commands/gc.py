"""``ida-rd gc``."""

from __future__ import annotations

import argparse
import re
import shutil

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import UserError, printable

PLACE = 100
ABOUT = "remove the least recently used finished units, so that the others take at most a given size"
EXAMPLES = """\
examples:
  ida-rd gc --size 5GB                           in the folder of a run: `.ida-rd/store` keeps what was used last
  ida-rd gc --size 0                             removes everything; what is needed again is computed again"""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("--size", required=True, metavar="SIZE", help="what may stay, such as 500MB, 5GB or 0")


def bytes_of(text: str) -> int:
    """Bytes that a size such as ``5GB`` means; powers of ten."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"--size {text}: give a size such as 500MB, 5GB or 0")
    size = float(match[1]) * UNITS[match[2].upper()]
    if size > 2**63:
        raise UserError(f"--size {text}: give a size such as 500MB, 5GB or 0")
    return int(size)


def run(options: argparse.Namespace) -> None:
    from ida_rd.core.project import Project
    from ida_rd.engine.lock import alone
    from ida_rd.engine.script import store_of

    size = bytes_of(options.size)
    project = Project()
    if not project.state.is_dir():
        raise UserError(f"gc: {project.state.absolute()} does not exist: run this in the folder of a run")
    with alone(project, "gc"):
        if not project.state.is_symlink():
            shutil.rmtree(project.state / "journal", ignore_errors=True)  # from versions before 0.2
        found = store_of(project).collect(size)
    if options.json:
        print_json({"removed": found.removed, "freed": found.freed, "left": found.left, "size": found.size})
        return
    print(
        f"removed {found.removed} units of {found.freed / 1e6:.1f} MB;"
        f" {found.left} of {found.size / 1e6:.1f} MB are left in {printable(store_of(project).root)}"
    )

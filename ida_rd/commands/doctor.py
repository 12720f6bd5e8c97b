"""``ida-rd doctor``."""

from __future__ import annotations

import argparse

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import UserError, printable

PLACE = 50
ABOUT = "check the environment, device, cache and weights"
EXAMPLES = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)


def run(options: argparse.Namespace) -> None:
    from ida_rd.inventory import health

    rows = health()
    if options.json:
        print_json(rows)
    else:
        width = max(len(row["what"]) for row in rows)
        for row in rows:
            print(f"{row['state']:8} {row['what']:{width}}  {printable(row['detail'])}")
    if bad := [row["what"] for row in rows if row["state"] == "wrong"]:
        raise UserError(f"doctor: {', '.join(bad)}: see above")

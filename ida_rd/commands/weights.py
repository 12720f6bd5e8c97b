"""``ida-rd weights``."""

from __future__ import annotations

import argparse

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import UserError, printable

PLACE = 30
ABOUT = "fetch or verify weight files"
EXAMPLES = """\
examples:
  ida-rd weights verify                          what is here, and is it right?
  ida-rd weights fetch torchvision.alexnet       download and verify"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("action", choices=["fetch", "verify"])
    parser.add_argument("id", nargs="*", help="ids, as `ida-rd weights verify` lists them")


def run(options: argparse.Namespace) -> None:
    from ida_rd.inventory import weights

    fetch = options.action == "fetch"
    if fetch and not options.id:
        raise UserError("weights fetch: name the weights; `ida-rd weights verify` lists them")
    found = weights(options.id or None, download=fetch)
    if options.json:
        print_json(found)
    else:
        for entry in found:
            detail = entry.get("path") or entry["problem"]
            note = "" if entry["state"] != "present" or entry["checked"] else " (no published hash to compare with)"
            print(f"{entry['state']:8} {entry['id']}{note}\n         {entry['licence']}\n         {printable(detail)}")
    bad = [entry for entry in found if entry["state"] == "wrong" or (entry["state"] == "missing" and options.id)]
    if bad:
        raise UserError(f"weights {bad[0]['id']}: {bad[0]['problem']}")

"""``ida-rd weights``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import UserError, printable

PLACE = 30
ABOUT = "fetch, verify or convert weight files"
EXAMPLES = """\
examples:
  ida-rd weights verify                          what is here, and is it right?
  ida-rd weights fetch torchvision.alexnet       download and verify
  ida-rd weights convert stablesr_000117.ckpt    its tensors alone, as stablesr_000117.safetensors"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("action", choices=["fetch", "verify", "convert"])
    parser.add_argument(
        "id", nargs="*", help="ids, as `ida-rd weights verify` lists them; of convert: a file that torch.save wrote"
    )
    parser.add_argument("--out", type=Path, help="of convert: where the tensors go (beside the file, as .safetensors)")
    parser.add_argument("--key", help="of convert: the dictionary of tensors to take, such as params_ema")


def run(options: argparse.Namespace) -> None:
    if options.action == "convert":
        _convert(options)
        return
    if options.out is not None or options.key is not None:
        raise UserError(f"weights {options.action}: --out and --key are options of convert")
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


def _convert(options: argparse.Namespace) -> None:
    from ida_rd.convert import convert

    if len(options.id) != 1:
        raise UserError("weights convert: give one file")
    found = convert(Path(options.id[0]).expanduser(), options.out and options.out.expanduser(), options.key)
    if options.json:
        print_json(found)
        return
    where = "" if found["key"] is None else f" of {found['key']}"
    print(printable(f"{found['path']}: {found['tensors']:,} tensors{where}, {found['bytes']:,} bytes"))
    if found["stands_for"]:
        print(printable(f"will be taken for {', '.join(found['stands_for'])} by this user's runs"))
    if found["left_out"]:
        print(printable(f"left out: {', '.join(found['left_out'])}"))

"""``ida-rd publish``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ida_rd.commands._output import json_option, print_json

PLACE = 70
ABOUT = "write a bundle of the finished run that others can verify"
EXAMPLES = """\
examples:
  ida-rd publish my-benchmark
  ida-rd publish my-benchmark --without-images   if the images may not be shown
  ida-rd publish my-benchmark --sign ~/.ssh/id_ed25519"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument(
        "--without-images", action="store_true", help="leave out the page and everything that shows images"
    )
    parser.add_argument("--sign", type=Path, metavar="KEY", help="SSH key to sign it with, so that others see by whom")


def run(options: argparse.Namespace) -> None:
    from ida_rd.bundle.publish import publish

    key = None if options.sign is None else options.sign.expanduser()
    results = publish(Path.cwd(), options.out, images=not options.without_images, key=key)
    for name, reason in results.skipped.items():
        print(f"warning: {name} was skipped, because {reason}", file=sys.stderr)
    if results.uncommitted_changes:
        print("warning: files differ from the commit: commit them first, so that others can get them", file=sys.stderr)
    if options.json:
        print_json(
            {
                "path": str(options.out),
                "branches": len(results.branches),
                "skipped": results.skipped,
                "uncommitted_changes": results.uncommitted_changes,
                "signed": key is not None,
            }
        )
        return
    print(f"{options.out}: {len(results.branches)} branches; check it with: ida-rd verify {options.out}")

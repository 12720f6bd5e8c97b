"""``ida-rd verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json

PLACE = 80
ABOUT = "verify a published bundle"
EXAMPLES = """\
examples:
  ida-rd verify my-benchmark
  ida-rd verify my-benchmark --rerun 2 --images /where/the/HR/images/are"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--rerun", type=int, default=0, metavar="N", help="compute N random branches again from the images"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the HR images, if their folder is another one here")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice")


def run(options: argparse.Namespace) -> None:
    from ida_rd.bundle.rerun import rerun
    from ida_rd.bundle.verify import verify

    results = verify(options.bundle)
    found = rerun(options.bundle, options.rerun, seed=options.seed, images=options.images) if options.rerun else []
    if options.json:
        print_json({"branches": len(results.branches), "rerun": found})
        return
    print(f"{options.bundle}: complete; {len(results.branches)} branches, every summary follows from the rows")
    for entry in found:
        how = "same software" if entry["same_software"] else "other software or device"
        note = f"; {entry['differs']}" if entry["differs"] else ""
        size = f"largest difference {entry['largest']:.3g}, allowed {entry['tolerance']:g}"
        print(f"{entry['branch']}: run again, {size} ({how}{note})")

"""``ida-rd photos``."""

from __future__ import annotations

import argparse
from pathlib import Path

PLACE = 14
ABOUT = "write the sample photographs into a new folder, for `ida-rd assert`: reduce them with your own program"
EXAMPLES = """\
examples:
  ida-rd photos hr
  for f in hr/*.png; do my_resize "$f" 64 64 "lr/$(basename "$f")"; done
  ida-rd assert --lr mine=lr --not-worse-than lanczos"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that is not there yet")
    parser.add_argument("--ppm", action="store_true", help="as PPM, which a program reads without a library, not PNG")


def run(options: argparse.Namespace) -> None:
    from ida_rd.photos import SIDE, write_photographs

    count = write_photographs(options.folder.expanduser(), ppm=options.ppm)
    print(f"{options.folder}: {count} photographs of {SIDE} x {SIDE} pixels")

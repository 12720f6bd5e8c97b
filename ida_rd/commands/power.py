"""``ida-rd power``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json
from ida_rd.core.errors import UserError, printable_lines

PLACE = 90
ABOUT = (
    "from a finished run: how many photographs and samples does it take for two downscalers to differ significantly?"
)
EXAMPLES = """\
examples:
  ida-rd power bicubic lanczos                   after a pilot run: how many photographs does it take?
  ida-rd power dpid l0 --power 0.9 --distortion fsim"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--upscaler")
    parser.add_argument("--factor", type=int)
    parser.add_argument("--distortion")
    parser.add_argument("--power", type=float, default=0.8, help="probability of seeing the difference (0.8)")
    parser.add_argument("--level", type=float, default=0.05, help="significance level of the test (0.05)")


def run(options: argparse.Namespace) -> None:
    from ida_rd.sizing import plan_size, sizing_markdown

    for option in ("power", "level"):
        if not 0 < getattr(options, option) < 1:
            raise UserError(f"--{option} {getattr(options, option)}: give a number between 0 and 1")
    plan = plan_size(
        Path.cwd(),
        options.a,
        options.b,
        upscaler=options.upscaler,
        factor=options.factor,
        distortion=options.distortion,
        power=options.power,
        level=options.level,
    )
    print_json(plan) if options.json else print(printable_lines(sizing_markdown(plan)), end="")

"""``ida-rd assert``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands._settings import DOWNSCALER, downscaler_of, entry_of
from ida_rd.commands.score import factor_of, lr_folder
from ida_rd.core.errors import UserError, printable

PLACE = 12
ABOUT = "for CI: fail if a downscaler is worse than another by more than a margin"
EXAMPLES = """\
exit code: 0 it is not worse, 1 that is not shown, 2 something is wrong with the input

examples:
  ida-rd photos hr                                              the photographs, to reduce with your own program
  ida-rd assert --lr mine=lr --not-worse-than lanczos
  ida-rd assert --downscaler my_package.resize --not-worse-than bicubic --margin 0.02
  ida-rd assert --lr new=lr --not-worse-than old=lr_of_main --by dss --margin blur:0.1
  ida-rd assert --hr corpus --lr mine=out --not-worse-than lanczos"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("--hr", type=Path, metavar="DIR", help="folder of HR images (those of `ida-rd photos`)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--lr", metavar="[NAME=]DIR", help="your LR images, named like the HR images")
    which.add_argument(
        "--downscaler",
        metavar="NAME",
        help=f"instead of --lr: {DOWNSCALER}",
    )
    parser.add_argument(
        "--not-worse-than",
        required=True,
        metavar="NAME",
        help="the same, or [NAME=]DIR of LR images",
    )
    parser.add_argument(
        "--margin",
        metavar="M",
        help="how much more it may lose: 0.01 in the distortion's unit, or blur:0.1 in LR pixels of blur, which scores"
        " 11 downscalers more (0.01 by fsim)",
    )
    parser.add_argument("--by", default="fsim", metavar="DISTORTION", help="fsim, dss, psnr, lpips-alex, ... (fsim)")
    parser.add_argument("--level", type=float, default=0.05, help="how often what is worse may pass (0.05)")
    parser.add_argument("--factor", type=int, help="scale factor (from the sizes of --lr, else 4)")
    parser.add_argument(
        "--upscaler",
        default="flow",
        help="flow, edm, srflow, ... (flow: it is the fastest, and the power in docs/ci.md is by it), or an entry as in"
        " params.yaml: {method: ...}",
    )
    parser.add_argument("--samples", type=int, default=3, metavar="K", help="reconstructions per image (3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--photograph-before",
        metavar="TEXT",
        help="images whose names agree up to the last TEXT are tiles of one photograph",
    )


def run(options: argparse.Namespace) -> None:
    from ida_rd.asserting import not_worse, parse_margin

    parse_margin(options.margin, options.by)  # before the rest is looked at: it takes a second to load
    mine = dict(
        [lr_folder(options.lr, "--lr") if options.lr is not None else downscaler_of(options.downscaler, "--downscaler")]
    )
    reference = _reference(options.not_worse_than)
    factor = options.factor
    if factor is None:
        folders = [value for value in (*mine.values(), *reference.values()) if isinstance(value, Path)]
        factor = _factor(options.hr, folders[0]) if folders else 4
    verdict = not_worse(
        mine,
        reference,
        options.hr,
        margin=options.margin,
        by=options.by,
        level=options.level,
        factor=factor,
        upscaler=entry_of(options.upscaler, "--upscaler"),
        samples=options.samples,
        seed=options.seed,
        photograph_before=options.photograph_before,
    )
    print_json(asdict(verdict)) if options.json else print(printable(verdict))
    if not verdict.passes:
        raise SystemExit(1)


def _reference(text: str) -> dict[str, Any]:
    option = "--not-worse-than"
    if "{" not in text and ("=" in text or "/" in text or Path(text).is_dir()):
        return dict([lr_folder(text, option)])
    return dict([downscaler_of(text, option)])


def _factor(hr: Path | None, lr: Path) -> int:
    """The scale factor of LR images of the corpus, from one of them."""
    if hr is not None:
        return factor_of(hr, lr)
    from ida_rd.core.images import image_files, read_image
    from ida_rd.photos import SIDE

    for path in image_files(lr, what="--lr").values():
        height = read_image(path).shape[0]
        if SIDE % height or height == SIDE:
            raise UserError(f"{path}: is {height} high, which is no whole part of the {SIDE} of `ida-rd photos`")
        return SIDE // height
    raise UserError(f"{lr}: holds no image")

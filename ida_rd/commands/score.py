"""``ida-rd score``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json, records
from ida_rd.commands._settings import DOWNSCALER, downscaler_of, entry_of
from ida_rd.core.errors import UserError, printable_lines

PLACE = 10
ABOUT = "score LR images, or downscalers, on a folder of HR images"
EXAMPLES = """\
examples:
  ida-rd score --hr photos --lr my_lr                       how good are these LR images?
  ida-rd score --hr photos --lr mine=a --lr theirs=b        two sets, compared image by image
  ida-rd score --hr photos --downscaler dpid --downscaler nearest
  ida-rd score --hr photos --downscaler lanczos --downscaler 'magic={method: resize, backend: pyvips, filter: mks2021}'
  ida-rd score --hr photos --lr my_lr --blur-equivalent     as much as which blur?
  ida-rd score --hr photos --lr my_lr --upscaler srflow --samples 5 --distortion lpips-alex --strict
  ida-rd score --hr photos --lr my_lr --upscaler '{method: flow, path: adapted.safetensors}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="folder of HR images, at least two")
    parser.add_argument(
        "--lr",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="LR images, named like the HR images; without a NAME (a-z, 0-9, - and _), called like the folder. A folder"
        " whose own name begins like NAME= is ./NAME=...",
    )
    parser.add_argument(
        "--downscaler",
        action="append",
        metavar="NAME",
        help=f"a downscaler to score too: {DOWNSCALER} (beside --lr: bicubic, if none is named)",
    )
    parser.add_argument("--factor", type=int, help="scale factor (from the sizes of --lr, else 4)")
    parser.add_argument(
        "--upscaler",
        help="edm, flow, srflow, ... (edm for factors 4 and 8, flow for others), or an entry as in params.yaml:"
        " {method: ...}",
    )
    parser.add_argument("--samples", type=int, default=3, metavar="K", help="reconstructions per image (3)")
    parser.add_argument(
        "--distortion", action="append", metavar="NAME", help="lpips-alex, fsim, psnr, ... (these three)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--photograph-before",
        metavar="TEXT",
        help="images whose names agree up to the last TEXT (such as _s in 0001_s002.png) are tiles of one photograph",
    )
    parser.add_argument(
        "--blur-equivalent",
        action="store_true",
        help="say of each score by which Gaussian blur bicubic loses as much; scores a dozen downscalers more",
    )
    parser.add_argument("--strict", action="store_true", help="fail if weights of a distortion are missing")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write all tables to this folder, new or without them")


def run(options: argparse.Namespace) -> None:
    from ida_rd.scored import check_target
    from ida_rd.scoring import score

    if options.save:
        check_target(options.save)
    given: dict[str, Any] = {}
    for text in options.lr:
        _add(given, *lr_folder(text), "--lr")
    factor = options.factor
    if factor is None:
        factor = factor_of(options.hr, next(iter(given.values()))) if given else 4
    names = options.downscaler if options.downscaler is not None else (["bicubic"] if given else [])
    for text in names:
        _add(given, *downscaler_of(text, "--downscaler"), "--downscaler")
    if not given:
        raise UserError("score: give LR images (--lr) or downscalers (--downscaler)")
    if options.blur_equivalent:
        print(_cost(len(given)), file=sys.stderr, flush=True)
    result = score(
        given,
        options.hr,
        factor=factor,
        upscaler=None if options.upscaler is None else entry_of(options.upscaler, "--upscaler"),
        samples=options.samples,
        distortions=options.distortion or ("lpips-alex", "fsim", "psnr"),
        seed=options.seed,
        photograph_before=options.photograph_before,
        missing_weights="error" if options.strict else "skip",
        blur_equivalent=options.blur_equivalent,
    )
    if options.json:
        names = ("scores", "differences", *(["ladder"] if options.blur_equivalent else []))
        print_json({"skipped": result.skipped} | {name: records(getattr(result, name)) for name in names})
    else:
        print(printable_lines(result.markdown()))
        if len(given) > 1:
            print(printable_lines(result.differences_markdown()))
    if options.save:  # what was computed has been seen, whatever becomes of the files
        result.save(options.save)


def _cost(asked: int) -> str:
    """What blur-equivalents cost, before they do."""
    from ida_rd.amounts import anchors

    more = len(anchors(()))
    return (
        f"--blur-equivalent: {more} downscalers more than the {asked} asked for, so about {(asked + more) / asked:.0f}"
        " times the work; what is finished is kept for the next time"
    )


def lr_folder(text: str, option: str = "--lr") -> tuple[str, Path]:
    """Name and folder of ``--lr``: what stands before the first ``=`` is a name if it may be one."""
    from ida_rd.core.methods import NAME

    name, separator, folder = text.partition("=")
    named = bool(separator and NAME.fullmatch(name))
    path = Path(folder if named else text).expanduser()
    if (folder if named else text) and path.is_dir():
        return name if named else _name(path), path
    if named and Path(text).is_dir():
        raise UserError(f"{option} {text}: the folder {folder!r} does not exist; for the folder {text} write ./{text}")
    if separator and not named and Path(folder).expanduser().is_dir():
        raise UserError(f"{option} {text}: the name {name!r} must consist of a-z, 0-9, - and _")
    shown = (folder if named else text) or repr(text)
    raise UserError(f"{option} {shown}: is not a folder; give the folder of your LR images")


def _add(given: dict[str, Any], name: str, value: Any, option: str) -> None:
    if name in given:
        how = "--lr NAME=FOLDER" if option == "--lr" else "--downscaler 'NAME={method: ...}'"
        raise UserError(f"{option}: {name} is there twice; name them: {how}")
    given[name] = value


def _name(path: Path) -> str:
    from ida_rd.core.methods import NAME

    name = path.resolve().name.lower()
    return name if NAME.fullmatch(name) else "mine"


def factor_of(hr: Path, lr: Path) -> int:
    """The scale factor of two folders, from the first image that both have."""
    from ida_rd.core.images import image_files, read_image

    big, small = image_files(hr, what="--hr"), image_files(lr, what="--lr")
    common = [name for name in big if name in small]
    if not common:
        raise UserError(f"{lr}: no image has the same name as one in {hr}; LR and HR images are paired by name")
    height, width = read_image(big[common[0]]).shape[:2]
    h, w = read_image(small[common[0]]).shape[:2]
    factor = round(height / h)
    if (h * factor, w * factor) != (height, width) or factor < 2:
        raise UserError(
            f"{common[0]}: {width} x {height} is not a whole multiple of {w} x {h}; see --factor and crop the HR images"
        )
    return factor

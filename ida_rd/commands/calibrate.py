"""``ida-rd calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands._settings import settings
from ida_rd.core.errors import UserError, did_you_mean, printable_lines

PLACE = 96
ABOUT = "hold an upscaler's samples against what exact ones would show: may it be used to measure?"
EXAMPLES = """\
examples:
  ida-rd calibrate flow --hr photos                                  on bicubic LR images, into calibration-flow/
  ida-rd calibrate flow --set heat=1.1 --hr photos --out warm
  ida-rd calibrate flow --hr photos --downscaler bicubic --downscaler nearest --samples 10 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("upscaler", metavar="UPSCALER", help="flow, srflow, ...: see ida-rd list upscale")
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="folder of HR images, at least five")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the upscaler")
    parser.add_argument(
        "--downscaler",
        action="append",
        metavar="NAME",
        help="what makes the LR images: bicubic, dpid, ... (bicubic); may be given several times",
    )
    parser.add_argument("--factor", type=int, default=4, help="scale factor (4)")
    parser.add_argument("--samples", type=int, default=5, metavar="K", help="reconstructions per image, at least 3 (5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--photograph-before",
        metavar="TEXT",
        help="images whose names agree up to the last TEXT (such as _s in 0001_s002.png) are tiles of one photograph",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="new folder for the card (calibration-UPSCALER)")


def run(options: argparse.Namespace) -> None:
    from ida_rd.calibration.resampling import Settings
    from ida_rd.calibration.run import calibrate, check_new, records, write_cards
    from ida_rd.calibration.text import cards_markdown
    from ida_rd.core.methods import known_methods
    from ida_rd.scoring import known_downscalers

    known = known_methods("upscale")
    if "." not in options.upscaler and options.upscaler not in known:
        raise UserError(
            f"UPSCALER: none is called {options.upscaler!r}; {did_you_mean(options.upscaler.lower(), known)}"
        )
    names = list(dict.fromkeys(options.downscaler or ["bicubic"]))
    for name in names:
        if name not in known_downscalers():
            remedy = did_you_mean(name.lower(), known_downscalers())
            raise UserError(f"--downscaler: none is called {name!r}; {remedy}")
    folder = options.out or Path(f"calibration-{options.upscaler.rpartition('.')[2]}")
    check_new(folder)
    cards, notes = calibrate(
        {"method": options.upscaler} | settings(options.set),
        options.hr,
        downscalers=names,
        factor=options.factor,
        samples=options.samples,
        photograph_before=options.photograph_before,
        settings=Settings(seed=options.seed),
    )
    title = f"Calibration of {' '.join([options.upscaler, *options.set])}, x{options.factor}"
    if options.json:
        print_json({"folder": str(folder), "cards": records(cards), "notes": list(notes)})
    else:
        print(printable_lines(cards_markdown(cards, title, notes)))
    write_cards(cards, folder, title, notes)

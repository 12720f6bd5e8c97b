"""``ida-rd check``."""

from __future__ import annotations

import argparse

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands._settings import settings
from ida_rd.core.errors import UserError, did_you_mean, printable

PLACE = 40
ABOUT = "check that a method, yours included, keeps its contract"
EXAMPLES = """\
examples:
  ida-rd check downscale/pick --set offset=1
  ida-rd check upscale/flow --factor 4
  ida-rd check distort/structural --set metric=fsim
  ida-rd check quality/niqe"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("method", metavar="STAGE/METHOD")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    parser.add_argument("--factor", type=int, default=4, help="scale factor, for upscalers (4)")


def run(options: argparse.Namespace) -> None:
    from ida_rd.core.methods import ENTRY, find_method, validate
    from ida_rd.distort.check import check_distortion
    from ida_rd.downscale.check import check_downscaler
    from ida_rd.engine.device import device_name
    from ida_rd.quality.check import check_quality
    from ida_rd.upscale.check import check_upscaler

    stage, _, name = options.method.partition("/")
    checked = [stage for stage in ENTRY if stage != "attributes"]
    if stage not in checked or not name:
        raise UserError(f"check {options.method}: write STAGE/METHOD; {did_you_mean(stage, checked)}")
    if not 2 <= options.factor <= 64:
        raise UserError(f"--factor {options.factor}: give a whole number from 2 to 64")
    module = find_method(stage, name, where="check")
    parameters = settings(options.set)
    if stage == "downscale":
        model = getattr(module, "Parameters", None)
        if model is not None:
            parameters = validate(model, parameters, where="--set").model_dump()
        check_downscaler(module, parameters)
    elif stage == "upscale":
        check_upscaler(module, parameters, options.factor, device=device_name())
    elif stage == "quality":
        check_quality(module, parameters)
    else:
        check_distortion(module, parameters, device=device_name())
    if options.json:
        print_json({"method": options.method, "parameters": parameters, "keeps_contract": True})
        return
    print(f"{printable(options.method)}: keeps its contract")

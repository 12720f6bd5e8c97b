"""``ida-rd adapt``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands._settings import entry_of
from ida_rd.core.errors import UserError, did_you_mean, printable

PLACE = 95
ABOUT = "train an upscaler's weights on to a downscaler's LR images"
EXAMPLES = """\
examples:
  ida-rd adapt --downscaler dpid --images photos --test hr --out flow-dpid.safetensors
  ida-rd adapt --downscaler '{method: resample, filter: box}' --images photos --out flow-box.safetensors
  ida-rd adapt --lr my_training_lr --images photos --out flow-mine.safetensors
  ida-rd adapt --upscaler edm --downscaler dpid --images photos --out edm-dpid.safetensors

The weights are then an upscaler, in params.yaml or for `ida-rd score --upscaler`, marked as matched:
{method: flow, path: flow-dpid.safetensors}. What is left out of the budget is the method's preset. A run that was
stopped goes on where it was: repeat the command."""

# Keys of `ida_rd.adapt.contract.Adaptation`, besides those that have options of their own; a test compares them.
BUDGET = (
    *("exclude_licence", "fold", "seed", "steps", "batch", "patch", "rate", "final_rate", "warmup", "energy"),
    *("clip_norm", "ema", "jpeg", "candidates", "precision"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of training photographs")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--downscaler", help="a method or one of Pillow's filters, or an entry as in params.yaml")
    what.add_argument("--lr", type=Path, metavar="DIR", help="LR images of the photographs, paired by name, instead")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the weights, FILE.safetensors")
    parser.add_argument("--test", type=Path, metavar="DIR", help="images of which none may be among the photographs")
    parser.add_argument("--factor", type=int, default=4, help="scale factor (4)")
    parser.add_argument("--upscaler", default="flow", help="a method, or an entry as in params.yaml (flow)")
    parser.add_argument("--path", metavar="FILE", help="your own weights to begin from; default: those that ship")
    budget = parser.add_argument_group("budget", "keys of `adapt` in docs/parameters.md, which has the defaults")
    for name in BUDGET:
        budget.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE")


def run(options: argparse.Namespace) -> None:
    from ida_rd.adapt.card import losses_text
    from ida_rd.adapt.contract import Adaptation
    from ida_rd.adapt.photographs import listed
    from ida_rd.adapt.recipe import adapt_recipe
    from ida_rd.adapt.stage import adapt_to_file
    from ida_rd.core.methods import validate
    from ida_rd.upscale.recipe import stated

    if options.out.suffix != ".safetensors":
        raise UserError(f"--out {printable(options.out)}: give a name that ends in .safetensors")
    if not 2 <= options.factor <= 64:
        raise UserError(f"--factor {options.factor}: give a whole number from 2 to 64")
    given = {name: getattr(options, name) for name in BUDGET}
    budget: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    budget["images"] = str(options.images)
    if options.lr is not None:
        budget["lr"] = str(options.lr)
    adaptation = validate(Adaptation, budget, where="adapt")
    plain = _upscaler(options)
    _, descriptor, _ = stated("adapt", plain, options.factor, 0, 1, where="adapt")
    recipe = adapt_recipe(
        *("adapt", plain, adaptation, _downscaler(options), options.factor),
        found=listed(adaptation, where="adapt"),
        where="adapt",
        settings=descriptor.settings,
    )
    record = adapt_to_file(recipe, options.out, options.test)
    if options.json:
        print_json({"path": str(options.out), "record": record})
        return
    print(
        f"{printable(options.out)}: {record['budget']['steps']} steps on {len(record['images'])} photographs,"
        f" {losses_text(record)}; use it as {{method: {record['method']}, path: {printable(options.out)}}}"
    )


def _upscaler(options: argparse.Namespace) -> dict[str, Any]:
    """The entry of ``--upscaler`` and ``--path``."""
    from ida_rd.adapt.contract import find_adapter

    found = entry_of(options.upscaler, "--upscaler")
    entry = {"method": found} if isinstance(found, str) else found
    find_adapter(entry, where="--upscaler")
    if options.path is not None and entry.setdefault("path", options.path) != options.path:
        raise UserError("--path: --upscaler names another: leave one of them out")
    return entry


def _downscaler(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe of ``--downscaler``, or of the folder in its place."""
    from ida_rd.downscale.recipe import downscale_recipe
    from ida_rd.scoring import FILTERS, known_downscalers

    if options.lr is not None:
        return {"stage": "downscale", "name": "lr", "method": "folder"}
    entry = entry_of(options.downscaler, "--downscaler")
    if isinstance(entry, str):
        known = known_downscalers()
        if "." not in entry and entry not in (*FILTERS, *known):
            raise UserError(f"--downscaler {printable(entry)}: no such downscaler; {did_you_mean(entry, known)}")
        entry = {"method": "resample", "filter": entry} if entry in FILTERS else {"method": entry}
    if entry["method"] == "folder":
        raise UserError("--downscaler: a folder has LR images of test images; give those of the photographs by --lr")
    return downscale_recipe("downscaler", entry, options.factor, 0, download=True)[0]

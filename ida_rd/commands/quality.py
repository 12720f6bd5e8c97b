"""``ida-rd quality``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands._settings import settings
from ida_rd.core.errors import UserError, printable

PLACE = 97
ABOUT = "measure images alone, with no reference: how natural they look, not what a downscaler lost"
EXAMPLES = """\
examples:
  ida-rd quality photo.png                                 NIQE by the model that ships
  ida-rd quality *.png --set patches=4                     to compare images of different sizes
  ida-rd quality photo.png --measure brisque --set path=BRISQUE_release
  ida-rd quality photo.png --measure pyiqa --set metric=maniqa   non-commercial: ida-rd[pyiqa]"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE", help="an image")
    parser.add_argument("--measure", default="niqe", metavar="NAME", help="niqe, brisque, pyiqa, ... (niqe)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the measure")


def run(options: argparse.Namespace) -> None:
    from ida_rd.core.images import ImageError, read_image
    from ida_rd.core.methods import open_method
    from ida_rd.quality.contract import Undefined

    recipe = {"stage": "quality", "method": options.measure, "parameters": settings(options.set)}
    method = open_method(recipe, where="quality")
    descriptor, measure = method.module.describe(method.parameters), method.module.load(method.parameters)
    rows: list[dict[str, Any]] = []
    for path in options.file:
        row: dict[str, Any] = {"file": str(path), "value": None, "facts": {}, "marks": [], "undefined": None}
        try:
            score = measure.score(read_image(path))
            row |= {"value": score.value, "facts": score.facts, "marks": list(score.marks)}
        except ImageError as error:
            raise UserError(f"{path}: {error}") from None
        except Undefined as reason:
            row["undefined"] = str(reason)
        rows.append(row)
    if options.json:
        print_json({"measure": options.measure, "label": descriptor.label, "better": descriptor.better, "images": rows})
        return
    print(f"{descriptor.label}; {descriptor.better} is better")
    for row in rows:
        print(printable(f"{row['file']}: {_words(row)}"))


def _words(row: dict[str, Any]) -> str:
    from ida_rd.core.typeset import number

    if row["undefined"]:
        return f"- ({row['undefined']})"
    facts = ", ".join(f"{name} {value:.4g}" for name, value in row["facts"].items())
    return "; ".join([f"{number(row['value'])} ({facts})", *row["marks"]])

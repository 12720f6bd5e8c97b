"""``ida-rd list``."""

from __future__ import annotations

import argparse
import json

from ida_rd.commands._output import json_option, print_json

PLACE = 20
ABOUT = "list the methods, their parameters, weights and licences"
EXAMPLES = """\
examples:
  ida-rd list                  all methods
  ida-rd list distort          those of one stage
  ida-rd list --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("stage", nargs="?", choices=["attributes", "downscale", "upscale", "distort", "quality"])


def run(options: argparse.Namespace) -> None:
    from ida_rd.inventory import methods, weights

    found = [m for m in methods() if options.stage in (None, m["stage"])]
    states = {entry["id"]: entry for entry in weights()}
    if options.json:
        print_json([m | {"weights": {key: states[key] for key in m["weights"]}} for m in found])
        return
    stage = None
    for method in found:
        if method["stage"] != stage:
            stage = method["stage"]
            print(f"\n{stage}")
        print(f"  {method['method']}: {method['about']}")
        for name, entry in method["parameters"].items():
            default = "needed" if entry["required"] else f"default {json.dumps(entry['default'])}"
            print("; ".join(filter(None, [f"      {name}: {entry['type']}, {default}", entry["description"]])))
        for key in method["weights"]:
            print(f"      weights {key}: {states[key]['state']}; {states[key]['licence']}")

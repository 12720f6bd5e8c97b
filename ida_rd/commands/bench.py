"""``ida-rd bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json
from ida_rd.commands.score import lr_folder
from ida_rd.core.errors import UserError, did_you_mean, printable_lines

PLACE = 82
ABOUT = "run a named benchmark, such as idard-photo-x4@1, and nothing else"
EXAMPLES = """\
examples:
  ida-rd bench                                        which there are
  ida-rd photos hr                                    its photographs, to reduce with your own program
  ida-rd bench idard-photo-x4@1 --lr mine=lr
  ida-rd bench idard-photo-x4@1 --downscaler dpid --save dpid.json
  ida-rd bench idard-photo-x4@1 --lr mine=lr --parameters hr > params.yaml    for the pipeline, and `publish`"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("benchmark", nargs="?", metavar="ID", help="name@version (none: list them)")
    parser.add_argument(
        "--lr", action="append", default=[], metavar="[NAME=]DIR", help="LR images of the photographs, named like them"
    )
    parser.add_argument(
        "--downscaler", action="append", default=[], metavar="NAME", help="a downscaler of this project"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--save", type=Path, metavar="FILE", help="write the result as JSON, to the last digit")
    which.add_argument(
        "--parameters",
        type=Path,
        metavar="HR",
        help="run nothing: print params.yaml of a pipeline that runs it on HR, the folder of `ida-rd photos`",
    )


def run(options: argparse.Namespace) -> None:
    from ida_rd.named.definition import benchmark, benchmarks

    if options.benchmark is None:
        found = {name: benchmark(name) for name in benchmarks()}
        if options.json:
            print_json({name: {"about": made.about, "sha256": sha} for name, (made, sha) in found.items()})
        else:
            print("\n".join(f"{name}: {made.about}" for name, (made, _) in found.items()))
        return
    benchmark(options.benchmark)
    given = _given(options)

    import yaml

    from ida_rd.core.files import write_json
    from ida_rd.core.temporary import remove_stale
    from ida_rd.named.bench import parameters_of, run_benchmark, told

    if options.parameters is not None:
        parameters = parameters_of(options.benchmark, given, options.parameters)
        print(f"# {options.benchmark}: a bundle of this run is recognised as one of it, unless you change it.")
        print(yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True), end="")
        return
    if options.save is not None and options.save.exists():
        raise UserError(f"--save {options.save}: is there already: give a new file")
    result, what = run_benchmark(options.benchmark, given)
    value = told(result, what)
    if options.json:
        print_json(value)
    else:
        print(f"Benchmark {options.benchmark}\n")
        print(printable_lines(result.markdown()))
        print(printable_lines(result.differences_markdown()))
    if options.save is not None:
        remove_stale(options.save.parent)
        write_json(options.save, value)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    from ida_rd.scoring import known_downscalers

    given: dict[str, Any] = {}
    for text in options.lr:
        name, folder = lr_folder(text)
        if name in given:
            raise UserError(f"--lr: {name} is there twice; name them: --lr NAME=FOLDER")
        given[name] = folder
    known = known_downscalers()
    for name in options.downscaler:
        if name not in known:
            raise UserError(f"--downscaler: none is called {name!r}; {did_you_mean(name.lower(), known)}")
        if name in given:
            raise UserError(f"--downscaler: {name} is there twice; name LR images otherwise: --lr NAME=FOLDER")
        given[name] = name
    return given
